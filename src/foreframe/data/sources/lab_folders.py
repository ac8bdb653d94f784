"""The lab's folders of PNG and CSV as a source: they become a store that can lie anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from foreframe.data.lab import SPLITS, list_sequences, open_sequence, split_folder
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
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
                sequence = open_sequence(folder)
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

    def describe(self) -> dict[str, Any]:
        return {
            "dataset": self.input.name,
            "units": "as recorded",
        }
