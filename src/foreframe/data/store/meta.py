"""The metadata of a store, meta.json: what is in the arrays, and where it came from.

A small store, or a shard of a large one, is of format 1; a large store is of format 2 and repeats
the metadata of its shards, so that opening it reads one file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import foreframe
from foreframe.data.recording import TABLES
from foreframe.data.statistics import Statistics
from foreframe.system.places import Place

META = "meta.json"
FORMAT = 1
FORMAT_SHARDS = 2

ROWS = ("actions", "positions")
"""The tables of a recording that a model may be told; they have statistics."""


_SHA256 = re.compile(r"[0-9a-f]{64}")


def _whole(value: Any, least: int) -> int:
    """A whole number of at least ``least``.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    if not least <= value < 1 << 40:
        raise ValueError(f"{value} is out of range")
    return value


def _name(text: str) -> str:
    """The name of a folder in this one.

    Raises:
        TypeError, ValueError: it leads elsewhere.
    """
    if text in ("", ".", "..") or "/" in text or "\\" in text or "\0" in text:
        raise ValueError(f"{text!r} is no name of a shard")
    return text


@dataclass(frozen=True)
class Shard:
    """A run of recordings whose arrays lie in one folder.

    Attributes:
        folder: the folder with the arrays.
        lengths: frames of each recording.
        names: names of the recordings, relative to the source of the store.
        sha256: checksum of each array's file, by its name; empty for stores of old.
        recordings: the recording that each is a clip or a view of; empty where each is one whole.
        tasks: what the robot was told to do in each, in words; empty where nobody says.
    """

    folder: Place
    lengths: tuple[int, ...]
    names: tuple[str, ...]
    sha256: Mapping[str, str]
    recordings: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: Place) -> "Shard":
        """The reverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: these are no metadata of a shard.
        """
        lengths = tuple(_whole(length, 1) for length in values["lengths"])
        names, sums = tuple(values["names"]), values.get("sha256", {})
        notes = [tuple(values.get(key, ())) for key in ("recordings", "tasks")]
        if not all(isinstance(text, str) for own in (names, *notes) for text in own):
            raise TypeError("a name is no text")
        if any(len(own) not in (0, len(lengths)) for own in notes):
            raise ValueError("recordings or tasks of other sequences")
        if not all(
            _SHA256.fullmatch(text) and part in ("frames", *TABLES) for part, text in sums.items()
        ):
            raise ValueError("a checksum is none")
        return cls(folder, lengths, names, dict(sums), *notes)

    def to_json(self) -> dict[str, Any]:
        """Lengths, names and checksums as plain values; what is empty is left out."""
        notes = {"recordings": list(self.recordings), "tasks": list(self.tasks)}
        return {
            "lengths": list(self.lengths),
            "names": list(self.names),
            "sha256": dict(self.sha256),
            **{key: own for key, own in notes.items() if own},
        }


@dataclass(frozen=True)
class Meta:
    """What meta.json says.

    Attributes:
        size: height and width of the frames.
        widths: numbers in a row of each of the ``TABLES``; None where there is none.
        shards: the shards in the order of the recordings; one, the store itself, in format 1.
        statistics: statistics of the actions and positions, None where there are none; empty for
            stores of old.
        notes: more entries; an import writes what it read as "source".
    """

    size: tuple[int, int]
    widths: dict[str, int | None]
    shards: tuple[Shard, ...]
    statistics: dict[str, Statistics | None]
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: Place) -> "Meta":
        """The reverse of ``to_json``, for the store in ``folder``; ``notes`` are left out.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: these are no metadata of a store.
        """
        height, width = (_whole(edge, 1) for edge in values["size"])
        told = values["widths"]
        # Stores of old know nothing of tracks, and stores without any say nothing of them.
        widths = {part: told[part] if part in ROWS else told.get(part) for part in TABLES}
        if values["format"] == FORMAT:
            shards: tuple[Shard, ...] = (Shard.from_json(values, folder),)
        else:
            shards = tuple(
                Shard.from_json(shard, folder / _name(shard["folder"]))
                for shard in values["shards"]
            )
        names = sum(len(shard.names) for shard in shards)
        lengths = sum(len(shard.lengths) for shard in shards)
        if names != lengths or not names:
            raise ValueError(f"{names} names, {lengths} lengths")
        return cls(
            (height, width),
            {
                part: None if number is None else _whole(number, 0)
                for part, number in widths.items()
            },
            shards,
            {
                part: None if numbers is None else Statistics.from_json(numbers)
                for part, numbers in values.get("statistics", {}).items()
            },
        )

    def to_json(self, *, sharded: bool) -> dict[str, Any]:
        """As plain values: of format 2 if ``sharded``, else of format 1, which has one shard."""
        head = {
            "format": FORMAT_SHARDS if sharded else FORMAT,
            "foreframe": foreframe.__version__,
            "size": list(self.size),
            "widths": {
                part: width
                for part, width in self.widths.items()
                if part in ROWS or width is not None
            },
        }
        statistics = {
            part: None if values is None else values.to_json()
            for part, values in self.statistics.items()
        }
        if not sharded:
            return {**head, **self.shards[0].to_json(), "statistics": statistics, **self.notes}
        shards = [{"folder": shard.folder.name, **shard.to_json()} for shard in self.shards]
        return {**head, "statistics": statistics, **self.notes, "shards": shards}
