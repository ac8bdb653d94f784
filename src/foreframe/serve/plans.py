"""Actions that a session's model expects to bring an object, or the picture, to a goal."""

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from foreframe.planning.costs import Cost, ObjectCost, PixelCost, judged, picture
from foreframe.planning.following import has_things
from foreframe.planning.imagining import Beginning
from foreframe.planning.options import PlannerOptions
from foreframe.planning.planner import ActionSpace, Candidates, make_plan
from foreframe.planning.registration import Template
from foreframe.serve import schemas
from foreframe.serve.engine import Engine
from foreframe.serve.moments import Moment, Session
from foreframe.serve.refusal import Refusal

T = TypeVar("T")

_NEAR = 1 / 8
"""Of the frame's width: how far from where somebody points an object may be."""

_AT_ONCE = 32
"""Futures that are imagined side by side; steps of sessions come in between."""

_SHOWN = 8
"""Candidates that are shown, from the best of the first iteration to the worst."""

_SECONDS = 30.0
"""Time that the search may take."""

_PLANNER = 4
"""Key of the planner's draws, beside those of the futures."""


@dataclass
class _Search:
    """One search, and what of it is shown.

    Attributes:
        beginning: from where candidates are imagined.
        cost: of one frame.
        counted: numbers of the frames whose mean a candidate costs.
        do: does the model's work in the engine.
        first: candidates of the first iteration, and what each costs.
    """

    beginning: Beginning
    cost: Cost
    counted: list[int]
    do: Callable[[Callable[[], Any]], Any]
    first: tuple[Candidates, Float64[np.ndarray, " candidates"]] | None = None
    began: float = field(default_factory=time.monotonic)

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " candidates"]:
        count = self.beginning.futures
        portion = max(1, _AT_ONCE // count)
        total: list[Tensor] = []
        for k in range(0, len(candidates), portion):
            if time.monotonic() - self.began > _SECONDS:
                raise Refusal(
                    503,
                    f"a plan would take more than {_SECONDS:.0f} s with this model; "
                    "ask for fewer frames or futures.",
                )
            part = candidates[k : k + portion]
            total.append(self.beginning.costs(part, self.cost, self.counted, self.do))
        costs = judged(torch.cat(total), count, "mean")
        if self.first is None:
            self.first = candidates, costs
        return costs


def plan(
    engine: Engine, session: Session, wanted: schemas.PlanIn, client: str = ""
) -> schemas.PlanOut:
    """Search for actions from a moment of a session; blocks while the engine imagines.

    Args:
        engine: that computes.
        session: whose futures, with their noise, are the candidates'.
        wanted: the goal, and how far ahead.
        client: that asks.

    Raises:
        Refusal: there is no such moment, object or goal, the model takes no actions, or it takes
            too long.
    """
    moment = session.moment(wanted.node)
    if moment.state is None:
        raise Refusal(
            410, f"moment {wanted.node} has been forgotten; replay it from moment 0.", gone=True
        )
    served = session.served
    if served.config.model.needs["actions"] is None:
        raise Refusal(422, "this model takes no actions: there is nothing to plan.")
    size = np.array(session.given.shape[2:0:-1], np.float64)
    slot, cost, start = _judge(session, moment, wanted, size)

    def do(work: Callable[[], T]) -> T:
        done: T = engine.call(work, client).result()
        return done

    search = _Search(
        Beginning(
            session.weights.model,
            moment.state,
            _noises(session, moment, wanted.steps),
            slot,
            _rolled(session, moment),
        ),
        cost,
        [wanted.steps - 1],
        do,
    )
    random = np.random.default_rng((session.seed, moment.t, _PLANNER))
    made = make_plan(search, _space(session), wanted.steps, PlannerOptions(), random)
    assert search.first is not None
    order = np.argsort(search.first[1], kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int)]
    shown = np.concatenate([made.actions[None], search.first[0][picked]])
    ghosts, paths = _shown(search, shown)
    if start is not None:
        paths = np.concatenate([np.broadcast_to(start, (len(shown), 1, 2)), paths], 1)
    return schemas.PlanOut(
        actions=made.actions.round(6).tolist(),
        cost=made.cost,
        paths=[] if start is None else (paths / size).round(5).tolist(),
        shape=ghosts.shape,
        frames=base64.b64encode(ghosts.tobytes()).decode(),
        imagined=made.imagined,
        seconds=round(time.monotonic() - search.began, 3),
    )


