"""Many futures of each sequence scored as they are imagined, in memory that does not grow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.metrics import METRICS, Metric
from foreframe.model.cvae import CVAE

AT_ONCE = {"cpu": 64, "cuda": 256, "mps": 64}
"""Futures, over all sequences of a batch, that are imagined side by side: what fills the device."""

_CACHE = 16 * 2**20
"""Bytes of features beyond which a CPU gains nothing from more futures at once."""


class Imagines(Interface):
    """Whatever can be scored: ``VideoCVAE``, or anything that yields futures as it does."""

    def futures(
        self,
        past: Tensor,
        actions: Tensor | None,
        positions: Tensor | None,
        *,
        noise: Tensor,
        n_future: int,
        at_once: int | None = None,
        recorded: Tensor | None = None,
    ) -> Iterator[tuple[slice, int, Tensor]]:
        """See ``VideoCVAE.futures``."""
        ...


class Scores(NamedTuple):
    """Scores of every frame of every future.

    Attributes:
        values: what each metric's ``frame`` gives, by its name.
        first: the first future of each sequence itself, uint8; None unless asked for.
    """

    values: dict[str, Float[Tensor, "batch n_samples n_future"]]
    first: Shaped[Tensor, "batch n_future 3 height width"] | None


def sequence_noise(seed: int, index: int, samples: int, steps: int, z_dim: int) -> Tensor:
    """Noise [samples, steps, z_dim] of one sequence, whatever batch it is evaluated in."""
    state = np.random.SeedSequence((seed, 2, index)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]) >> 1)
    return torch.randn(samples, steps, z_dim, generator=generator)


def noise_of_batch(
    seed: int, indices: Iterable[int], samples: int, n_frames: int, z_dim: int
) -> Float[Tensor, "batch n_samples steps z"]:
    """Noise of several sequences: n_frames - 1 steps of z for each sample of each."""
    return torch.stack(
        [sequence_noise(seed, index, samples, n_frames - 1, z_dim) for index in indices]
    )


def futures_at_once(model: Imagines, device: torch.device) -> int:
    """Futures that are imagined side by side: as many as fill the device, few of a large net."""
    most = AT_ONCE.get(device.type, 64)
    if device.type == "cpu" and isinstance(model, CVAE):
        most = min(most, _CACHE // (4 * model.encoder.largest_features))
    return max(1, most)


@torch.no_grad()
def score_futures(
    model: Imagines,
    past: Shaped[Tensor, "batch n_past 3 height width"],
    truth: Float[Tensor, "batch n_future 3 height width"],
    actions: Float[Tensor, "batch rows action"] | None,
    positions: Float[Tensor, "batch rows position"] | None,
    noise: Float[Tensor, "batch n_samples steps z"],
    *,
    metrics: Sequence[Metric] = (METRICS["psnr"], METRICS["ssim"]),
    from_posterior: bool = False,
    keep_first: bool = False,
    videos: Callable[[Tensor], None] | None = None,
    at_once: int | None = None,
) -> Scores:
    """Imagine K futures of each sequence and score every frame, on the device of the truth.

    The past is encoded once for all K. The futures are imagined side by side in groups, and each
    frame is scored and dropped before the next one: the memory depends neither on K nor on the
    length.

    Args:
        model: imagines, in evaluation mode.
        past: the given frames: uint8 or float in [0, 1].
        truth: the frames that followed, in [0, 1].
        actions: one row a frame, given ones included; see ``VideoCVAE.generate``.
        positions: likewise.
        noise: [B, K, n_past + n_future - 1, z_dim] from N(0, I), one draw for each future.
        metrics: what is measured.
        from_posterior: draw z from the posterior, which sees the truth: reconstruction.
        keep_first: also return the first future of each sequence.
        videos: given the frames [B * samples, T, 3, H, W] of each group that is done.
        at_once: futures that are imagined side by side, over all sequences; by default what fills
            the device.

    Returns:
        scores on the device of the truth.

    Raises:
        ForeframeError: see ``VideoCVAE.condition``.
    """
    batch, n_samples = noise.shape[:2]
    steps = truth.shape[1]
    values = {
        metric.name: torch.empty(batch, n_samples, steps, device=truth.device) for metric in metrics
    }
    first: list[Tensor] = []
    whole: list[Tensor] = []
    made = model.futures(
        past,
        actions,
        positions,
        noise=noise,
        n_future=steps,
        at_once=max(1, (at_once or futures_at_once(model, truth.device)) // batch),
        recorded=truth if from_posterior else None,
    )
    last = past[:, None, -1].to(truth.device)
    last = last if last.is_floating_point() else last.float().div_(255)
    for samples, t, frames in made:
        expected = truth[:, None, t]
        for metric in metrics:
            values[metric.name][:, samples, t] = metric.of(frames, expected, last)
        if keep_first and samples.start == 0:
            first.append(frames[:, 0].mul(255).round_().byte())
        if videos is not None:
            whole.append(frames)
            if t + 1 == steps:
                videos(torch.stack(whole, 2).flatten(0, 1))
                whole.clear()
    return Scores(values, torch.stack(first, 1) if keep_first else None)
