"""The JSON beside a DROID episode: rows at three times the rate of the frames."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, open_binary

STEP = 3
"""Rows from one frame to the next."""

_LARGEST = 1 << 26
_LENGTH = "video_length"


@dataclass(frozen=True)
class Annotation:
    """What is known of an episode.

    Attributes:
        frames: number of frames in each of its videos.
        tables: every key that holds numbers at the rate of the rows: [rows, columns], float64.
        text: what the robot was told to do; empty if nobody said it.
    """

    frames: int
    tables: dict[str, np.ndarray]
    text: str


def read_annotation(place: Place) -> Annotation:
    """Read an annotation and see that its rows belong to its frames.

    Raises:
        UnusableError: it is missing or damaged, or has another number of rows.
    """
    values = _read(place)
    frames = values.get(_LENGTH)
    if not isinstance(frames, int) or isinstance(frames, bool) or frames < 1:
        raise UnusableError(f"{_LENGTH} is no number of frames")
    lists = {
        key: rows
        for key, rows in values.items()
        if key.startswith(("action.", "observation.")) and isinstance(rows, list) and rows
    }
    if not lists:
        raise UnusableError("it has no rows: no key begins with action. or observation.")
    tables = {key: _table(key, rows) for key, rows in lists.items()}
    for key, rows in tables.items():
        if -(-len(rows) // STEP) != frames:
            raise UnusableError(
                f"{shown(key)} has {len(rows)} rows and the videos {frames} frames; there must be "
                f"{STEP} rows from one frame to the next"
            )
    texts = values.get("texts")
    said = isinstance(texts, list) and texts and isinstance(texts[0], str)
    return Annotation(frames, tables, texts[0].strip() if said and texts else "")


def _read(place: Place) -> dict[str, Any]:
    if not place.is_file():
        raise UnusableError("there is no such file")
    try:
        with open_binary(place) as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST:,} bytes")
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UnusableError(f"cannot be read as JSON ({shown(str(error))})") from error
    except ForeframeError as error:
        raise UnusableError(str(error).rstrip(".")) from error
    return values


def _table(key: str, rows: list[Any]) -> np.ndarray:
    """Rows of numbers, or numbers, as [rows, columns].

    Raises:
        UnusableError: it is neither.
    """
    numbers = [row if isinstance(row, list) else [row] for row in rows]
    width = len(numbers[0])
    for t, row in enumerate(numbers):
        if len(row) != width or not width or not all(type(n) in (int, float) for n in row):
            raise UnusableError(f"{shown(key)}, row {t}: is not {width} numbers, as the first is")
    try:
        return np.array(numbers, np.float64)
    except (OverflowError, ValueError) as error:
        raise UnusableError(f"{shown(key)}: holds a number that is too large") from error
