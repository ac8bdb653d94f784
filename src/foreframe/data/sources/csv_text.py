"""A CSV as programs and spreadsheets write it, where it can mean one thing only."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from foreframe.data.recording import finite
from foreframe.data.sources.source import UnusableError

_DELIMITERS = ";\t,"
"""Of several that are there, the first one divides: numbers hold commas, but no semicolons."""
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_WORDS = {"true": 1.0, "false": 0.0}
_INDEX = ("", "index", "unnamed: 0", "idx", "row", "frame", "frame_index", "frame_id", "step")
_TIME = re.compile(r"(time|timestamps?|time_?stamp|stamp|ts|t|seconds)(_?(s|sec|ms|us|ns))?")
_LEAST = 3
"""Rows from which on a column without a name may be the numbers of the rows."""


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

    def no_numbers_of_the_robot(self) -> dict[int, str]:
        """Columns that number the rows or say when they are, and what is said of each."""
        found: dict[int, str] = {}
        for n, name in enumerate(self.columns if len(self.columns) > 1 else ()):
            values = self.values[:, n]
            shown = f"column {n} ({name})" if self.named and name else f"column {n}"
            if n == 0 and self._is_index(name, values):
                found[n] = f"{shown} numbers the rows and is left out"
            elif self.named and _TIME.fullmatch(name.lower()) and (np.diff(values) > 0).all():
                found[n] = (
                    f"{shown} says when the rows are and is left out; with --timestamps rows are "
                    "matched to frames by it"
                )
        return found if len(found) < len(self.columns) else {}

    def _is_index(self, name: str, values: np.ndarray) -> bool:
        if self.named and name.lower() not in _INDEX:
            return False
        begins = len(values) >= (1 if self.named else _LEAST) and values[0] in (0, 1)
        return bool(begins and (np.diff(values) == 1).all())


def parse_csv(text: str, name: str, *, missing: bool = False) -> Table:
    """The numbers in a CSV, divided by semicolons, tabs or commas, with or without a header.

    True and false are 1 and 0. With semicolons and tabs a comma may be the decimal point.

    Args:
        text: the CSV.
        name: its name, for messages.
        missing: whether a number may be missing: an empty field, or nan; it becomes NaN.

    Raises:
        UnusableError: names the line.
    """
    rows, delimiter = _cells(text, name)
    first = rows[0][1] if rows else []
    named = bool(first) and _is_header(first)
    header = [cell.lstrip("# ") if not n else cell for n, cell in enumerate(first)]
    body = _without_empty_column(rows[named:])
    width = len(body[0][1]) if body else len(first)
    if named and len(header) == width + 1 and not header[-1]:
        header.pop()
    if named and body and len(header) != width:
        number, cells = body[0]
        raise UnusableError(f"{name}, line {number}: {len(cells)} columns, and not {len(header)}")
    number_of = _commas(body, name) if delimiter != "," else _number
    values = []
    for line, cells in body:
        where = f"{name}, line {line}"
        if len(cells) != width:
            raise UnusableError(f"{where}: {len(cells)} columns, and not {width}")
        values.append(_row(cells, where, number_of, missing))
    if not values:
        raise UnusableError(f"{name} holds no rows of numbers")
    columns = header if named else [str(n) for n in range(width)]
    return Table(columns, named, np.array(values))


def _cells(text: str, name: str) -> tuple[list[tuple[int, list[str]]], str]:
    """The rows that are not empty with the numbers of their lines, and what divides their cells."""
    lines = text.removeprefix("\ufeff").splitlines()
    skipped, delimiter = 0, ""
    if lines and re.fullmatch(r"sep=[;,\t]", lines[0].strip(), re.IGNORECASE):
        skipped, delimiter = 1, lines.pop(0).strip()[-1]  # a word for spreadsheets
    if not delimiter:
        head = next((line for line in lines if line.strip()), "")
        delimiter = next((one for one in _DELIMITERS if one in head), ",")
    # Strict: a quotation mark that is never closed would swallow the rest.
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [
            (reader.line_num + skipped, [cell.strip() for cell in cells])
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise UnusableError(f"{name}, line {reader.line_num + skipped}: {error}") from error
    return rows, delimiter


def _is_header(cells: list[str]) -> bool:
    numbered = ["", *(str(n) for n in range(len(cells) - 1))]
    return cells == numbered or not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return _COMMA.fullmatch(cell) is not None
    return True


def _number(cell: str) -> float:
    word = _WORDS.get(cell.lower())
    if word is not None:
        return word
    try:
        return float(cell)
    except ValueError:
        if "-" not in cell or ":" not in cell:
            raise
        moment = datetime.fromisoformat(cell)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number_with_comma(cell: str) -> float:
    return float(cell.replace(",", ".")) if _COMMA.fullmatch(cell) else _number(cell)


def _commas(rows: list[tuple[int, list[str]]], name: str) -> Callable[[str], float]:
    """How the cells of a CSV are read that are not divided by commas."""
    cells = [(line, cell) for line, own in rows for cell in own]
    comma = next((line for line, cell in cells if _COMMA.fullmatch(cell)), None)
    if comma is None:
        return _number
    point = next((line for line, cell in cells if re.fullmatch(r"[+-]?\d*\.\d+", cell)), None)
    if point is not None:
        raise UnusableError(
            f"{name}: line {comma} has a decimal comma and line {point} a decimal point; use one"
        )
    return _number_with_comma


def _without_empty_column(
    rows: list[tuple[int, list[str]]],
) -> list[tuple[int, list[str]]]:
    """Rows that all end with a delimiter, without what is behind it."""
    if rows and all(len(cells) > 1 and not cells[-1] for _, cells in rows):
        return [(line, cells[:-1]) for line, cells in rows]
    return rows


def _row(
    cells: list[str], where: str, number_of: Callable[[str], float], missing: bool
) -> list[float]:
    try:
        row = [np.nan if missing and not cell else number_of(cell) for cell in cells]
    except ValueError as error:
        raise UnusableError(f"{where}: is not a row of numbers ({error})") from error
    if not finite(row, missing=missing):
        raise UnusableError(f"{where}: holds a value that is not a finite number")
    return row
