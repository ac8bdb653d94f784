"""Names of features on the command line, with the columns that are wanted: ``state[:3]``."""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foreframe.errors import ForeframeError

_FORM = re.compile(r"(?P<name>[^\[\],]+)(?:\[(?P<first>\d*)(?P<colon>:?)(?P<stop>\d*)\])?")


@dataclass(frozen=True)
class FeatureColumns:
    """Some columns of a named feature.

    Attributes:
        name: name of the feature.
        first: the first column.
        stop: the one after the last; None for all that follow.
    """

    name: str
    first: int = 0
    stop: int | None = None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """These columns of ``rows`` [T, width], as float32 [T, columns].

        Raises:
            ValueError: they reach beyond the width.
        """
        width = rows.shape[1]
        stop = width if self.stop is None else self.stop
        if not self.first < stop <= width:
            raise ValueError(
                f"{self.name} has {width} columns, and columns {self.first} to {stop - 1} of it "
                "are asked for"
            )
        # What does not fit into float32 becomes infinite, and is then refused as that.
        with np.errstate(over="ignore"):
            return rows[:, self.first : stop].astype(np.float32)


def parse_columns(text: str, option: str) -> tuple[FeatureColumns, ...]:
    """The columns that an option asks for, as in ``--position state[:3],gripper``.

    There are none if ``text`` is empty or "none".

    Raises:
        ForeframeError: names the option and the forms that it takes.
    """
    if text in ("", "none"):
        return ()
    return tuple(_parse_one(word.strip(), f"{option} {text}") for word in text.split(","))


def _parse_one(word: str, where: str) -> FeatureColumns:
    """One feature and its columns: NAME, NAME[3], NAME[:3] or NAME[2:5]."""
    match = _FORM.fullmatch(word)
    if match is not None and match["colon"] is None:
        return FeatureColumns(match["name"])
    if match is not None and (match["first"] or match["colon"]):
        first = int(match["first"] or 0)
        stop = int(match["stop"]) if match["stop"] else None
        if not match["colon"]:
            stop = first + 1
        if stop is None or first < stop:
            return FeatureColumns(match["name"], first, stop)
    raise ForeframeError(
        f"{where}: give the name of a feature, or some of its columns as NAME[3], "
        "NAME[:3] or NAME[2:5], several divided by commas."
    )


def join_columns(
    wanted: tuple[FeatureColumns, ...], features: dict[str, np.ndarray]
) -> np.ndarray | None:
    """The wanted columns side by side, float32 [T, columns]; None if none are wanted.

    Raises:
        ValueError: a feature is missing, has too few columns, or holds NaN or infinity.
    """
    if not wanted:
        return None
    parts: list[np.ndarray] = []
    for columns in wanted:
        if columns.name not in features:
            raise ValueError(f"there is no {columns.name}")
        parts.append(columns.of(features[columns.name]))
    rows = np.concatenate(parts, 1)
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        names = ", ".join(columns.name for columns in wanted)
        raise ValueError(f"{names}, row {row}: a value is not a finite number in float32")
    return rows


ColumnChoice = dict[str, tuple[FeatureColumns, ...]]
"""The columns that become "actions" and "positions"."""


def choose_columns(
    actions: str, positions: str, options: tuple[str, str] = ("--action", "--position")
) -> ColumnChoice:
    """What the two options of a source ask for.

    Raises:
        ForeframeError: names the option and the forms that it takes.
    """
    texts = {"actions": actions, "positions": positions}
    return {
        part: parse_columns(text, option)
        for (part, text), option in zip(texts.items(), options, strict=True)
    }


def all_columns(choice: ColumnChoice) -> list[tuple[str, str]]:
    """Name and option of every feature that is asked for."""
    return [
        (columns.name, f"--{part.removesuffix('s')}")
        for part, several in choice.items()
        for columns in several
    ]


def joined(
    choice: ColumnChoice, features: dict[str, np.ndarray]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The rows of the actions and of the positions, see ``join_columns``."""
    return join_columns(choice["actions"], features), join_columns(choice["positions"], features)


def episode_ends(values: np.ndarray, total: int) -> list[int]:
    """Where the recordings end that lie one after another in arrays of ``total`` frames.

    Raises:
        ValueError: the ends do not grow, or reach beyond the frames.
    """
    ends = [int(end) for end in values]
    for k, (before, end) in enumerate(pairwise([0, *ends])):
        if end <= before:
            raise ValueError(
                f"the end {end} of episode {k} is not after the end {before} before it"
            )
        if end > total:
            raise ValueError(f"episode {k} ends at {end}, but there are {total} frames")
    return ends
