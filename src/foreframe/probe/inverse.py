"""A small inverse model: from two consecutive frames to the action that acted between them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.data.statistics import Statistics
from foreframe.data.store.batches import prefetch, training_batch
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip

BATCH = 64
VALIDATION_PAIRS = 768
LOOK_EVERY = 100
"""Steps between two looks at the validation error."""

PATIENCE = 5
"""Looks without a new least error after which the training ends."""

_LR = 2e-3
_STILL = 1e-6


@dataclass(frozen=True)
class Columns:
    """The numbers of an action that can be recovered: those that vary in the training split.

    Attributes:
        width: numbers in an action.
        kept: which of them vary.
        mean: of those, in the training split.
        deviation: likewise.
    """

    width: int
    kept: tuple[int, ...]
    mean: Float[Tensor, " kept"]
    deviation: Float[Tensor, " kept"]

    @classmethod
    def of(cls, statistics: Statistics) -> "Columns":
        """The varying columns of a split with such statistics."""
        deviation, mean = statistics.deviation, statistics.mean
        reach = abs(mean) + statistics.high - statistics.low
        kept = tuple(int(k) for k in (deviation > _STILL * reach).nonzero()[0])
        return cls(
            len(mean),
            kept,
            torch.from_numpy(mean[list(kept)]).float(),
            torch.from_numpy(deviation[list(kept)]).float(),
        )

    def standardised(self, actions: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows kept"]:
        """The varying numbers, with mean 0 and deviation 1 over the training split."""
        return (actions[..., list(self.kept)].cpu().float() - self.mean) / self.deviation


class InverseNet(nn.Module):
    """Convolutions with stride 2 down to 4x4 or so over a frame and its change, then linear layers.

    The last map keeps its places: a camera's perspective turns the same motion into another shift
    of the pixels at another place.

    Args:
        size: height and width of the frames, each at least 8.
        outputs: numbers to recover.
    """

    def __init__(self, size: tuple[int, int], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, width = 6, 16
        height, across = size
        while min(height, across) >= 8:
            kernel = 5 if channels == 6 else 3
            layers += [nn.Conv2d(channels, width, kernel, 2, kernel // 2), nn.LeakyReLU(0.1)]
            channels, width = width, min(2 * width, 64)
            height, across = (height + 1) // 2, (across + 1) // 2
        layers += [nn.Flatten(), nn.Linear(channels * height * across, 128), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Linear(128, outputs))

    def forward(
        self, before: Float[Tensor, "n 3 height width"], after: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n outputs"]:
        """Standardised actions between two frames in [0, 1]."""
        # The change between two frames is small beside what does not change.
        pair = torch.cat([before - 0.5, 4 * (after - before)], 1)
        recovered: Tensor = self.layers(pair.contiguous(memory_format=torch.channels_last))
        return recovered


@dataclass(frozen=True)
class Inverse:
    """A trained inverse model.

    Attributes:
        net: in evaluation mode.
        columns: what it recovers.
        steps: of its training, up to the weights that were kept.
        validation: mean squared error of the standardised actions on validation pairs.
    """

    net: InverseNet
    columns: Columns
    steps: int
    validation: float

    @torch.no_grad()
    def recover(
        self, before: Float[Tensor, "n 3 height width"], after: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n kept"]:
        """Standardised actions between frames in [0, 1], on the CPU."""
        return self.net(before, after).float().cpu()


def fit_inverse(
    train: Store,
    validate: Store,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    steps: int = 1500,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inverse:
    """Train on pairs of true frames, with the mean squared error of standardised actions.

    A function of the data and the seed (on the same machine with the same number of threads).

    Args:
        train: split that it is trained on; with actions.
        validate: split whose error ends the training and picks the weights.
        seed: of the weights and the batches.
        device: where to compute.
        steps: at most so many.
        progress: called with (steps done, most).

    Raises:
        ForeframeError: no number of the actions varies, or a sequence has a single frame.
    """
    statistics = train.statistics()["actions"]
    if statistics is None:
        raise ForeframeError(f"{train.source}: there are no actions to recover.")
    columns = Columns.of(statistics)
    if not columns.kept:
        raise ForeframeError(f"{train.source}: the actions are all the same; none to recover.")
    for store in (train, validate):
        if store.lengths.min() < 2:
            name = store.names[int(store.lengths.argmin())]
            raise ForeframeError(f"{store.source / name}: a single frame. Remove the sequence.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = InverseNet(train.size, len(columns.kept))
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(net.parameters(), lr=_LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps)
    held = training_batch(
        validate, n_frames=2, batch_size=VALIDATION_PAIRS, seed=seed, global_step=0
    )
    best, kept, at = float("inf"), copy.deepcopy(net.state_dict()), 0
    with prefetch(train, n_frames=2, batch_size=BATCH, seed=seed, first_step=0) as batches:
        for step, clip in zip(range(1, steps + 1), batches, strict=False):
            loss = _loss(net, columns, clip, device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(step, steps)
            if step % LOOK_EVERY == 0 or step == steps:
                error = _error(net, columns, held, device)
                if error < best:
                    best, kept, at = error, copy.deepcopy(net.state_dict()), step
                elif step - at >= PATIENCE * LOOK_EVERY:
                    break
    net.load_state_dict(kept)
    return Inverse(net.eval(), columns, at, best)


def _loss(net: InverseNet, columns: Columns, clip: Clip, device: torch.device | str) -> Tensor:
    assert clip.actions is not None
    frames = clip.frames.to(device).float().div_(255)
    wanted = columns.standardised(clip.actions[:, 0]).to(device)
    return (net(frames[:, 0], frames[:, 1]) - wanted).square().mean()


@torch.no_grad()
def _error(net: InverseNet, columns: Columns, held: Clip, device: torch.device | str) -> float:
    parts = [
        Clip(
            held.frames[k : k + BATCH],
            None if held.actions is None else held.actions[k : k + BATCH],
        )
        for k in range(0, len(held), BATCH)
    ]
    return sum(float(_loss(net, columns, part, device)) * len(part) for part in parts) / len(held)
