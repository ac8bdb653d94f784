"""Arrays in .npz files, read as a stream: an array of recordings may be larger than the memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from foreframe.data.sources.feature import (
    ColumnChoice,
    FeatureColumns,
    choose_columns,
    episode_ends,
    joined,
)
from foreframe.data.sources.listing import Node, counted, few, shown
from foreframe.data.sources.npz_file import NpzArray, NpzFile, open_npz, rows
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, natural_key, unreadable

_PER_PART = 256
_MOST_PARTS = 16
"""Parts of one file: each reads the whole file once, to be sure of its checksums."""
_FILES_PER_PART = 64
_TRIED = 8
"""Files of a folder that are looked at before the options are said to be wrong."""


@dataclass(frozen=True)
class _Contents:
    """What a file holds for us.

    Attributes:
        frames: the array of frames.
        shape: height, width and channels of a frame.
        rows: the arrays of actions and positions by their names: [frames of all recordings, width].
        episodes: name, first frame and frame after the last of each recording.
        rest: frames after the last recording.
    """

    frames: NpzArray
    shape: tuple[int, int, int]
    rows: dict[str, np.ndarray]
    episodes: list[tuple[str, int, int]]
    rest: int


@dataclass(frozen=True)
class NpzSource(Source):
    """Arrays in an .npz file, or in each .npz file of a folder, by their names."""

    input: Place
    """An .npz file, or a folder of .npz files."""
    frames: str = ""
    """Name of the array of frames, needed: [time, height, width, 3] for one recording or
    [recording, time, height, width, 3], values 0..255; one channel in the place of three: grey."""
    actions: str = ""
    """Name of the array of actions, [time, number] or [recording, time, number], or columns of it:
    action[:4]; several divided by commas; by default there are none."""
    positions: str = ""
    """Name of the array of positions, or columns of it: state[:3]; by default there are none."""
    episode_ends: str = ""
    """Name of an array that divides one long array of frames into recordings: for each the number
    of frames up to its end; by default there is none."""

    def parts(self) -> list[Part]:
        files = self._files()
        count, first = self._first(files)
        if len(files) == 1:
            # A few large parts at most: a file of N recordings is read through for each part.
            size = max(_PER_PART, -(-count // _MOST_PARTS))
            starts = range(0, count, size)
            return [
                Part(
                    first.stem if count <= size else f"{first.stem}-{start:06d}",
                    first,
                    select={"files": [first.name], "start": start, "stop": start + size},
                )
                for start in starts
            ]
        step = max(1, _FILES_PER_PART // count)
        names = [file.name for file in files]
        return [
            Part(f"files-{k:06d}", self.input, select={"files": names[k : k + step]})
            for k in range(0, len(names), step)
        ]

    def _files(self) -> list[Place]:
        if not self.input.exists():
            raise ForeframeError(
                f"{self.input}: no such file or folder. Give an .npz file, or a folder of them."
            )
        if not self.input.is_dir():
            return [self.input]
        try:
            entries = [path for path in self.input.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise unreadable(self.input, error) from error
        files = [path for path in entries if path.suffix.lower() == ".npz"]
        if not files:
            raise ForeframeError(
                f"{self.input}: holds no .npz files. Give the folder in which they are."
            )
        return sorted(files, key=lambda path: natural_key(path.name))

    def _first(self, files: list[Place]) -> tuple[int, Place]:
        """Number of recordings in the first usable file, and the file; most often the very first.

        Raises:
            ForeframeError: none of the first few is usable.
        """
        failures: list[ForeframeError] = []
        for file in files[:_TRIED]:
            try:
                with open_npz(file) as opened:
                    return len(self._contents(file, opened, with_rows=False).episodes), file
            except ForeframeError as error:
                failures.append(error)
            except UnusableError as error:
                failures.append(ForeframeError(f"{file}: {error}."))
        raise failures[0]

    def _place(self, name: str) -> Place:
        return self.input / name if self.input.is_dir() else self.input

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        lengths: list[tuple[str, int]] = []
        for name in part.select["files"]:
            place = self._place(name)
            try:
                with open_npz(place) as opened:
                    contents = self._contents(place, opened, with_rows=False)
            except (ForeframeError, UnusableError):
                continue  # read() says why
            lengths += [(label, b - a) for label, a, b in _selected(contents, part)]
        return lengths

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        for name in part.select["files"]:
            place = self._place(name)
            try:
                with open_npz(place) as opened:
                    yield from self._read_file(place, opened, part)
            except UnusableError as error:
                yield Skip(name, str(error))
            except ForeframeError as error:
                yield Skip(name, str(error).removeprefix(f"{place}: ").rstrip("."))

    def _read_file(
        self, place: Place, opened: NpzFile, part: Part
    ) -> Iterator[RawRecording | Skip]:
        contents = self._contents(place, opened, with_rows=True)
        opened.check_pixels(contents.frames)
        with opened.stream(contents.frames) as stream:
            for name, start, stop in _selected(contents, part):
                features = {key: values[start:stop] for key, values in contents.rows.items()}
                try:
                    rows = joined(self._wanted(), features)
                except ValueError as error:
                    yield Skip(name, str(error))
                    continue
                yield RawRecording(
                    name,
                    _frames(place, stream, contents, start, stop),
                    *rows,
                )
        last = part.select.get("stop", len(contents.episodes)) >= len(contents.episodes)
        if contents.rest and last:
            total = contents.episodes[-1][2]
            yield Skip(
                f"{place.name}, frames {total} to {total + contents.rest}",
                f"they lie after the last end in {self.episode_ends}",
            )

    def _contents(self, place: Place, opened: NpzFile, with_rows: bool) -> _Contents:
        """How the arrays divide into recordings; ``with_rows``: with actions and positions."""
        if not self.frames:
            listed = ", ".join(map(str, opened.arrays.values()))
            raise UnusableError(f"name the array of frames with --frames; it holds {listed}")
        frames = opened.find(self.frames, "frames")
        lead, shape = _axes(frames, bool(self.episode_ends))
        total = math.prod(lead)
        if self.episode_ends:
            ends = _ends(opened, opened.find(self.episode_ends, "episode-ends"), total)
        else:
            ends = list(range(lead[-1], total + 1, lead[-1]))
        single = len(lead) == 1 and not self.episode_ends
        episodes = [
            (place.name if single else f"{place.name}/{k}", start, end)
            for k, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        values: dict[str, np.ndarray] = {}
        for kind, wanted in self._wanted().items():
            for columns in wanted:
                array = opened.find(columns.name, kind)
                _check_rows(array, lead, kind, columns)
                if with_rows:
                    values[columns.name] = opened.load(array).reshape(total, -1)
        return _Contents(frames, shape, values, episodes, total - ends[-1])

    def _wanted(self) -> ColumnChoice:
        return choose_columns(self.actions, self.positions, ("--actions", "--positions"))

    def describe(self) -> dict[str, Any]:
        names = {
            "frames": self.frames,
            "actions": self.actions,
            "positions": self.positions,
            "episode_ends": self.episode_ends,
        }
        return {
            "dataset": self.input.name,
            "camera": self.frames,
            "units": "as recorded",
            "arrays": {kind: name for kind, name in names.items() if name},
        }

    def listing(self) -> Node:
        files = self._files()
        try:
            with open_npz(files[0]) as opened:
                arrays = [
                    f"{name}: unreadable ({array})" if isinstance(array, str) else str(array)
                    for name, array in opened.arrays.items()
                ]
        except UnusableError as error:
            raise ForeframeError(f"{files[0]}: {error}.") from error
        nodes = [Node(shown(text)) for text in arrays]
        return Node(
            f"{self.input}: {counted(len(files), '.npz file')}",
            (
                Node(f"arrays of {files[0].name}", few(nodes, len(nodes), "arrays")),
                *few((Node(file.name) for file in files[1:]), len(files) - 1, "files"),
            ),
        )


# -- what the arrays mean -----------------------------------------------------------------------


def _axes(array: NpzArray, divided: bool) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """The axes (recording,) time of the frames, and the height, width and channels of a frame."""
    shape = array.shape
    text = f"the frames {array.name} have the shape {list(shape)}"
    if 0 in shape:
        raise UnusableError(f"{text}: there are none")
    if array.fortran:
        raise UnusableError(
            f"{text} in Fortran order, which cannot be read frame by frame: save "
            "numpy.ascontiguousarray of them"
        )
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        return shape[:1], (*shape[1:], 1)
    if len(shape) in (4, 5) and shape[-1] in (1, 3):
        lead = shape[:-3]
        if divided and len(lead) == 2:
            raise UnusableError(f"{text}: --episode-ends divides one array [time, height, ...]")
        return lead, (shape[-3], shape[-2], shape[-1])
    raise UnusableError(
        f"{text}, of which the meaning is not certain: bring them to [time, height, width, 3] or "
        "[recording, time, height, width, 3], grey ones to one channel in the place of three"
    )


def _ends(opened: NpzFile, array: NpzArray, total: int) -> list[int]:
    values = opened.load(array)
    text = f"--episode-ends {array.name}"
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise UnusableError(
            f"{text}: is {values.dtype} {list(values.shape)}, and must be one row of whole numbers"
        )
    try:
        return episode_ends(values, total)
    except ValueError as error:
        raise UnusableError(f"{text}: {error}") from error


def _check_rows(array: NpzArray, lead: tuple[int, ...], kind: str, columns: FeatureColumns) -> None:
    shape = array.shape
    if len(shape) not in (len(lead), len(lead) + 1) or 0 in shape[len(lead) :]:
        expected = "[time, number]" if len(lead) == 1 else "[recording, time, number]"
        raise UnusableError(
            f"the {kind} {array.name} have the shape {list(shape)}; for these frames it must be "
            f"{expected}"
        )
    if shape[: len(lead)] != lead:
        raise UnusableError(
            f"the {kind} {array.name} have the shape {list(shape)}, but there are frames for "
            f"{list(lead)}: each frame needs a row, the last one too"
        )
    try:
        columns.of(np.zeros((1, shape[-1] if len(shape) > len(lead) else 1)))
    except ValueError as error:
        raise UnusableError(f"--{kind}: {error}") from error


def _selected(contents: _Contents, part: Part) -> list[tuple[str, int, int]]:
    return contents.episodes[part.select.get("start", 0) : part.select.get("stop")]


def _frames(
    place: Place, shared: IO[bytes], contents: _Contents, start: int, stop: int
) -> Iterator[np.ndarray]:
    """The frames of a recording, read from the stream that all recordings of the file share."""
    try:
        if not shared.closed:
            yield from _decode(shared, contents, start, stop)
        else:  # asked for after the last recording was
            with open_npz(place) as file, file.stream(contents.frames) as stream:
                yield from _decode(stream, contents, start, stop)
    except UnusableError as error:
        raise ForeframeError(f"{place}: {error}. Restore it, or remove it.") from error


def _decode(stream: IO[bytes], contents: _Contents, start: int, stop: int) -> Iterator[np.ndarray]:
    shape = contents.shape
    for data in rows(stream, contents.frames, math.prod(shape), start, stop):
        frames = np.frombuffer(data, contents.frames.dtype).reshape(-1, *shape).astype(np.uint8)
        yield from frames if shape[2] == 3 else np.repeat(frames, 3, 3)
