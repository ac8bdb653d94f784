"""Sessions begun and stepped: rows of the condition in, frames out."""

import asyncio
import secrets
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from foreframe.data.recording import Recording
from foreframe.serve.directions import Directions
from foreframe.serve.engine import Engine, Step
from foreframe.serve.moments import Latent, Moment, Session
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import SceneKey, Served
from foreframe.serve.sessions import Sessions

if TYPE_CHECKING:
    from foreframe.serve.beside import Beside

_DIRECTIONS = 16
"""Coordinates of z that may be given."""


class Player:
    """Opens sessions and steps them.

    Args:
        engine: that computes.
        sessions: that are open.
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self.engine, self.sessions = engine, sessions

    async def begin(
        self,
        served: Served,
        recording: Recording,
        *,
        start: int = 0,
        samples: int = 1,
        seed: int = 0,
        client: str = "",
        scene: SceneKey | None = None,
    ) -> Session:
        """Open a session after ``n_past`` frames of a recording.

        Args:
            served: the run.
            recording: with frames in the model's size.
            start: number of the first given frame.
            samples: futures K.
            seed: seed of the noise.
            client: that asks for it.
            scene: what the recording was simulated of, to drive the simulator beside.

        Raises:
            Refusal: the recording is too short, there are too many sessions, or the scene is
                another one.
        """
        weights = await asyncio.to_thread(served.weights)
        n_past = served.n_past
        if start + n_past > len(recording.frames):
            raise Refusal(
                422, f"{n_past} frames are needed from {start} on, of {len(recording.frames)}."
            )
        rows = {part: _given(served, recording, part, start) for part in ("actions", "positions")}
        session = Session(
            secrets.token_urlsafe(12),
            served,
            weights,
            np.array(recording.frames[start : start + n_past]),
            rows,
            samples,
            seed,
            client,
        )
        if scene is not None:
            session.beside = await asyncio.to_thread(_beside, scene, session, start)
        self.sessions.open(session)
        try:
            next_position = _first_position(served, recording, start, rows["positions"])
            state = await asyncio.wrap_future(self.engine.call(session.begun, client))
            first = Moment(None, 0, None, None, Latent(), next_position, state)
            if session.beside is not None:
                first.beside = session.beside.start
            self.sessions.keep(session, first)
        except BaseException:
            self.sessions.end(session.id)
            raise
        return session

    async def step(
        self,
        session: Session,
        origin: int,
        action: np.ndarray | None,
        position: np.ndarray | None,
        latent: Latent,
    ) -> tuple[int, int, UInt8[np.ndarray, "pictures height width 3"]]:
        """Step from a moment, and keep the new one.

        Args:
            session: that goes on.
            origin: number of the moment to step from.
            action: [A]; None is rest.
            position: [P]; None is what the kinematics say.
            latent: how z is chosen.

        Returns:
            the number of the new moment, its t and the frames; where the simulator is driven
            beside, what it shows is one frame more.

        Raises:
            Refusal: the moment is unknown or forgotten, or a row has another width.
        """
        async with session.lock:
            before = session.moment(origin)
            if before.state is None:
                raise Refusal(
                    410, f"moment {origin} has been forgotten; replay it from moment 0.", gone=True
                )
            if len(session.moments) >= self.sessions.limits.session_moments:
                raise Refusal(
                    429, f"the session has {len(session.moments)} moments, as many as it may."
                )
            after, frames = await self.advance(session, before, action, position, latent)
            after.parent = origin
            if session.beside is not None:
                frames = await _carried_on(session, before, after, frames)
            number = self.sessions.keep(session, after)
            self.sessions.touch(session, origin)
            return number, after.t, frames

    async def advance(
        self,
        session: Session,
        before: Moment,
        action: np.ndarray | None,
        position: np.ndarray | None,
        latent: Latent,
        *,
        aside: bool = False,
    ) -> tuple[Moment, UInt8[np.ndarray, "k height width 3"]]:
        """The moment after another, not yet kept, and its frames; see ``step``.

        Args:
            session: likewise.
            before: the moment to step from.
            action: likewise.
            position: likewise.
            latent: likewise.
            aside: whether nobody is steering: it is part of a prediction or an export.
        """
        served, config = session.served, session.weights.model.config
        action = _row(action, config.needs["actions"], "action", served.rest("actions"))
        here = position if position is not None else before.next_position
        here = _row(here, config.needs["positions"], "position", served.rest("positions"))
        t = before.t + 1
        noise = session.noise(0 if latent.mode == "fixed" else t)
        z = None
        if latent.mode == "directions":
            directions = await self._directions(session, len(latent.values))
            z = directions.place(list(latent.values), noise)
        assert before.state is not None
        step = Step(session.weights.model, before.state, _tensor(action), _tensor(here), noise, z)
        queued = self.engine.step(step, session.client, aside=aside)
        frames, state = await asyncio.wrap_future(queued)
        next_position = None if here is None else _rolled(served, here, action)
        return Moment(None, t, action, here, latent, next_position, state), frames

    async def _directions(self, session: Session, count: int) -> Directions:
        """The directions of the session's weights, ``count`` of which are wanted."""
        if session.weights.model.config.latent_of_episode:
            raise Refusal(
                422, "z: this model draws it once for the whole session, at its beginning."
            )
        weights = session.weights
        most = min(_DIRECTIONS, weights.model.config.z_dim)
        if count > most:
            raise Refusal(422, f"z: at most {most} directions.")
        directions = await asyncio.wrap_future(
            self.engine.call(lambda: weights.directions, session.client)
        )
        if directions is None:
            raise Refusal(422, "z: there are no recordings to find its directions in.")
        return directions


