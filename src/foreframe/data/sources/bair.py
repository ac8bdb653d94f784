"""BAIR robot pushing (softmotion30_44k), from its tar as it is downloaded or from its TFRecords."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np

from foreframe.data.lab import SPLITS
from foreframe.data.sources.listing import Node, counted, few
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.data.sources.tfrecord import (
    Damage,
    Example,
    read_records,
    record_offsets,
)
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, natural_key, open_binary

SIZE = 64
FRAMES = 30
ACTIONS, POSITIONS = 4, 3

_SUFFIX = ".tfrecords"
_BLOCK = 512  # of a tar


@dataclass(frozen=True)
class BairSource(Source):
    """BAIR robot pushing: the original tar, read without unpacking it, or its .tfrecords files."""

    input: Place
    """bair_robot_pushing_dataset_v0.tar, a folder of .tfrecords files, or one such file."""
    camera: Literal["aux1", "main"] = "aux1"
    """Which of the two cameras; the lab and SVG use aux1."""

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

    @staticmethod
    def _part(path: str, place: Place, start: int, stop: int) -> Part:
        folder, _, name = path.replace("\\", "/").rpartition("/")
        split = _split(folder.rpartition("/")[2], name)
        # Two files of one name in different folders are different files.
        unusual = re.match(r"traj_\d+_to_\d+\.tfrecords$", name) is None
        label = path.strip("/").replace("/", "-") if unusual else name
        return Part(label, place, split, {"start": start, "stop": stop, "file": name})

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        if "damage" in part.select:
            return []
        with open_binary(part.place) as file:
            count = sum(1 for _ in record_offsets(file, part.select["start"], part.select["stop"]))
        return [(f"{part.select['file']}/{n}", FRAMES) for n in range(count)]

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

    def _recording(self, name: str, example: Example) -> RawRecording:
        images = f"image_{self.camera}/encoded"
        steps: dict[str, list[int]] = {images: [], "action": [], "endeffector_pos": []}
        for key in example:
            number, _, kind = key.partition("/")
            if kind in steps and number.isdecimal():
                steps[kind].append(int(number))
        n = len(steps[images])
        if not n:
            raise UnusableError(
                f"there is no feature 0/{images}, only {', '.join(list(example)[:6]) or 'nothing'}"
            )
        for kind, times in steps.items():
            if sorted(times) != list(range(n)) and (times or kind != "endeffector_pos"):
                odd = sorted(set(range(n)) ^ set(times))[:3]
                raise UnusableError(
                    f"{n} frames, but {len(times)} features <t>/{kind} (look at t = {odd})"
                )
        frames = np.empty((n, SIZE, SIZE, 3), np.uint8)
        for t in range(n):
            values = example.bytes_list(f"{t}/{images}")
            if len(values) != 1 or len(values[0]) != frames[t].size:
                raise UnusableError(
                    f"the feature {t}/{images} holds {sum(map(len, values)):,} bytes, not the "
                    f"{frames[t].size:,} of {SIZE}x{SIZE} RGB pixels"
                )
            frames[t] = np.frombuffer(values[0], np.uint8).reshape(frames[t].shape)
        return RawRecording(
            name,
            frames,
            _rows(example, "action", n, ACTIONS),
            _rows(example, "endeffector_pos", n, POSITIONS) if steps["endeffector_pos"] else None,
        )

    def describe(self) -> dict[str, Any]:
        return {
            "dataset": "BAIR robot pushing (softmotion30_44k)",
            "camera": self.camera,
            "units": "as recorded",
            "columns": {"positions": ["x", "y", "z"]},
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


def _rows(example: Example, kind: str, n: int, width: int) -> np.ndarray:
    rows = [example.numbers(f"{t}/{kind}") for t in range(n)]
    for t, row in enumerate(rows):
        if len(row) != width:
            raise UnusableError(f"the feature {t}/{kind} holds {len(row)} numbers, not {width}")
    return np.stack(rows).astype(np.float32)


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
