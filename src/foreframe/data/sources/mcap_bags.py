"""Where the recordings are: a file each, or a bag of ROS 2, whose files continue one another."""

import re
from dataclasses import dataclass
from itertools import groupby

from foreframe.data.sources.mcap_file import CONVERSION
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, is_remote, unreadable

SUFFIX = ".mcap"
_METADATA = "metadata.yaml"
_OTHERS = (".bag", ".db3", ".mcap.zstd", ".db3.zstd")
_LISTED = re.compile(r"^\s*relative_file_paths:\s*\n((?:\s*-\s.*\n?)+)", re.MULTILINE)
_LARGEST = 10_000_000
"""Bytes of a metadata.yaml that are looked at."""


@dataclass(frozen=True)
class Bag:
    """One recording.

    Attributes:
        name: its path in the folder that was given.
        files: its files, in order, as paths in that folder.
        fault: why it cannot be used; empty if nothing is known.
    """

    name: str
    files: list[str]
    fault: str = ""


def place_of(root: Place, name: str) -> Place:
    """Where a file of a bag is."""
    return root / name if root.is_dir() else root


def find_bags(root: Place) -> list[Bag]:
    """The recordings at a place, in natural order.

    Raises:
        ForeframeError: there are none, or they are of another form, or elsewhere.
    """
    if is_remote(root):
        raise ForeframeError(f"{root}: MCAP is read on this machine alone. Copy the files here.")
    if not root.exists():
        raise ForeframeError(
            f"{root}: no such file or folder. Give an MCAP file, or a folder of them."
        )
    if not root.is_dir():
        _refuse_others(root, root.name)
        return [Bag(root.name, [root.name])]
    paths = list(files_below(root, (SUFFIX,)))
    if not paths:
        for path in files_below(root, _OTHERS):
            _refuse_others(root, path.name)
        raise ForeframeError(f"{root}: holds no {SUFFIX} files. Give the folder in which they are.")
    bags: list[Bag] = []
    for folder, group in groupby(paths, key=lambda path: path.parent):
        files = [_inside(root, path) for path in group]
        if (folder / _METADATA).is_file():
            bags.append(_bag(root, folder, files))
        else:
            bags += [Bag(name, [name]) for name in files]
    return bags


def _inside(root: Place, path: Place) -> str:
    """A path in the folder, empty for the folder itself."""
    return str(path)[len(str(root)) :].replace("\\", "/").lstrip("/")


def _refuse_others(root: Place, name: str) -> None:
    if name.lower().endswith(".zstd"):
        raise ForeframeError(
            f"{root}: {name} is compressed as a whole, which cannot be read in parts: "
            f"unzstd {name}."
        )
    if name.lower().endswith(_OTHERS):
        raise ForeframeError(
            f"{root}: {name} is an older form of ROS, which is read as MCAP: {CONVERSION}."
        )


def _bag(root: Place, folder: Place, files: list[str]) -> Bag:
    """The files of a folder as its metadata.yaml orders them, which only names what lies there."""
    path = folder / _METADATA
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode(errors="replace")
    except OSError as error:
        raise unreadable(path, error) from error
    inside = _inside(root, folder)
    name = inside or root.name
    match = _LISTED.search(text)
    if match is None:
        return Bag(name, files)
    listed = [line.strip(" -\t'\"") for line in match[1].splitlines() if line.strip()]
    prefix = f"{inside}/" if inside else ""
    ordered = [f"{prefix}{one}" for one in listed]
    if not set(ordered) & set(files):
        return Bag(name, files)  # they were given other names since
    missing = [one for one in ordered if one not in files]
    if missing:
        return Bag(name, files, f"{_METADATA} names {missing[0]}, which is not there")
    more = [one for one in files if one not in ordered]
    if more:
        return Bag(name, files, f"it holds {more[0]}, which {_METADATA} does not name")
    return Bag(name, ordered)
