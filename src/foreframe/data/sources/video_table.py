"""The CSV beside a video: a row for each frame, some columns actions and some positions."""

import csv
import re
from dataclasses import dataclass

import numpy as np

from foreframe.data.recording import finite
from foreframe.data.sources.source import UnusableError
from foreframe.system.places import Place

NONE = "none"

_DELIMITERS = ",;\t"
_RANGE = re.compile(r"(\d*):(\d*)")


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
        UnusableError: names the line.
    """
    try:
        # Spreadsheets put a byte-order mark before the first number.
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{place.name} cannot be read as text ({error})") from error
    lines = text.splitlines()
    delimiter = max(_DELIMITERS, key=lines[0].count) if lines else ","
    # Strict: a quotation mark that is never closed would swallow the rest.
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        numbered = [
            (reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise UnusableError(f"{place.name}, line {reader.line_num}: {error}") from error
    first = numbered[0][1] if numbered else []
    named = bool(first) and not any(_is_number(cell) for cell in first)
    columns = [cell.strip() if named else str(n) for n, cell in enumerate(first)]
    rows = [
        _row(cells, len(columns), f"{place.name}, line {number}")
        for number, cells in numbered[named:]
    ]
    if not rows:
        raise UnusableError(f"{place.name} holds no rows of numbers")
    return Table(columns, named, np.array(rows))


def _row(cells: list[str], width: int, where: str) -> list[float]:
    if len(cells) != width:
        raise UnusableError(f"{where}: {len(cells)} columns, and not {width}")
    try:
        row = [float(cell) for cell in cells]
    except ValueError as error:
        raise UnusableError(f"{where}: is not a row of numbers ({error})") from error
    if not finite(row):
        raise UnusableError(f"{where}: holds a value that is not a finite number")
    return row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def choose(columns: list[str], actions: str, positions: str) -> dict[str, list[int]]:
    """Numbers of the columns that are "actions" and "positions", as two options say.

    Raises:
        UnusableError: an option names a column that is not there.
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
    chosen: list[int] = []
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
            raise UnusableError(
                f"--{option} {text}: there is no column {word}; the {len(columns)} columns are "
                f"{', '.join(columns)}"
            )
        chosen += numbers
    return chosen
