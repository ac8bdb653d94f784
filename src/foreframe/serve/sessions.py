"""Sessions: imagined futures that grow step by step and can be gone back in.

A session is a tree of moments. Moment 0 lies after the given frames; each step makes a new moment
from any earlier one, so that rewinding is nothing and branching is stepping from there.
"""

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from foreframe.data.recording import Recording
from foreframe.model.imagination import Imagination
from foreframe.runs.hub import VideoCVAE
from foreframe.serve.engine import Engine, Step
from foreframe.serve.limits import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served, as_row

_QUIET_SECONDS = 2.0
"""A session that nobody is connected to makes room for a new one after as long."""

_DIRECTIONS = 16
"""Coordinates of z that may be given."""


class Latent(NamedTuple):
    """How the z of a step is chosen.

    Attributes:
        mode: "sampled" (drawn anew at each step), "fixed" (one draw for all steps) or "directions".
        values: for directions: deviations along the first principal directions; None is drawn.
    """

    mode: str = "sampled"
    values: tuple[float | None, ...] = ()


@dataclass(slots=True)
class Node:
    """A moment.

    Attributes:
        parent: the moment before; None for the first.
        t: imagined frames up to here.
        action: that led here.
        position: that led here.
        latent: of the step that led here.
        next_position: row of the condition for a step from here, if none is given.
        state: what the next step needs; None when it has been forgotten.
    """

    parent: int | None
    t: int
    action: Float32[np.ndarray, " action"] | None
    position: Float32[np.ndarray, " position"] | None
    latent: Latent
    next_position: Float32[np.ndarray, " position"] | None
    state: Imagination | None


@dataclass
class Session:
    """Futures of one sequence that somebody steers.

    Attributes:
        id: hard to guess.
        served: the run.
        model: its weights when the session began.
        given: the given frames, uint8 [n_past, H, W, 3].
        given_rows: of actions and positions, as many as given frames.
        samples: futures K.
        seed: of all noise.
        nodes: moments by number.
        attached: sockets that are open.
        used: when it was last used, seconds of a steady clock.
    """

    id: str
    served: Served
    model: VideoCVAE
    given: UInt8[np.ndarray, "n_past height width 3"]
    given_rows: dict[str, np.ndarray | None]
    samples: int
    seed: int
    nodes: dict[int, Node] = field(default_factory=dict)
    attached: int = 0
    used: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def noise(self, t: int) -> Float32[Tensor, "k z"]:
        """The noise of the t-th imagined frame: of the seed and t, whatever was done before.

        Sample k has the same however many others there are.
        """
        draws = np.random.default_rng((self.seed, t)).standard_normal(
            (self.samples, self.model.config.z_dim), np.float32
        )
        return torch.from_numpy(draws)

    def path(self, node: int) -> list[int]:
        """The moments from the first to ``node``.

        Raises:
            Refusal: there is no such moment.
        """
        if node not in self.nodes:
            raise Refusal(404, f"moment {node}: the session has none of that number.")
        found: list[int] = []
        at: int | None = node
        while at is not None:
            found.append(at)
            at = self.nodes[at].parent
        return found[::-1]


