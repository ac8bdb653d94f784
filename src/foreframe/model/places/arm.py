"""The arm: where the given frames show it, how the actions move it, and where it is drawn.

It knows nothing of the scene: given the frames, it is a function of the actions alone, so that many
futures of the same actions share it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.nets.conv import Layers
from foreframe.model.places.layers import conv

TAUGHT = 3
"""Numbers of a pose that are taught to be the end effector's position, where data have one."""

MOST_TRAVELLED = 20.0
"""Where the sum of actions since the given frames stops, in their deviations: beyond what a clip
shows in training, a sum of hundreds says no more."""


class ArmState(NamedTuple):
    """Where the arm is.

    Attributes:
        hidden: of the recurrence.
        integrated: the pose as the actions alone lead to it.
        pose: with what the recurrence corrects.
        travelled: sum of the condition since the given frames, at most ``MOST_TRAVELLED``.
    """

    hidden: Float[Tensor, "batch arm"]
    integrated: Float[Tensor, "batch pose"]
    pose: Float[Tensor, "batch pose"]
    travelled: Float[Tensor, "batch condition"]


class Course(NamedTuple):
    """The arm over steps: its state after the last one, and what there is of it at each."""

    after: ArmState
    hidden: Float[Tensor, "steps batch arm"]
    pose: Float[Tensor, "steps batch pose"]


