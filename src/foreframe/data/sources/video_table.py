"""The CSV beside a video: a row for each frame, some columns actions and some positions."""

import re
from collections.abc import Collection

from foreframe.data.sources.csv_text import Table, parse_csv
from foreframe.data.sources.source import UnusableError
from foreframe.system.places import Place

NONE = "none"

_RANGE = re.compile(r"(\d*):(\d*)")


def read_table(place: Place) -> Table:
    """Read a whole CSV, see ``parse_csv``.

    Raises:
        UnusableError: names the line.
    """
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{place.name} cannot be read as text ({error})") from error
    return parse_csv(text, place.name)


def column_of(columns: list[str], text: str, option: str) -> int:
    """The number of the one column that an option names.

    Raises:
        UnusableError: there is none, or there are several.
    """
    numbers = _numbers(columns, text, option)
    if len(numbers) != 1:
        raise UnusableError(f"--{option} {text}: name one column")
    return numbers[0]


def choose(
    columns: list[str], actions: str, positions: str, left_out: Collection[int] = ()
) -> dict[str, list[int]]:
    """Numbers of the columns that are "actions" and "positions", as two options say.

    Those in ``left_out`` are no actions unless they are named.

    Raises:
        UnusableError: an option names a column that is not there.
    """
    wanted = _numbers(columns, positions, "positions") if positions not in ("", NONE) else []
    if actions == NONE:
        acts = []
    elif actions:
        acts = _numbers(columns, actions, "actions")
    else:
        acts = [n for n in range(len(columns)) if n not in wanted and n not in left_out]
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
