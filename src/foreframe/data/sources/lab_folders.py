"""The lab's folders of PNG and CSV as a source: they become a store that can lie anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.lab import (
    ACTIONS,
    POSITIONS,
    SPLITS,
    TRACKS,
    list_sequences,
    open_sequence,
    split_folder,
)
from foreframe.data.sources.csv_text import Table, parse_csv
from foreframe.data.sources.listing import Node, counted, few
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_PER_PART = 256


@dataclass(frozen=True)
class LabSource(Source):
    """The lab's layout: a folder of PNG frames and up to three CSV files for each sequence."""

    input: Place
    """Root of the dataset, with train, validate (or val) and test, or some of them."""

    def _root(self) -> Path:
        if not isinstance(self.input, Path):
            raise ForeframeError(
                f"{self.input}: folders of PNG are read on this machine alone. Copy them here."
            )
        return self.input

    def parts(self) -> list[Part]:
        root = self._root()
        splits = [split for split in SPLITS if split_folder(root, split).is_dir()]
        parts: list[Part] = []
        # Without any split the first one is asked for, and its absence explained.
        for split in splits or SPLITS[:1]:
            shards = groupby(list_sequences(root, split), key=lambda folder: folder.parent)
            for shard, group in shards:
                names = [folder.name for folder in group]
                for first in range(0, len(names), _PER_PART):
                    label = f"{shard.name}-{first}" if len(names) > _PER_PART else shard.name
                    chosen = {"names": names[first : first + _PER_PART]}
                    parts.append(Part(f"{split}-{label}", shard, split, chosen))
        return parts

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        assert isinstance(part.place, Path)
        return [
            (f"{part.place.name}/{name}", sum(1 for _ in (part.place / name).glob("*.png")))
            for name in part.select["names"]
        ]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        assert isinstance(part.place, Path)
        for name in part.select["names"]:
            folder = part.place / name
            try:
                sequence = open_sequence(folder, _numbers)
            except ForeframeError as error:
                yield Skip(str(folder.relative_to(self._root())), str(error).rstrip("."))
                continue
            yield RawRecording(
                f"{part.place.name}/{name}",
                sequence.frames(),
                sequence.actions,
                sequence.positions,
                tracks=sequence.tracks,
            )

    def _notes(self) -> list[str]:
        """What is left out of the CSV files of the first sequence."""
        part = next(iter(self.parts()))
        assert isinstance(part.place, Path)
        folder = part.place / part.select["names"][0]
        notes: list[str] = []
        for name in (ACTIONS, POSITIONS, TRACKS):
            try:
                table = parse_csv((folder / name).read_text("utf-8"), name, missing=name == TRACKS)
            except (OSError, ValueError, UnusableError):
                continue  # there is none, or reading it says what is wrong
            notes += [f"{name}: {said}" for said in _left_out(table).values()]
        return notes

    def describe(self) -> dict[str, Any]:
        notes = self._notes()
        return {
            "dataset": self.input.name,
            "units": "as recorded",
            **({"notes": notes} if notes else {}),
        }

    def listing(self) -> Node:
        splits: dict[str | None, list[Path]] = {}
        for part in self.parts():
            assert isinstance(part.place, Path)
            folders = [part.place / name for name in part.select["names"]]
            splits.setdefault(part.split, []).extend(folders)
        return Node(
            f"{self.input}: the lab's layout",
            tuple(
                Node(
                    f"split {split}: {counted(len(folders), 'sequence')}",
                    few(map(_listed, folders), len(folders), "sequences"),
                )
                for split, folders in splits.items()
            ),
        )


def _numbers(content: bytes, path: Path | str, *, missing: bool = False) -> np.ndarray:
    """The numbers of a CSV as people have it, without the columns that are none of the robot's.

    Raises:
        ForeframeError: names the line.
    """
    try:
        table = parse_csv(content.decode("utf-8"), str(path), missing=missing)
    except (UnusableError, UnicodeDecodeError) as error:
        raise ForeframeError(f"{error}. Repair it, or remove the sequence.") from error
    kept = [n for n in range(len(table.columns)) if n not in _left_out(table)]
    return table.values[:, kept].astype(np.float32)


def _left_out(table: Table) -> dict[int, str]:
    """Columns that only number or time the rows: by their names, for the layout has no header."""
    return {
        n: said.partition("; with --timestamps")[0]
        for n, said in (table.no_numbers_of_the_robot() if table.named else {}).items()
    }


def _listed(folder: Path) -> Node:
    frames = sum(1 for _ in folder.glob("*.png"))
    tables = sorted(path.name for path in folder.glob("*.csv"))
    name = f"{folder.parent.name}/{folder.name}"
    return Node(f"{name}: {', '.join([counted(frames, 'frame'), *tables])}")