class Arm(nn.Module):
    """Where the arm is: a pose that integrates the actions within learnt limits, and a GRU.

    pose_t = i_t + W v_t, i_t = clip(k i_{t-1} + A a_t), v_t = GRU(v_{t-1}, [a_t, sum of a, i_t,
    i_{t-1}]). What is kept, k, is learnt of each number: 1 where actions are steps, 0 where they
    are places, such as a lift that is up or down. The given frames are read by a spatial softmax
    (Levine et al. 2016, section 5.2) and by convolutions. Never told a position, it is taught one
    in training: the first ``TAUGHT`` numbers of the pose are compared with it.

    Args:
        seen: channels of what is seen, 16x16.
        condition: numbers in an action (and what else each step is told).
        size: width of the recurrence.
        pose: numbers of a pose.
        points: places that are read from the given frames.
        forgets: whether k is learnt; else it is 1.
    """

    def __init__(
        self, seen: int, condition: int, size: int, pose: int, points: int, *, forgets: bool
    ) -> None:
        super().__init__()
        self.down = Layers(
            nn.Conv2d(seen, 96, 4, 2, 1),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Conv2d(96, 64, 4, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.look = Layers(conv(seen, 64), nn.BatchNorm2d(64), nn.ReLU(), conv(64, points))
        features = 64 * 16 + 2 * points
        self.hidden = nn.Linear(features, size)
        self.at_first = nn.Linear(features, pose)
        self.arriving = nn.Linear(condition, size)
        self.integrate = nn.Linear(condition, pose, bias=False)
        self.inputs = nn.Linear(2 * condition + 2 * pose, size)
        self.gru = nn.GRU(size, size)
        self.correct = nn.Linear(size, pose)
        self.keep = nn.Parameter(torch.full((pose,), 0.99)) if forgets else None
        self.limits = nn.Parameter(torch.tensor([-2.5, 2.5])[:, None].repeat(1, pose))
        at = torch.linspace(-1, 1, 16)
        places = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1).view(256, 2)
        self.register_buffer("places", places, persistent=False)
        nn.init.normal_(self.correct.weight, 0, 0.01)
        nn.init.normal_(self.integrate.weight, 0, 0.1)

    places: Tensor

    def begin(
        self,
        seen: Float[Tensor, "batch seen 16 16"],
        arriving: Float[Tensor, "batch condition"],
    ) -> ArmState:
        """The arm at the last given frame.

        Args:
            seen: features of the last two given frames.
            arriving: the condition that led from one to the other.
        """
        maps = self.look(seen).float().flatten(2)
        points = (maps.softmax(-1) @ self.places.to(maps.dtype)).flatten(1)
        features = torch.cat([self.down(seen).float(), 3 * points], 1)
        with full_precision(features):
            hidden = torch.tanh(self.hidden(features) + self.arriving(arriving))
            integrated = self.at_first(features)
            pose = integrated + self.correct(hidden)
        return ArmState(hidden, integrated, pose, torch.zeros_like(arriving))

    def forward(self, state: ArmState, condition: Float[Tensor, "steps batch condition"]) -> Course:
        """Move: the arm after each of the steps."""
        with full_precision(condition):
            low, high = self.limits
            kept = 1.0 if self.keep is None else self.keep.clamp(0, 1)
            integrated, sums = [state.integrated], [state.travelled]
            for action, change in zip(condition, self.integrate(condition), strict=True):
                integrated.append(torch.clamp(kept * integrated[-1] + change, low, high))
                sums.append(torch.clamp(sums[-1] + action, -MOST_TRAVELLED, MOST_TRAVELLED))
            now, before = torch.stack(integrated[1:]), torch.stack(integrated[:-1])
            travelled = torch.stack(sums[1:])
            inputs = torch.cat([condition, 0.3 * travelled, now, before], -1)
            hidden, _ = self.gru(F.relu(self.inputs(inputs)), state.hidden[None].contiguous())
            pose = now + self.correct(hidden)
        return Course(ArmState(hidden[-1], now[-1], pose[-1], travelled[-1]), hidden, pose)


class Bumps(NamedTuple):
    """Gaussian bumps at places that a pose says.

    Attributes:
        place: x of all, then y of all, in [-1, 1].
        height: of each bump, and of its slopes in x and y.
    """

    place: Float[Tensor, "*frames bumps2"]
    height: Float[Tensor, "*frames bumps3"]


class ArmMaps(nn.Module):
    """The arm as maps: drawn from its vector, and bumps at places that its pose says.

    A bump and its two slopes say where a pixel lies beside a point, so that what is drawn there
    moves with it (Jakab et al. 2018; Minderer et al. 2019).

    Args:
        size: width of the arm's vector.
        pose: numbers of a pose.
        bumps: how many.
        coarse: channels of the drawn map at 16x16.
    """

    def __init__(self, size: int, pose: int, bumps: int, coarse: int) -> None:
        super().__init__()
        self.bumps = bumps
        self.channels = coarse + 3 * bumps
        self.draw = nn.Linear(size, 32 * 64)
        self.up = nn.ConvTranspose2d(32, coarse, 4, 2, 1)
        last = nn.Linear(128, 5 * bumps)
        self.more = nn.Sequential(nn.Linear(size + pose, 128), nn.ReLU(), last)
        self.direct = nn.Linear(pose, 2 * bumps)
        self.log_sigma = nn.Parameter(torch.linspace(-2.3, -0.7, bumps))
        self.register_buffer("at", (torch.arange(32) + 0.5) / 16 - 1, persistent=False)
        nn.init.normal_(self.direct.weight, 0, 0.1)
        nn.init.uniform_(self.direct.bias, -0.3, 0.3)
        nn.init.normal_(last.weight, 0, 0.01)

    at: Tensor

    def where(
        self, hidden: Float[Tensor, "frames arm"], pose: Float[Tensor, "frames pose"]
    ) -> Bumps:
        """The bumps of an arm."""
        with full_precision(hidden):
            more = self.more(torch.cat([hidden, pose], -1))
            place = self.direct(pose) + more[:, : 2 * self.bumps]
            return Bumps(place, 1 + more[:, 2 * self.bumps :])

    def forward(
        self, hidden: Float[Tensor, "frames arm"], bumps: Bumps
    ) -> Float[Tensor, "frames maps 16 16"]:
        """Maps at 16x16: drawn, and the bumps."""
        drawn = F.relu(self.draw(hidden)).view(-1, 8, 8, 32).permute(0, 3, 1, 2)
        coarse = F.relu(self.up(drawn))
        # The mean of four pixels of a product is the product of the means of two.
        rows, columns = (
            part.unflatten(1, (16, 2)).mean(2) for part in self._rows_and_columns(bumps)
        )
        return torch.cat([coarse, _product(rows, columns).to(coarse.dtype)], 1)

    def fine(self, bumps: Bumps) -> Float[Tensor, "frames bumps3 32 32"]:
        """The bumps alone, at 32x32."""
        return _product(*self._rows_and_columns(bumps))

    def _rows_and_columns(self, bumps: Bumps) -> tuple[Tensor, Tensor]:
        """[frames, 32, 3 bumps] each: a bump is the product of a row and a column."""
        n = self.bumps
        x, y = bumps.place[:, None, :n], bumps.place[:, None, n:]
        with full_precision(x):
            sigma = self.log_sigma.exp()
            dx, dy = (self.at[None, :, None] - x) / sigma, (self.at[None, :, None] - y) / sigma
            gx, gy = (-0.5 * dx * dx).exp(), (-0.5 * dy * dy).exp()
            columns = torch.cat([gx, gx * dx, gx], -1) * bumps.height[:, None]
            return torch.cat([gy, gy, gy * dy], -1), columns


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """[frames, channels, height, width], channels innermost."""
    if torch.is_autocast_enabled(rows.device.type):
        dtype = torch.get_autocast_dtype(rows.device.type)
        rows, columns = rows.to(dtype), columns.to(dtype)
    return (rows[:, :, None] * columns[:, None]).permute(0, 3, 1, 2)


def shared(x: Tensor, samples: int) -> Tensor:
    """[B, ...] for K samples of each sequence: [B * K, ...], sample index fastest."""
    return x if samples == 1 else x.repeat_interleave(samples, 0)


def full_precision(x: Tensor) -> torch.autocast:
    """No autocast in here: errors of a recurrence add up."""
    return torch.autocast(x.device.type, enabled=False)
