"""A session: a tree of imagined moments.

Moment 0 lies after the given frames; each step makes a new moment from any earlier one, so that
rewinding is nothing and branching is stepping from there.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from foreframe.model.imagination import Imagination
from foreframe.model.places.moment import PlacesImagination
from foreframe.serve.directions import Weights
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served

if TYPE_CHECKING:
    from foreframe.serve.beside import Beside
    from foreframe.simulator.live import Snapshot


class Latent(NamedTuple):
    """How the z of a step is chosen.

    Attributes:
        mode: "sampled" (drawn anew at each step), "fixed" (one draw for all steps) or "directions".
        values: for "directions": standard deviations along the first principal directions; None
            leaves one drawn.
    """

    mode: str = "sampled"
    values: tuple[float | None, ...] = ()


@dataclass(slots=True)
class Moment:
    """A point in imagined time, and the step that led there.

    Attributes:
        parent: number of the moment before; None for the first.
        t: imagined frames up to here.
        action: [A], that led here.
        position: [P], that led here.
        latent: how the z of the step that led here was chosen.
        next_position: [P], for a step from here, if none is given.
        state: what the next step needs; None when it has been forgotten.
        beside: the simulator's own moment, where it runs beside; forgotten with the state.
    """

    parent: int | None
    t: int
    action: Float32[np.ndarray, " action"] | None
    position: Float32[np.ndarray, " position"] | None
    latent: Latent
    next_position: Float32[np.ndarray, " position"] | None
    state: Imagination | None
    beside: "Snapshot | None" = None

    @property
    def state_bytes(self) -> int:
        """Memory of the state; what the given frames say is shared by all moments of a session."""
        own = 0 if self.beside is None else self.beside.state.nbytes + self.beside.target.nbytes
        return own + self._imagined_bytes

    @property
    def _imagined_bytes(self) -> int:
        state: Any = self.state  # of either kind of model
        if isinstance(state, PlacesImagination):
            return _bytes((state.now, state.x))
        return 0 if state is None else _bytes((state.memory, state.x, state.h))


def _bytes(part: Any) -> int:
    """Memory of the tensors in nested tuples, in which a part may be missing."""
    if part is None:
        return 0
    return part.nbytes if isinstance(part, Tensor) else sum(map(_bytes, part))


@dataclass
class Session:
    """Futures of one recording that somebody steers.

    Attributes:
        id: hard to guess.
        served: the run.
        weights: the run's weights when the session began.
        given: uint8 [n_past, H, W, 3], the given frames.
        given_rows: [n_past, width], actions and positions of the given frames.
        samples: futures K.
        seed: seed of all noise.
        client: that began it.
        beside: the simulator that is driven with it; None where it is not.
        moments: by number.
        attached: open sockets.
        used: when it was last used, in seconds of a steady clock.
    """

    id: str
    served: Served
    weights: Weights
    given: UInt8[np.ndarray, "n_past height width 3"]
    given_rows: dict[str, np.ndarray | None]
    samples: int
    seed: int
    client: str = ""
    beside: "Beside | None" = None
    moments: dict[int, Moment] = field(default_factory=dict)
    attached: int = 0
    used: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def noise(self, t: int) -> Float32[Tensor, "k z"]:
        """The noise of the t-th imagined frame: a function of the seed and t.

        Sample k has the same noise however many other samples there are.
        """
        draws = np.random.default_rng((self.seed, t)).standard_normal(
            (self.samples, self.weights.model.config.z_dim), np.float32
        )
        return torch.from_numpy(draws)

    def moment(self, number: int) -> Moment:
        """One of its moments.

        Raises:
            Refusal: there is none of that number.
        """
        if number not in self.moments:
            raise Refusal(404, f"moment {number}: the session has none of that number.")
        return self.moments[number]

    def path(self, number: int) -> list[Moment]:
        """The moments from the first to that of ``number``.

        Raises:
            Refusal: there is no such moment.
        """
        path = [self.moment(number)]
        while (parent := path[-1].parent) is not None:
            path.append(self.moments[parent])
        return path[::-1]

    def begun(self) -> Imagination:
        """The state after the given frames; call it only in the engine's thread."""
        model = self.weights.model
        frames = torch.from_numpy(self.given).permute(0, 3, 1, 2)[None]
        actions, positions = (
            None if rows is None else torch.from_numpy(rows)[None]
            for rows in (self.given_rows["actions"], self.given_rows["positions"])
        )
        # Drawn apart from the noise of the steps, which count from 1.
        draws = np.random.default_rng((self.seed, 0, 1)).standard_normal(
            (self.samples, len(self.given) - 1, model.config.z_dim), np.float32
        )
        return model.begin(
            frames,
            actions,
            positions,
            n_samples=self.samples,
            noise=torch.from_numpy(draws)[None],
        )
