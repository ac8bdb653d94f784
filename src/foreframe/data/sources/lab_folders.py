"""The lab's folders of PNG and CSV as a source: they become a store that can lie anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from foreframe.data.lab import SPLITS, list_sequences, read_sequence
from foreframe.data.sources.listing import Node, counted, few
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_PER_PART = 256


@dataclass(frozen=True)
class LabSource(Source):
    """The lab's layout: a folder of PNG frames and up to three CSV files for each sequence."""

    input: Place
    """Root of the dataset, with train, validate and test, or some of them."""

    def _root(self) -> Path:
        if not isinstance(self.input, Path):
            raise ForeframeError(
                f"{self.input}: folders of PNG are read on this machine alone. Copy them here."
            )
        return self.input

    def parts(self) -> list[Part]:
        root = self._root()
        splits = [split for split in SPLITS if (root / split).is_dir()]
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
                sequence = read_sequence(folder)
            except ForeframeError as error:
                yield Skip(str(folder.relative_to(self._root())), str(error).rstrip("."))
                continue
            yield RawRecording(
                f"{part.place.name}/{name}",
                sequence.frames,
                sequence.actions,
                sequence.positions,
                tracks=sequence.tracks,
            )

    def describe(self) -> dict[str, Any]:
        return {
            "dataset": self.input.name,
            "units": "as recorded",
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


def _listed(folder: Path) -> Node:
    frames = sum(1 for _ in folder.glob("*.png"))
    tables = sorted(path.name for path in folder.glob("*.csv"))
    name = f"{folder.parent.name}/{folder.name}"
    return Node(f"{name}: {', '.join([counted(frames, 'frame'), *tables])}")
