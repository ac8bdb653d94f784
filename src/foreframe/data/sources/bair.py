"""BAIR robot pushing (softmotion30_44k), from its tar as it is downloaded or from its TFRecords."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import numpy as np

from foreframe.data.lab import SPLIT_NAMES, SPLITS
from foreframe.data.sources.feature import ColumnChoice, FeatureColumns, all_columns, choose_columns
from foreframe.data.sources.listing import Node, counted, few
from foreframe.data.sources.numbered_features import NumberedFeatures, encoded
from foreframe.data.sources.source import LATER, Part, RawRecording, Skip, Source, UnusableError
from foreframe.data.sources.tfrecord import (
    Damage,
    Example,
    Record,
    read_records,
    record_offsets,
)
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, natural_key, open_binary

SIZE = 64
FRAMES = 30
FEW = 3
ACTION, POSITION = "action", "endeffector_pos"
_WIDTHS = {ACTION: 4, POSITION: 3}
"""Of BAIR's own features; others may have any."""

_SUFFIX = ".tfrecords"
_BLOCK = 512  # of a tar


@dataclass(frozen=True)
class BairSource(Source):
    """BAIR robot pushing: the original tar, read without unpacking it, or its .tfrecords files."""

    input: Place
    """bair_robot_pushing_dataset_v0.tar, a folder of .tfrecords files, or one such file."""
    camera: Literal["aux1", "main"] = "aux1"
    """Which of the two cameras; the lab and SVG use aux1."""
    image: str = field(default="", metadata=LATER)
    """Feature with the pictures, where files of this form have another: images for 0/images/encoded
    as SAVP writes it. By default that of the camera."""
    action: str = field(default=ACTION, metadata=LATER)
    """Feature with the action, or columns of it: action[:2]; several divided by commas; none for no
    actions."""
    position: str = field(default=POSITION, metadata=LATER)
    """Feature with the end effector's position, such as state or state[:3]; none for none."""

    def parts(self) -> list[Part]:
        if self.input.is_dir():
            parts = self._folder_parts()
        elif not self.input.exists():
            raise ForeframeError(f"{self.input}: no such file or folder. Give the tar of BAIR.")
        elif self.input.name.endswith(_SUFFIX):
            size = self.input.stat().st_size
            parts = [self._part(self.input.name, self.input, 0, size)]
        else:
            parts = self._tar_parts()
        if not any("start" in part.select for part in parts):
            raise ForeframeError(
                f"{self.input}: holds no {_SUFFIX} files. Give bair_robot_pushing_dataset_v0.tar "
                "or the folder that it unpacks to."
            )
        return sorted(parts, key=lambda part: natural_key(part.name))

    def _folder_parts(self) -> list[Part]:
        root = str(self.input)
        return [
            self._part(str(path)[len(root) :], path, 0, path.stat().st_size)
            for path in files_below(self.input, (_SUFFIX,))
        ]

    def _tar_parts(self) -> list[Part]:
        with open_binary(self.input) as file:
            end = file.seek(0, 2)
            file.seek(0)
            try:
                return list(self._members(file, end))
            except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
                raise ForeframeError(
                    f"{self.input}: cannot be read as a tar ({error}). A compressed tar has to be "
                    "decompressed first."
                ) from error

    def _members(self, file: IO[bytes], end: int) -> Iterator[Part]:
        """The TFRecords in the tar, and a part for each stretch of it that cannot be read."""
        unreadable = "no readable header of a file in the tar"
        expected = 0
        for member in _headers(file):
            if member.offset > expected and not _zero(file, expected, member.offset):
                yield self._damage(expected, member.offset, unreadable)
            start = member.offset_data
            stop = start + (member.size if member.isreg() else 0)
            expected = -(-stop // _BLOCK) * _BLOCK
            if member.isreg() and member.name.endswith(_SUFFIX):
                yield self._part(member.name, self.input, start, min(stop, end))
                if stop > end:
                    yield self._damage(end, stop, f"the tar is cut within {member.name}")
        if expected < end and not _zero(file, expected, end):
            yield self._damage(expected, end, unreadable)
        elif expected == end:
            yield self._damage(
                end, end + _BLOCK, "the tar ends without its end mark: it may be cut short"
            )

    def _damage(self, start: int, stop: int, what: str) -> Part:
        reason = f"bytes {start:,} to {stop:,}: {what}"
        return Part(f"damage-at-{start}", self.input, select={"damage": reason})

    def _part(self, path: str, place: Place, start: int, stop: int) -> Part:
        folder, _, name = path.replace("\\", "/").rpartition("/")
        above = folder.rpartition("/")[2]
        # In other files of this form the folders name the splits, and numbers begin anew in each.
        split = SPLIT_NAMES.get(above.lower()) if self.image else _split(above, name)
        # Two files of one name in different folders are different files.
        unusual = bool(self.image) or re.match(r"traj_\d+_to_\d+\.tfrecords$", name) is None
        label = path.strip("/").replace("/", "-") if unusual else name
        return Part(label, place, split, {"start": start, "stop": stop, "file": name})

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        if "damage" in part.select:
            return []
        span = part.select["start"], part.select["stop"]
        with open_binary(part.place) as file:
            count = sum(1 for _ in record_offsets(file, *span))
            names = [f"{part.select['file']}/{n}" for n in range(count)]
            if not self.image or count >= FEW:
                return [(name, 0 if self.image else FRAMES) for name in names]
            # So few are divided by time, and their lengths stand in the records alone.
            records = read_records(file, *span)
            return [(name, self._count(one)) for name, one in zip(names, records, strict=True)]

    def _count(self, record: Record | Damage) -> int:
        """Frames of a recording; 0 if it cannot be read."""
        try:
            example = Example(record.payload if isinstance(record, Record) else b"")
            return NumberedFeatures(example, self._images, ()).count()[self._images]
        except UnusableError:
            return 0

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        if "damage" in part.select:
            yield Skip(str(self.input), part.select["damage"])
            return
        start, stop = part.select["start"], part.select["stop"]
        with open_binary(part.place) as file:
            for n, record in enumerate(read_records(file, start, stop)):
                name = f"{part.select['file']}/{n}"
                where = f"{name} (record {n} at byte {record.offset - start:,})"
                if isinstance(record, Damage):
                    yield Skip(where, record.reason)
                    continue
                try:
                    yield self._recording(name, Example(record.payload))
                except UnusableError as error:
                    yield Skip(where, str(error))

    @property
    def _wanted(self) -> ColumnChoice:
        return choose_columns(self.action, self.position)

    def _recording(self, name: str, example: Example) -> RawRecording:
        wanted = self._wanted
        there = {key.partition("/")[2] for key in example}
        if self.position == POSITION and POSITION not in there:
            wanted = {**wanted, "positions": ()}
        acts = {columns.name for columns in wanted["actions"]}
        features = NumberedFeatures(
            example,
            self._images,
            tuple(dict.fromkeys(feature for feature, _ in all_columns(wanted))),
            # The last action leads nowhere; of BAIR's own, one that is missing was lost.
            shorter=tuple(acts) if self.image else (),
        )
        counts = features.count()
        n = counts.pop(features.images)
        least = min((counts[kind] for kind in acts), default=n)
        widths = {} if self.image else _WIDTHS
        values = {
            kind: features.numbers(kind, least if kind in acts else n, widths.get(kind))
            for kind in counts
        }
        return RawRecording(
            name,
            features.frames(n, None if self.image else SIZE),
            _joined(wanted["actions"], values),
            _joined(wanted["positions"], values),
        )

    @property
    def _images(self) -> str:
        return encoded(self.image or f"image_{self.camera}")

    def describe(self) -> dict[str, Any]:
        own = not self.image and self.position == POSITION
        return {
            "dataset": self.input.name if self.image else "BAIR robot pushing (softmotion30_44k)",
            "camera": self.image or self.camera,
            "units": "as recorded",
            **({"columns": {"positions": ["x", "y", "z"]}} if own else {}),
        }

    def listing(self) -> Node:
        parts = [part for part in self.parts() if "start" in part.select]
        splits: dict[str | None, list[Part]] = {}
        for part in parts:
            splits.setdefault(part.split, []).append(part)
        files = (
            Node(
                f"split {split or 'unknown'}: {counted(len(own), 'file')}",
                few((self._listed(part) for part in own), len(own), "files"),
            )
            for split, own in splits.items()
        )
        return Node(
            f"{self.input}: BAIR, {counted(len(parts), 'file')}",
            (Node("frame 0 of the first record", self._features(parts[0])), *files),
        )

    def _listed(self, part: Part) -> Node:
        lengths = self.lengths(part)
        return Node(f"{part.name}: {counted(len(lengths), 'record')} of {FRAMES} frames")

    @staticmethod
    def _features(part: Part) -> tuple[Node, ...]:
        """The features of the first frame in a file, if its first record can be read."""
        with open_binary(part.place) as file:
            record = next(read_records(file, part.select["start"], part.select["stop"]), None)
        try:
            example = Example(
                b"" if record is None or isinstance(record, Damage) else record.payload
            )
        except UnusableError as error:
            return (Node(str(error)),)
        return tuple(
            Node(f"{key} {example.kind(key)}") for key in example if key.startswith("0/")
        ) or (Node("it cannot be read"),)


def _joined(wanted: tuple[FeatureColumns, ...], values: dict[str, np.ndarray]) -> np.ndarray | None:
    """The wanted columns side by side; whether they are finite, the import looks at."""
    if not wanted:
        return None
    try:
        return np.concatenate([columns.of(values[columns.name]) for columns in wanted], 1)
    except ValueError as error:
        raise UnusableError(str(error)) from error


def _split(folder: str, name: str) -> str | None:
    """The lab's splits; files of other names by the folder that they are in, if it is a split's."""
    if name == "traj_0_to_255.tfrecords":
        return "test"
    if name == "traj_256_to_511.tfrecords":
        return "validate"
    if name.startswith("traj_"):
        return "train"
    return folder if folder in SPLITS else None


def _headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The headers in a tar, those after a damaged one included.

    Zeros and what is no header are passed over; of a tar that is cut short, those before the cut.

    Raises:
        tarfile.ReadError: there is not a single header.
    """
    with tarfile.open(fileobj=file, mode="r:", ignore_zeros=True) as tar:
        found_any = False
        while True:
            try:
                member = tar.next()
            except tarfile.ReadError:
                if not found_any:
                    raise
                return
            if member is None:
                return
            found_any = True
            yield member


def _zero(file: IO[bytes], start: int, stop: int) -> bool:
    """Whether a stretch of the file is all zeros, as the end of a tar is."""
    file.seek(start)
    while start < stop:
        chunk = file.read(min(stop - start, 1 << 20))
        if not chunk or any(chunk):
            return False
        start += len(chunk)
    return True
