"""Metrics by name: what a frame scores, how a video's score follows from it, and in which words."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from foreframe.metrics.images import (
    PSNR_CAP,
    decibels,
    psnr,
    psnr_of_frame,
    psnr_of_moving,
    squared_error,
    ssim,
    ssim_as_svg,
    ssim_grey,
)


def _as_it_is(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Metric:
    """A score for each frame, and the score of a video that follows from their mean.

    A video scores ``read(mean over its frames of frame(prediction, truth))``, and one of its frames
    ``read(frame(...))``; most metrics are read as they are.

    Attributes:
        name: unique, as in cards.
        label: for tables.
        unit: for tables; empty if it has none.
        definition: in words, all that one needs to compute it again.
        frame: of prediction and truth [*batch, 3, H, W] in [0, 1]; gives [*batch].
        needs_last: whether ``frame`` also takes the last given frame.
        perfect: what ``frame`` gives for the truth itself.
        higher_is_better: or lower.
        read: from the mean of ``frame`` to the number.
        digits: after the point in tables.
    """

    name: str
    label: str
    unit: str
    definition: str
    frame: Callable[..., Tensor]
    perfect: float
    higher_is_better: bool = True
    read: Callable[[Tensor], Tensor] = _as_it_is
    digits: int = 3
    needs_last: bool = False

    def of(self, prediction: Tensor, truth: Tensor, last: Tensor) -> Tensor:
        """``frame`` of a prediction, its truth and the last given frame [*batch, 3, H, W]."""
        if self.needs_last:
            return self.frame(prediction, truth, last)
        return self.frame(prediction, truth)


_PSNR = f"10 log10(1 / MSE), values in [0, 1], at most {PSNR_CAP:.0f} dB"

PSNR = Metric(
    "psnr",
    "PSNR",
    "dB",
    "10 log10(1 / MSE) of each colour channel in [0, 1] (at most 100 dB), mean over channels, "
    "then predicted frames, then sequences",
    psnr,
    PSNR_CAP,
    digits=2,
)
PSNR_FRAME = Metric(
    "psnr-frame",
    "PSNR (frame)",
    "dB",
    f"{_PSNR}; MSE over the pixels and channels of a frame, mean over frames, then sequences",
    psnr_of_frame,
    PSNR_CAP,
    digits=2,
)
PSNR_VIDEO = Metric(
    "psnr-video",
    "PSNR (video)",
    "dB",
    f"{_PSNR}; MSE over the pixels, channels and frames of a video, mean over sequences",
    squared_error,
    0.0,
    read=decibels,
    digits=2,
)
PSNR_MOVING = Metric(
    "psnr-moving",
    "PSNR (moving)",
    "dB",
    f"{_PSNR}; MSE over the channels and those pixels of a frame whose truth differs from the last "
    "given frame by more than 20 levels of 255 in some channel (over all, where none does), mean "
    "over frames, then sequences",
    psnr_of_moving,
    PSNR_CAP,
    digits=2,
    needs_last=True,
)
SSIM = Metric(
    "ssim",
    "SSIM",
    "",
    "RGB in [0, 1], data range 1, Gaussian window 11x11 with sigma 1.5, frames reflected at their "
    "borders, mean over pixels and channels, then predicted frames, then sequences",
    ssim,
    1.0,
)
SSIM_GREY = Metric(
    "ssim-grey",
    "SSIM (grey)",
    "",
    "luma (0.299 R + 0.587 G + 0.114 B) in [0, 1], data range 1, Gaussian window 11x11 with sigma "
    "1.5 within the frame, mean over windows, then frames, then sequences",
    ssim_grey,
    1.0,
)
SSIM_SVG = Metric(
    "ssim-svg",
    "SSIM (SVG's)",
    "",
    "each colour channel in [0, 1] with data range 2, which inflates it; uniform window 7x7 within "
    "the frame, sample variances, mean over windows and channels, then frames, then sequences",
    ssim_as_svg,
    1.0,
)

METRICS = {
    metric.name: metric for metric in (PSNR, PSNR_FRAME, PSNR_VIDEO, SSIM, SSIM_GREY, SSIM_SVG)
}
"""Those that need no weights."""

PSNR_PROTOCOL, SSIM_PROTOCOL = PSNR.definition, SSIM.definition