class Sessions:
    """All that are open, within bounds on their number, their age and their memory.

    Args:
        engine: that computes.
        limits: the bounds.
        clock: seconds, for tests.
    """

    def __init__(
        self, engine: Engine, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine, self.limits, self._clock = engine, limits, clock
        self._open: dict[str, Session] = {}
        self._states: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def state_bytes(self) -> int:
        """Bytes of the moments that can be gone back to at once."""
        return self._bytes

    def get(self, name: str) -> Session:
        """An open session.

        Raises:
            Refusal: there is none of that name, or it has ended.
        """
        self.expire()
        session = self._open.get(name)
        if session is None:
            raise Refusal(404, "the session has ended; begin another.", gone=True)
        session.used = self._clock()
        return session

    def end(self, name: str) -> None:
        """Forget a session."""
        with self._lock:
            self._forget(name)

    def _forget(self, name: str) -> None:
        session = self._open.pop(name, None)
        if session is None:
            return
        for node in session.nodes:
            self._bytes -= self._states.pop((name, node), 0)
        session.nodes.clear()

    def expire(self) -> None:
        """Forget those that nobody has used for long."""
        now = self._clock()
        with self._lock:
            for name, session in list(self._open.items()):
                if not session.attached and now - session.used > self.limits.session_seconds:
                    self._forget(name)

    def _make_room(self) -> None:
        """Of those that nobody is connected to, the one not used for longest ends for a new one."""
        if len(self._open) < self.limits.sessions:
            return
        now = self._clock()
        left = [s for s in self._open.values() if not s.attached and now - s.used > _QUIET_SECONDS]
        if not left:
            raise Refusal(
                429,
                f"{self.limits.sessions} sessions are open, as many as there may be; try later.",
            )
        self._forget(min(left, key=lambda session: session.used).id)

    # -- beginning ------------------------------------------------------------------------------

    async def begin(
        self,
        served: Served,
        sequence: Recording,
        *,
        start: int = 0,
        samples: int = 1,
        seed: int = 0,
    ) -> Session:
        """Open a session after ``n_past`` frames of a sequence.

        Args:
            served: the run.
            sequence: frames in the model's size.
            start: number of the first given frame.
            samples: futures K.
            seed: of the noise.

        Raises:
            Refusal: the sequence is too short, or there are too many sessions.
        """
        model = await asyncio.to_thread(served.model)
        n_past = served.n_past
        if start + n_past > len(sequence.frames):
            raise Refusal(
                422, f"{n_past} frames are needed from {start} on, of {len(sequence.frames)}."
            )
        rows = {
            part: self._given(served, sequence, part, start) for part in ("actions", "positions")
        }
        session = Session(
            secrets.token_urlsafe(12),
            served,
            model,
            np.array(sequence.frames[start : start + n_past]),
            rows,
            samples,
            seed,
            used=self._clock(),
        )
        self.expire()
        with self._lock:
            self._make_room()
            self._open[session.id] = session
        try:
            state = await asyncio.wrap_future(self.engine.call(lambda: first_moment(session)))
        except BaseException:
            self.end(session.id)
            raise
        next_position = self._first_position(served, sequence, start, rows["positions"])
        self._keep(session, 0, Node(None, 0, None, None, Latent(), next_position, state))
        return session

    @staticmethod
    def _given(served: Served, sequence: Recording, part: str, start: int) -> np.ndarray | None:
        """The rows of the given frames, where the model takes them: recorded, or at rest."""
        width = served.config.model.needs[part]
        if width is None:
            return None
        recorded = getattr(sequence, part)
        if recorded is None:
            return np.repeat(served.rest(part)[None], served.n_past, 0)
        if recorded.shape[1] != width:
            raise Refusal(
                422, f"{part}: {recorded.shape[1]} numbers a row, but the model takes {width}."
            )
        return np.array(recorded[start : start + served.n_past], np.float32)

    @staticmethod
    def _first_position(
        served: Served, sequence: Recording, start: int, given: np.ndarray | None
    ) -> np.ndarray | None:
        if given is None:
            return None
        row = served.first_row(start)
        if row < start + served.n_past:
            position: np.ndarray = given[row - start]
            return position
        if sequence.positions is not None and row < len(sequence.positions):
            return np.array(sequence.positions[row], np.float32)
        action = None if sequence.actions is None else sequence.actions[row - 1]
        return rolled(served, given[-1], action)

    # -- stepping -------------------------------------------------------------------------------

    async def step(
        self,
        session: Session,
        origin: int,
        action: np.ndarray | None,
        position: np.ndarray | None,
        latent: Latent,
    ) -> tuple[int, int, np.ndarray]:
        """A step from a moment: the new moment, its t and the frames uint8 [K, H, W, 3].

        Args:
            session: that goes on.
            origin: number of the moment to step from.
            action: [A]; None is rest.
            position: [P]; None is what the kinematics say.
            latent: how z is chosen.

        Raises:
            Refusal: the moment is unknown or forgotten, or a row has another width.
        """
        async with session.lock:
            node = session.nodes.get(origin)
            if node is None:
                raise Refusal(404, f"moment {origin}: the session has none of that number.")
            if node.state is None:
                raise Refusal(
                    410, f"moment {origin} has been forgotten; replay it from moment 0.", gone=True
                )
            if len(session.nodes) >= self.limits.nodes:
                raise Refusal(
                    429, f"the session has {len(session.nodes)} moments, as many as it may."
                )
            after, frames = await self.advance(session, node, action, position, latent)
            number = 1 + next(reversed(session.nodes))
            after.parent = origin
            self._keep(session, number, after)
            self._touch(session.id, origin)
            return number, after.t, frames

    async def advance(
        self,
        session: Session,
        node: Node,
        action: np.ndarray | None,
        position: np.ndarray | None,
        latent: Latent,
    ) -> tuple[Node, np.ndarray]:
        """The moment after ``node``, not yet kept, and its frames."""
        served, config = session.served, session.model.config
        action = self._row(action, config.needs["actions"], "action", served.rest("actions"))
        here = position if position is not None else node.next_position
        here = self._row(here, config.needs["positions"], "position", served.rest("positions"))
        t = node.t + 1
        noise = session.noise(0 if latent.mode == "fixed" else t)
        z = None
        if latent.mode == "directions":
            if len(latent.values) > min(_DIRECTIONS, config.z_dim):
                raise Refusal(422, f"z: at most {min(_DIRECTIONS, config.z_dim)} directions.")
            directions = await asyncio.to_thread(served.directions)
            if directions is None:
                raise Refusal(422, "z: no recordings are there to find its directions in.")
            z = directions.place(list(latent.values), noise)
        assert node.state is not None
        step = Step(session.model, node.state, as_row(action), as_row(here), noise, z)
        frames, state = await asyncio.wrap_future(self.engine.step(step))
        next_position = None if here is None else rolled(served, here, action)
        return Node(None, t, action, here, latent, next_position, state), frames

    @staticmethod
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

    def _keep(self, session: Session, number: int, node: Node) -> None:
        assert node.state is not None
        size = _bytes(node.state)
        with self._lock:
            if session.id not in self._open:
                raise Refusal(404, "the session has ended; begin another.", gone=True)
            session.nodes[number] = node
            self._bytes += size
            self._states[session.id, number] = size
            while self._bytes > self.limits.state_bytes and self._forget_a_state():
                pass

    def _forget_a_state(self) -> bool:
        """Of the moments, the first of each session stay: all can be replayed from there."""
        oldest = next((key for key in self._states if key[1] != 0), None)
        if oldest is None or oldest == next(reversed(self._states)):
            return False
        name, number = oldest
        self._bytes -= self._states.pop(oldest)
        self._open[name].nodes[number].state = None
        return True

    def _touch(self, name: str, number: int) -> None:
        with self._lock:
            if (name, number) in self._states:
                self._states.move_to_end((name, number), last=True)


def first_moment(session: Session) -> Imagination:
    """The moment after the given frames; only in the engine's thread."""
    model = session.model
    n_past = len(session.given)
    frames = torch.from_numpy(session.given).permute(0, 3, 1, 2)[None]

    def batch(part: str) -> Tensor | None:
        rows = session.given_rows[part]
        return None if rows is None else torch.from_numpy(rows)[None]

    # Drawn apart from the noise of the steps, which count from 1.
    draws = np.random.default_rng((session.seed, 0, 1)).standard_normal(
        (session.samples, n_past - 1, model.config.z_dim), np.float32
    )
    return model.begin(
        frames,
        batch("actions"),
        batch("positions"),
        n_samples=session.samples,
        noise=torch.from_numpy(draws)[None],
    )


def rolled(
    served: Served, position: np.ndarray, action: np.ndarray | None
) -> Float32[np.ndarray, " position"]:
    """The position after ``action`` from ``position``, by the run's kinematics."""
    if served.kinematics is None or action is None:
        return position
    return served.kinematics.next(position, action).astype(np.float32)


def _bytes(state: Imagination) -> int:
    """Of what a moment has for itself; the decoder's context it shares with the others."""
    tensors = [state.x, *([] if state.h is None else [state.h])]
    for part in (state.memory.predictor, state.memory.prior):
        tensors += [] if part is None else list(part)
    return sum(tensor.nbytes for tensor in tensors)
