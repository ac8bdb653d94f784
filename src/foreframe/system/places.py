"""Places: a path on this machine, or an address that fsspec can open (s3://, memory://, ...)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias, cast

from upath import UPath

from foreframe.errors import ForeframeError

Place: TypeAlias = Path | UPath

_NUMBER = re.compile(r"(\d+)")


def place(text: str) -> Place:
    """The place that ``text`` names; ``file://`` and plain paths are local.

    Raises:
        ForeframeError: nothing installed can open such an address.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        return Path(text)
    if scheme in ("file", "local"):
        return Path(rest)
    try:
        there = UPath(text)
        assert there.fs  # what it needs is imported only when this is asked
        return there
    except (ImportError, ValueError, OSError) as error:
        raise ForeframeError(
            f"{text}: addresses of the kind {scheme}:// cannot be opened here ({error}). "
            "Install the fsspec package that it names, or copy the data to this machine."
        ) from error


def is_remote(where: Place) -> bool:
    """Whether ``where`` is read through fsspec."""
    return not isinstance(where, Path)


def open_binary(where: Place) -> IO[bytes]:
    """Open for reading, seekable.

    Raises:
        ForeframeError: it is missing or cannot be read.
    """
    try:
        return cast("IO[bytes]", where.open("rb"))
    except OSError as error:
        raise unreadable(where, error) from error


def unreadable(where: Place | str, error: OSError) -> ForeframeError:
    """The message for a place that is missing or that the system refuses to read."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
    return ForeframeError(f"{where}: cannot be read ({reason}). Check the path and permissions.")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which 9 comes before 10, inside any name."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in _NUMBER.split(name)
        if part
    ]


def files_below(folder: Place, suffixes: tuple[str, ...]) -> Iterator[Place]:
    """Files with one of the endings, in ``folder`` and the folders below it, in natural order.

    Hidden ones are left out.

    Raises:
        ForeframeError: a folder cannot be read.
    """
    try:
        entries: list[Place] = list(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error
    for path in sorted(entries, key=lambda path: natural_key(path.name)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from files_below(path, suffixes)
        elif path.name.lower().endswith(suffixes):
            yield path
