"""Stochastic Moving MNIST, made from a file of MNIST digits.

After Denton & Fergus, "Stochastic Video Generation with a Learned Prior" (2018), section 4.1:
frames of 64x64 pixels in which digits move with constant velocity until they hit a wall, where they
go off with a random speed and direction. The paper leaves the distributions open; they are those of
its public code: along either axis a whole number of pixels a frame, uniform in -4..4; at a wall,
uniform in 1..4 away from it; digits enlarged to 32x32; where two overlap, their sum, at most white.

Unlike there, each split has digits of its own.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from PIL import Image

from foreframe.data.lab import SPLITS
from foreframe.data.sources.listing import Node
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, open_binary, unreadable

SIZE = 64
FASTEST = 4
"""Pixels a frame, along either axis."""

_PER_PART = 256
_MAGIC = b"\0\0\x08\x03"  # bytes, three axes
_GZIP = b"\x1f\x8b"
_LARGEST = 1 << 30
_NAMES = tuple(
    f"{kind}-images{dot}idx3-ubyte{packed}"
    for kind in ("train", "t10k")
    for dot in "-."
    for packed in ("", ".gz")
)


@dataclass(frozen=True)
class MovingMnistSource(Source):
    """Stochastic Moving MNIST (Denton & Fergus 2018), generated from a file of MNIST digits."""

    input: Place
    """train-images-idx3-ubyte or train-images-idx3-ubyte.gz, or the folder that holds it. Where
    t10k-images-idx3-ubyte lies beside it, the test split is made of its digits."""
    sequences: int = 10000
    """Sequences in the training split."""
    validate_sequences: int = 256
    """Sequences in the validation split."""
    test_sequences: int = 256
    """Sequences in the test split."""
    frames: int = 20
    """Frames in a sequence."""
    digits: int = 2
    """Digits in a sequence."""
    digit_size: int = 32
    """Height and width of a digit in pixels; MNIST has 28, SVG's code enlarges them to 32."""
    seed: int = 0
    """Seed of the random numbers; sequence k of a split depends on this, the split and k alone."""

    def parts(self) -> list[Part]:
        counts = (self.sequences, self.validate_sequences, self.test_sequences)
        for name, value, least, most in (
            ("sequences", self.sequences, 0, None),
            ("validate-sequences", self.validate_sequences, 0, None),
            ("test-sequences", self.test_sequences, 0, None),
            ("frames", self.frames, 2, None),
            ("digits", self.digits, 1, None),
            ("digit-size", self.digit_size, 8, SIZE - FASTEST),
            ("seed", self.seed, 0, None),
        ):
            if value < least or (most is not None and value > most):
                limits = f"at least {least}" if most is None else f"between {least} and {most}"
                raise ForeframeError(f"--{name} {value}: must be {limits}.")
        if not any(counts):
            raise ForeframeError("--sequences 0: there is nothing to make.")
        for split, count in zip(SPLITS, counts, strict=True):
            if count:
                self._digits(split)
        return [
            Part(
                f"{split}-{start:06d}",
                self._file("t10k" if split == "test" else "train") or self.input,
                split,
                {"start": start, "stop": min(start + _PER_PART, count)},
            )
            for split, count in zip(SPLITS, counts, strict=True)
            for start in range(0, count, _PER_PART)
        ]

    def _file(self, kind: str) -> Place | None:
        """The file of the "train" or the "t10k" digits."""
        if not self.input.exists():
            raise ForeframeError(
                f"{self.input}: no such file or folder. Give MNIST's {_NAMES[0]} or its folder."
            )
        if not self.input.is_dir():
            if kind == "train":
                return self.input
            if "train" not in self.input.name:
                return None
        folder = self.input if self.input.is_dir() else self.input.parent
        names = (name for name in _NAMES if name.startswith(kind))
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None and kind == "train":
            raise ForeframeError(f"{folder}: holds no {_NAMES[0]}. Give the folder of MNIST.")
        return file

    def _digits(self, split: str) -> np.ndarray:
        """The digits of a split: [N, digit_size, digit_size]."""
        train, own = self._file("train"), self._file("t10k")
        assert train is not None
        if split == "test" and own is not None:
            first, last, images = 0, None, read_digits(own)
        else:
            # Sixths, so that of MNIST's 60,000 the usual 50,000 and 10,000 are taken.
            images = read_digits(train)
            n, tests = len(images), 0 if own else 1
            cuts = [0, (5 - tests) * n // 6, (6 - tests) * n // 6, n]
            first, last = cuts[SPLITS.index(split)], cuts[SPLITS.index(split) + 1]
        digits = images[first:last]
        if not len(digits):
            raise ForeframeError(
                f"{train}: {len(images)} digits are too few for three splits. Give all of MNIST."
            )
        return digits

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        numbers = range(part.select["start"], part.select["stop"])
        return [(f"{part.split}/{k}", self.frames) for k in numbers]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        assert part.split is not None
        try:
            digits = self._digits(part.split)
        except ForeframeError as error:
            yield Skip(part.name, str(error).rstrip("."))
            return
        for k in range(part.select["start"], part.select["stop"]):
            random = np.random.default_rng((self.seed, SPLITS.index(part.split), k))
            yield RawRecording(f"{part.split}/{k}", self._sequence(digits, random))

    def _sequence(self, digits: np.ndarray, random: np.random.Generator) -> np.ndarray:
        size = self.digit_size
        frames = np.zeros((self.frames, SIZE, SIZE), np.uint16)
        for chosen in random.integers(len(digits), size=self.digits):
            digit = digits[chosen]
            if digit.shape != (size, size):
                resized = Image.fromarray(digit).resize((size, size), Image.Resampling.BILINEAR)
                digit = np.asarray(resized)
            corners = trajectory(random, self.frames, SIZE - size)
            for frame, (y, x) in zip(frames, corners, strict=True):
                frame[y : y + size, x : x + size] += digit
        grey = np.minimum(frames, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, 3)

    def describe(self) -> dict[str, Any]:
        return {
            "dataset": "Stochastic Moving MNIST",
            "digits": self.digits,
            "digit_size": self.digit_size,
            "seed": self.seed,
        }

    def listing(self) -> Node:
        counts = (self.sequences, self.validate_sequences, self.test_sequences)
        digits = [
            Node(f"{file.name}: {len(images):,} digits of {images.shape[2]}x{images.shape[1]}")
            for file in (self._file("train"), self._file("t10k"))
            if file is not None
            for images in (read_digits(file),)
        ]
        made = [
            Node(f"split {split}: {count:,} sequences of {self.frames} frames")
            for split, count in zip(SPLITS, counts, strict=True)
        ]
        return Node(f"{self.input}: MNIST", (*digits, Node("they would become", tuple(made))))


def trajectory(random: np.random.Generator, frames: int, limit: int) -> np.ndarray:
    """The upper left corner of a digit in each frame: [frames, 2], whole numbers 0..``limit``."""
    corner = random.integers(0, limit + 1, 2)
    velocity = random.integers(-FASTEST, FASTEST + 1, 2)
    corners = [corner]
    for _ in range(frames - 1):
        ahead = corner + velocity
        below, above = (velocity < 0) & (ahead <= 0), (velocity > 0) & (ahead >= limit)
        if below.any() or above.any():
            away = random.integers(1, FASTEST + 1, 2)
            velocity = random.integers(-FASTEST, FASTEST + 1, 2)
            velocity = np.where(below, away, np.where(above, -away, velocity))
        corner = ahead.clip(0, limit)
        corners.append(corner)
    return np.stack(corners)


def read_digits(place: Place) -> np.ndarray:
    """The images of an idx file, packed by gzip or not: [N, height, width].

    Raises:
        ForeframeError: it is no such file, or damaged.
    """
    with open_binary(place) as file:
        try:
            packed = file.read(2) == _GZIP
            file.seek(0)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
            header = stream.read(16)
            if len(header) < 16 or header[:4] != _MAGIC:
                raise ForeframeError(
                    f"{place}: is no idx file of images. Give MNIST's {_NAMES[0]}, not its labels."
                )
            shape = struct.unpack_from(">III", header, 4)
            size = shape[0] * shape[1] * shape[2]
            if not 0 < size <= _LARGEST or max(shape[1:]) > SIZE:
                raise ForeframeError(
                    f"{place}: its header announces {shape[0]:,} images of {shape[2]}x{shape[1]} "
                    "pixels, which is not MNIST. Restore the file."
                )
            data = stream.read(size)
            rest = stream.read(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ForeframeError(f"{place}: is damaged ({error}). Restore it.") from error
        except OSError as error:
            raise unreadable(place, error) from error
    if len(data) != size or rest:
        raise ForeframeError(
            f"{place}: {'more than ' if rest else ''}{len(data):,} bytes of pixels, but its header "
            f"announces {size:,}. Restore it."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
