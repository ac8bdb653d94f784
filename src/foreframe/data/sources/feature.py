"""Names of features on the command line, with the columns that are wanted: ``state[:3]``."""

import re
from dataclasses import dataclass

import numpy as np

from foreframe.errors import ForeframeError

_FORM = re.compile(r"(?P<name>[^\[\],]+)(?:\[(?P<first>\d*)(?P<colon>:?)(?P<stop>\d*)\])?")


@dataclass(frozen=True)
class FeatureColumns:
    """Some columns of a named feature.

    Attributes:
        name: of the feature.
        first: the first column.
        stop: the one after the last; None for all that follow.
    """

    name: str
    first: int = 0
    stop: int | None = None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Those columns of ``rows`` [T, width], as float32 [T, columns].

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
    """What an option such as ``--position state[:3],gripper`` asks for; empty if ``text`` is.

    Raises:
        ForeframeError: names the option and the forms that it takes.
    """
    if text in ("", "none"):
        return ()
    found: list[FeatureColumns] = []
    for word in text.split(","):
        match = _FORM.fullmatch(word.strip())
        first, stop = ("", "") if match is None else (match["first"] or "", match["stop"] or "")
        empty = match is not None and match["colon"] == "" and match["first"] == ""
        if match is None or empty or (stop and int(stop) <= int(first or 0)):
            raise ForeframeError(
                f"{option} {text}: give the name of a feature, or some of its columns as NAME[3], "
                "NAME[:3] or NAME[2:5], several divided by commas."
            )
        begin = int(first or 0)
        end = int(stop) if stop else begin + 1 if first and not match["colon"] else None
        found.append(FeatureColumns(match["name"], begin, end))
    return tuple(found)


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