def _beside(scene: SceneKey, session: Session, start: int) -> "Beside":
    from foreframe.serve.beside import Beside

    return Beside(scene, session.given, start, session.seed)


async def _carried_on(
    session: Session, before: Moment, after: Moment, frames: UInt8[np.ndarray, "k height width 3"]
) -> UInt8[np.ndarray, "pictures height width 3"]:
    """The frames and, after them, what the simulator shows of the same action."""
    assert session.beside is not None
    assert before.beside is not None
    assert after.action is not None
    after.beside, seen = await asyncio.to_thread(
        session.beside.step, before.beside, after.action.astype(np.float64), after.t
    )
    return np.concatenate([frames, seen[None]])


def _given(served: Served, recording: Recording, part: str, start: int) -> np.ndarray | None:
    """The rows of the given frames, where the model takes them: recorded, or at rest."""
    width = served.config.model.needs[part]
    if width is None:
        return None
    recorded = getattr(recording, part)
    if recorded is None:
        return np.repeat(served.rest(part)[None], served.n_past, 0)
    if recorded.shape[1] != width:
        raise Refusal(
            422, f"{part}: {recorded.shape[1]} numbers a row, but the model takes {width}."
        )
    return np.array(recorded[start : start + served.n_past], np.float32)


def _first_position(
    served: Served, recording: Recording, start: int, given: np.ndarray | None
) -> np.ndarray | None:
    """The position for the first step, if none is given then."""
    if given is None:
        return None
    row = served.first_row(start)
    if row < start + served.n_past:
        position: np.ndarray = given[row - start]
        return position
    if recording.positions is not None and row < len(recording.positions):
        return np.array(recording.positions[row], np.float32)
    action = None if recording.actions is None else recording.actions[row - 1]
    return _rolled(served, given[-1], action)


def _rolled(
    served: Served, position: np.ndarray, action: np.ndarray | None
) -> Float32[np.ndarray, " position"]:
    """The position after ``action`` from ``position``, by the run's kinematics."""
    if served.kinematics is None or action is None:
        return position
    return served.kinematics.next(position, action).astype(np.float32)


def _row(
    values: np.ndarray | None, width: int | None, name: str, rest: np.ndarray
) -> np.ndarray | None:
    if width is None:
        return None
    if values is None:
        return rest
    if values.shape != (width,):
        raise Refusal(422, f"{name}: {len(values)} numbers, but the model takes {width}.")
    return values


def _tensor(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.asarray(values, np.float32))
