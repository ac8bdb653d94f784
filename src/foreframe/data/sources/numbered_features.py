"""Recordings as BAIR's and SAVP's TFRecords hold them: features "<t>/NAME" for each step t."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

from foreframe.data.picture import decode_picture
from foreframe.data.sources.source import UnusableError
from foreframe.data.sources.tfrecord import Example
from foreframe.errors import ForeframeError

_ENCODED = "/encoded"
_PICTURES = (b"\xff\xd8", b"\x89P")


@dataclass(frozen=True)
class NumberedFeatures:
    """The features of one recording that are wanted.

    Attributes:
        example: the record.
        images: the feature with the pictures: "images/encoded".
        rows: features with numbers.
        shorter: those of them that may be missing in the last step.
    """

    example: Example
    images: str
    rows: tuple[str, ...]
    shorter: tuple[str, ...] = ()

    def count(self) -> dict[str, int]:
        """How many steps each feature has: the pictures in all, the others in as many.

        Raises:
            UnusableError: one is missing, in some step or in all.
        """
        steps: dict[str, list[int]] = {self.images: [], **{name: [] for name in self.rows}}
        for key in self.example:
            number, _, kind = key.partition("/")
            if kind in steps and number.isdecimal():
                steps[kind].append(int(number))
        n = len(steps[self.images])
        if not n:
            listed = ", ".join(list(self.example)[:6]) or "nothing"
            raise UnusableError(f"there is no feature 0/{self.images}, only {listed}")
        for kind, times in steps.items():
            fits = sorted(times) == list(range(n))
            fits |= kind in self.shorter and n > 1 and sorted(times) == list(range(n - 1))
            if not fits:
                odd = sorted(set(range(n)) ^ set(times))[:3]
                raise UnusableError(
                    f"{n} frames, but {len(times)} features <t>/{kind} (look at t = {odd})"
                )
        return {kind: len(times) for kind, times in steps.items()}

    def numbers(self, kind: str, n: int, width: int | None) -> np.ndarray:
        """The numbers of ``n`` steps: [n, width].

        Raises:
            UnusableError: some step has not ``width``, or not as many as the first one.
        """
        rows = [self.example.numbers(f"{t}/{kind}") for t in range(n)]
        width = len(rows[0]) if width is None else width
        for t, row in enumerate(rows):
            if len(row) != width:
                raise UnusableError(f"the feature {t}/{kind} holds {len(row)} numbers, not {width}")
        return np.stack(rows).astype(np.float32)

    def frames(self, n: int, size: int | None) -> np.ndarray:
        """The pictures: [n, height, width, 3].

        Args:
            n: how many there are.
            size: height and width of raw pixels; None where they are a square of any size, of the
                recording's ``height`` and ``width``, or PNG or JPEG.

        Raises:
            UnusableError: some are not of that size, or damaged.
        """
        shape = (size, size, 3) if size else self._shape()
        frames = np.empty((n, *shape), np.uint8)
        for t in range(n):
            name = f"{t}/{self.images}"
            values = self.example.bytes_list(name)
            if not size and len(values) == 1 and values[0][:2] in _PICTURES:
                frame = _picture(values[0], name)
                if frame.shape != shape:
                    raise UnusableError(
                        f"the feature {name} has {frame.shape[1]}x{frame.shape[0]} pixels, and not "
                        f"{shape[1]}x{shape[0]}"
                    )
                frames[t] = frame
                continue
            if len(values) != 1 or len(values[0]) != frames[t].size:
                raise UnusableError(
                    f"the feature {name} holds {sum(map(len, values)):,} bytes, not the "
                    f"{frames[t].size:,} of {shape[1]}x{shape[0]} RGB pixels"
                )
            frames[t] = np.frombuffer(values[0], np.uint8).reshape(shape)
        return frames

    def _shape(self) -> tuple[int, int, int]:
        """Shape of the first picture."""
        name = f"0/{self.images}"
        content = next(iter(self.example.bytes_list(name)), b"")
        if content[:2] in _PICTURES:
            height, width = _picture(content, name).shape[:2]
            return height, width, 3
        if "height" in self.example and "width" in self.example:
            sides = [self.example.numbers(side) for side in ("height", "width")]
            if all(len(side) == 1 for side in sides):
                height, width = (int(side[0]) for side in sides)
                if height > 0 and width > 0 and 3 * height * width == len(content):
                    return height, width, 3
        side = isqrt(len(content) // 3)
        if not side or 3 * side * side != len(content):
            raise UnusableError(
                f"the feature {name} holds {len(content):,} bytes: no PNG or JPEG, and not the RGB "
                "pixels of a square"
            )
        return side, side, 3


def encoded(name: str) -> str:
    """The feature with pictures of that name, which TFRecords call NAME/encoded."""
    return name if name.endswith(_ENCODED) else name + _ENCODED


def _picture(content: bytes, name: str) -> np.ndarray:
    try:
        return decode_picture(content, f"the feature {name}", verify=True)
    except ForeframeError as error:
        raise UnusableError(str(error)) from error
