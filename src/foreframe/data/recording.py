"""One recording in memory, and the fitting of its frames to the size that a model takes."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from foreframe.errors import ForeframeError

TABLES = ("actions", "positions", "tracks")
"""The tables of numbers that a recording may have beside its frames, a row for each frame."""


@dataclass(frozen=True)
class Recording:
    """One recording of T frames.

    Attributes:
        frames: [T, H, W, 3], RGB.
        actions: [T, A] or None; row t acts between frame t and t + 1.
        positions: [T, P] or None; row t is the end effector at frame t.
        tracks: [T, 2N] or None; row t is where N objects are in the image at frame t, as x0, y0,
            x1, y1, ...: fractions of its width and height from its left and top, NaN for an object
            that is not there. One that leaves the image has places outside of 0..1.
    """

    frames: UInt8[np.ndarray, "time height width 3"]
    actions: Float32[np.ndarray, "time action"] | None = None
    positions: Float32[np.ndarray, "time position"] | None = None
    tracks: Float32[np.ndarray, "time track"] | None = None

    @property
    def widths(self) -> dict[str, int | None]:
        """Numbers in a row of each of the ``TABLES``; None where there is none."""
        tables = {part: getattr(self, part) for part in TABLES}
        return {part: None if rows is None else rows.shape[1] for part, rows in tables.items()}


def finite(values: ArrayLike, *, missing: bool = False) -> bool:
    """Whether every value is a finite number in float32, or, if ``missing``, is NaN."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(values).astype(np.float32)
    return bool((np.isfinite(numbers) | (missing & np.isnan(numbers))).all())


MIDDLE, WHOLE = "middle", "whole"


@dataclass(frozen=True)
class Fit:
    """What becomes of a frame: a part of it is cut out and brought to one size.

    Attributes:
        size: height of the result, and its width where no other is given.
        crop: "middle" (the largest part in the middle of the result's shape, a square of a square),
            "whole" (everything, squeezed into it) or "LEFT,TOP,WIDTH,HEIGHT" in pixels of the
            frame.
        wide: width of the result; None: as high as wide.
    """

    size: int = 64
    crop: str = MIDDLE
    wide: int | None = None

    @classmethod
    def to(cls, size: tuple[int, int]) -> "Fit":
        """The middle part of a frame, at a height and width in pixels."""
        return cls(size[0], wide=size[1])

    @property
    def height(self) -> int:
        """Of the result, in pixels."""
        return self.size

    @property
    def width(self) -> int:
        """Of the result, in pixels."""
        return self.size if self.wide is None else self.wide

    def check(self) -> None:
        """Refuse a size or a crop that makes no sense.

        Raises:
            ForeframeError: names the option.
        """
        for name, edge in (("size", self.height), ("width", self.width)):
            if not 8 <= edge <= 1024:
                raise ForeframeError(f"--{name} {edge}: frames have between 8 and 1024 pixels.")
        if self.crop not in (MIDDLE, WHOLE):
            self._numbers()

    def _numbers(self) -> tuple[int, int, int, int]:
        try:
            left, top, width, height = (int(word) for word in self.crop.split(","))
        except ValueError:
            left, top, width, height = -1, 0, 0, 0
        if min(left, top) < 0 or min(width, height) < 1:
            raise ForeframeError(
                f"--crop {self.crop}: give {MIDDLE}, {WHOLE} or LEFT,TOP,WIDTH,HEIGHT in pixels."
            )
        return left, top, width, height

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is cut out of a frame of that size.

        Raises:
            ForeframeError: the crop reaches beyond the frame.
        """
        if self.crop == MIDDLE:
            high = min(height, width * self.height / self.width)
            wide = min(width, height * self.width / self.height)
            left, top = (width - wide) / 2, (height - high) / 2
            return left, top, left + wide, top + high
        if self.crop == WHOLE:
            return 0, 0, width, height
        x, y, w, h = self._numbers()
        if x + w > width or y + h > height:
            raise ForeframeError(
                f"--crop {self.crop}: reaches beyond the frames of {width}x{height} pixels."
            )
        return x, y, x + w, y + h

    def changes(self, height: int, width: int) -> bool:
        """Whether frames of that size come out other than they went in."""
        whole = (0, 0, self.width, self.height)
        return (height, width) != (self.height, self.width) or self.box(height, width) != whole

    def __call__(
        self, frame: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Cut and resize: averaging over areas where that makes it smaller, else bicubic."""
        height, width = frame.shape[:2]
        if not self.changes(height, width):
            return frame
        box = self.box(height, width)
        smaller = box[2] - box[0] >= self.width and box[3] - box[1] >= self.height
        how = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
        return np.asarray(Image.fromarray(frame).resize((self.width, self.height), how, box))

    def tracks(
        self, rows: Float32[np.ndarray, "time track"], height: int, width: int
    ) -> Float32[np.ndarray, "time track"]:
        """Places in frames of that size, as places in what is cut out of them.

        Raises:
            ForeframeError: the crop reaches beyond the frame.
        """
        left, top, right, bottom = self.box(height, width)
        if (left, top, right, bottom) == (0, 0, width, height):
            return rows
        places = rows.astype(np.float64)
        places[:, 0::2] = (places[:, 0::2] * width - left) / (right - left)
        places[:, 1::2] = (places[:, 1::2] * height - top) / (bottom - top)
        return places.astype(np.float32)


def fit_recording(sequence: Recording, fit: Fit) -> Recording:
    """``sequence`` with every frame fitted, and its tracks with them; itself if nothing changes.

    Raises:
        ForeframeError: the crop reaches beyond the frames.
    """
    height, width = sequence.frames.shape[1:3]
    if not fit.changes(height, width):
        return sequence
    tracks = sequence.tracks
    return replace(
        sequence,
        frames=np.stack([fit(frame) for frame in sequence.frames]),
        tracks=None if tracks is None else fit.tracks(tracks, height, width),
    )
