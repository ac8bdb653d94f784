"""Clip: a batch of aligned frames, actions, positions and tracks: what all data become."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.errors import ForeframeError


@dataclass(frozen=True)
class Clip:
    """A batch of ``B`` video clips of ``T`` frames.

    The alignment is said here, once: ``actions[:, t]`` acts between frame ``t`` and frame
    ``t + 1``, ``positions[:, t]`` is where the end effector is at frame ``t``, and ``tracks[:, t]``
    is where objects are in the image at frame ``t``. Tracks only teach: no model is told them.

    Attributes:
        frames: [B, T, 3, H, W]; uint8 in 0..255 as stored, or float in [0, 1] as the nets see them.
        actions: [B, T, A], in the recording's own units, or None.
        positions: [B, T, P], in the recording's own units, or None.
        tracks: [B, T, 2N], x0, y0, x1, y1, ... of N objects as fractions of the frame's width and
            height, from its left and top; NaN where an object is not there; or None.

    Raises:
        ForeframeError: the parts disagree about batch or length, or the frames are not RGB.
    """

    frames: Shaped[Tensor, "batch time 3 height width"]
    actions: Float[Tensor, "batch time action"] | None = None
    positions: Float[Tensor, "batch time position"] | None = None
    tracks: Float[Tensor, "batch time track"] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or self.frames.shape[2] != 3:
            raise ForeframeError(
                f"Clip.frames: expected shape [B, T, 3, H, W], got {list(self.frames.shape)}."
            )
        for name in ("actions", "positions", "tracks"):
            part: Tensor | None = getattr(self, name)
            if part is None:
                continue
            if part.ndim != 3 or part.shape[:2] != self.frames.shape[:2]:
                raise ForeframeError(
                    f"Clip.{name}: expected [B, T, width] with B, T = "
                    f"{list(self.frames.shape[:2])} as the frames have, got {list(part.shape)}."
                )

    def __len__(self) -> int:
        """Number of clips B."""
        return self.frames.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return self.frames.shape[1]

    def to(self, device: torch.device | str) -> "Clip":
        """The same clip on ``device``; uint8 frames travel as bytes, a quarter of the floats."""

        def move(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device, non_blocking=True)

        return Clip(
            self.frames.to(device, non_blocking=True),
            move(self.actions),
            move(self.positions),
            move(self.tracks),
        )

    def pinned(self) -> "Clip":
        """The same clip in page-locked memory, from which a GPU copies without waiting."""
        parts = (self.frames, self.actions, self.positions, self.tracks)
        return Clip(*(None if part is None else part.pin_memory() for part in parts))  # type: ignore[arg-type]

    def as_float(self) -> "Clip":
        """The same clip with frames as float32 in [0, 1] (nothing to do when they are already)."""
        if self.frames.is_floating_point():
            return self
        return replace(self, frames=self.frames.float().div_(255))