def _judge(
    session: Session, moment: Moment, wanted: schemas.PlanIn, size: Float64[np.ndarray, "2"]
) -> tuple[int | None, Cost, Float64[np.ndarray, "2"] | None]:
    """The thing that is followed, what a frame costs, and where the thing is now."""
    if wanted.picture is not None:
        if wanted.thing is not None or wanted.goal is not None:
            raise Refusal(422, "give either picture, or thing and goal.")
        return None, PixelCost(picture(_picture(wanted.picture, session))), None
    if wanted.thing is None or wanted.goal is None:
        raise Refusal(422, "give either picture, or thing and goal.")
    thing, goal = np.array(wanted.thing) * size, np.array(wanted.goal) * size
    if session.beside is not None and not session.beside.within(goal):
        raise Refusal(422, "goal: lies outside the bin; choose a place on its bottom.")
    state: Any = moment.state
    template = Template.of(state.x[0].cpu(), thing)
    if not has_things(state):
        return None, ObjectCost(goal, template), thing
    there = state.seen.things.there[0, :, 0].cpu().numpy() >= 0.5
    places = (state.now.motion.place.mean(0).double().cpu().numpy() + 1) / 2 * size
    away = np.where(there, np.linalg.norm(places - thing, axis=1), np.inf)
    slot = int(away.argmin())
    if away[slot] > _NEAR * size[0]:
        raise Refusal(422, "thing: the model knows of no object there; click on one.")
    return slot, ObjectCost(goal, template), places[slot]


def _picture(text: str, session: Session) -> UInt8[np.ndarray, "height width 3"]:
    shape = session.given.shape[1:]
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"picture: is not base64 ({error}).") from error
    if len(content) != int(np.prod(shape)):
        raise Refusal(
            422,
            f"picture: {len(content)} bytes, but a frame of {shape[1]}x{shape[0]} pixels has "
            f"{int(np.prod(shape))}.",
        )
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def _noises(session: Session, moment: Moment, steps: int) -> list[Tensor | None]:
    """The session's own noise: what is planned with is what will be played."""
    if session.weights.model.config.latent_of_episode:
        return [None] * steps
    return [session.noise(moment.t + 1 + t)[None] for t in range(steps)]


def _rolled(
    session: Session, moment: Moment
) -> Callable[[Candidates], Float64[np.ndarray, "candidates horizon position"]] | None:
    """Positions that candidates lead through, as the session's steps take them."""
    if not session.served.uses_positions:
        return None
    first, kinematics = moment.next_position, session.served.kinematics
    assert first is not None

    def roll(candidates: Candidates) -> Float64[np.ndarray, "candidates horizon position"]:
        here = np.broadcast_to(first.astype(np.float64), (len(candidates), len(first)))
        rows = []
        for t in range(candidates.shape[1]):
            rows.append(here)
            if kinematics is not None:
                here = kinematics.next(here, candidates[:, t])
        return np.stack(rows, 1)

    return roll


def _space(session: Session) -> ActionSpace:
    """The actions of the training, about rest."""
    numbers = session.served.actions
    low, high, deviation = (
        np.array([getattr(number, name) for number in numbers], np.float64)
        for name in ("low", "high", "deviation")
    )
    return ActionSpace(low, high, session.served.rest("actions").astype(np.float64), deviation)


def _shown(
    search: _Search, shown: Candidates
) -> tuple[UInt8[np.ndarray, "shown height width 3"], Float64[np.ndarray, "shown steps 2"]]:
    """The last frame of each candidate's first future, and where the object goes in the mean."""
    beginning, steps, count = search.beginning, shown.shape[1], len(shown)
    cost = search.cost
    template = cost.template if isinstance(cost, ObjectCost) and beginning.slot is None else None
    found: list[Tensor] = []
    last: list[Tensor] = []

    def see(t: int, frames: Tensor) -> None:
        if template is not None:
            found.append(template.find(frames.flatten(0, 1)))
        if t == steps - 1:
            last.append(frames[:, 0])

    if beginning.slot is None:
        beginning.run(shown, see, [steps - 1] if template is None else range(steps), search.do)
        places = torch.stack(found) if found else torch.zeros(steps, count * beginning.futures, 2)
    else:
        places = beginning.places(shown, search.do)
        beginning.run(shown, see, [steps - 1], search.do)
    of_each = places.unflatten(1, (count, beginning.futures)).mean(2).transpose(0, 1)
    pictures = last[0].clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)
    return pictures.cpu().numpy(), of_each.double().cpu().numpy()
