"""The CSV beside a video: a row for each frame, some columns actions and some positions."""

import csv
import re
from dataclasses import dataclass

import numpy as np

from foreframe.data.recording import finite
from foreframe.system.places import Place

NONE = "none"

_DELIMITERS = ",;\t"
_RANGE = re.compile(r"(\d*):(\d*)")


class BadTableError(Exception):
    """A table cannot be used; the message says why, without a full stop."""


@dataclass(frozen=True)
class Table:
    """What a CSV holds.

    Attributes:
        columns: names from the header line, or the numbers 0, 1, ... without one.
        named: whether there is a header line.
        values: [rows, columns].
    """

    columns: list[str]
    named: bool
    values: np.ndarray


def read_table(place: Place) -> Table:
    """Read a whole CSV, divided by commas, semicolons or tabs.

    Raises:
        BadTableError: names the line.
    """
    try:
        # Spreadsheets put a byte-order mark before the first number.
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadTableError(f"{place.name} cannot be read as text ({error})") from error
    lines = text.splitlines()
    delimiter = max(_DELIMITERS, key=lines[0].count) if lines else ","
    columns: list[str] = []
    named = False
    rows: list[list[float]] = []
    try:
        # Strict: a quotation mark that is never closed would swallow the rest.
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{place.name}, line {reader.line_num}"
            if not columns:
                named = not any(_is_number(cell) for cell in cells)
                columns = [c.strip() if named else str(n) for n, c in enumerate(cells)]
                if named:
                    continue
            if len(cells) != len(columns):
                raise BadTableError(f"{where}: {len(cells)} columns, and not {len(columns)}")
            try:
                row = [float(cell) for cell in cells]
            except ValueError as error:
                raise BadTableError(f"{where}: is not a row of numbers ({error})") from error
            if not finite(row):
                raise BadTableError(f"{where}: holds a value that is not a finite number")
            rows.append(row)
    except csv.Error as error:
        raise BadTableError(f"{place.name}, line {reader.line_num}: {error}") from error
    if not rows:
        raise BadTableError(f"{place.name} holds no rows of numbers")
    return Table(columns, named, np.array(rows))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def choose(columns: list[str], actions: str, positions: str) -> dict[str, list[int]]:
    """Numbers of the columns that are "actions" and "positions", as two options say.

    Raises:
        BadTableError: an option names a column that is not there.
    """
    wanted = _numbers(columns, positions, "positions") if positions not in ("", NONE) else []
    if actions == NONE:
        acts = []
    elif actions:
        acts = _numbers(columns, actions, "actions")
    else:
        acts = [n for n in range(len(columns)) if n not in wanted]
    return {"actions": acts, "positions": wanted}


def _numbers(columns: list[str], text: str, option: str) -> list[int]:
    found: list[int] = []
    for word in (word.strip() for word in text.split(",")):
        span = _RANGE.fullmatch(word)
        if word in columns:
            numbers = [columns.index(word)]
        elif word.isdecimal():
            numbers = [int(word)]
        elif span:
            first, last = span.groups()
            numbers = list(range(int(first or 0), int(last or len(columns))))
        else:
            numbers = []
        if not numbers or max(numbers) >= len(columns):
            raise BadTableError(
                f"--{option} {text}: there is no column {word}; the {len(columns)} columns are "
                f"{', '.join(columns)}"
            )
        found += numbers
    return found
