"""Arrays in .npz and .npy files, read as a stream: they may be larger than the memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
from foreframe.data.sources.npz_axes import FrameAxes, FrameReader, axes_of
from foreframe.data.sources.npz_file import NPY, NpzArray, NpzFile, open_npz
from foreframe.data.sources.source import LATER, Part, RawRecording, Skip, Source, UnusableError
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
        axes: what the axes of it mean.
        rows: the arrays of actions and positions by their names: [frames of all recordings, width].
        episodes: name, first frame and frame after the last of each recording.
        rest: frames after the last recording.
    """

    frames: NpzArray
    axes: FrameAxes
    rows: dict[str, np.ndarray]
    episodes: list[tuple[str, int, int]]
    rest: int


@dataclass(frozen=True)
class NpzSource(Source):
    """Arrays in .npz or .npy files, or in each such file of a folder, by their names."""

    input: Place
    """An .npz file, or a .npy file with the frames (those beside it are other arrays by their
    names), or a folder of .npz files or of .npy files with frames."""
    frames: str = ""
    """Name of the array of frames: [time, height, width, 3] for one recording or [recording, time,
    height, width, 3], values 0..255; with one channel in the place of three it is grey. Not needed
    for a .npy file."""
    actions: str = ""
    """Name of the array of actions, [time, number] or [recording, time, number], or columns of it:
    action[:4]; several divided by commas; by default there are none."""
    positions: str = ""
    """Name of the array of positions, or columns of it: state[:3]; by default there are none."""
    episode_ends: str = ""
    """Name of an array that divides one long array of frames into recordings: for each the number
    of frames up to its end; by default there is none."""
    axes: str = field(default="", metadata=LATER)
    """The axes of the frames, where they are others: T for time, N for recordings, H, W and C for
    height, width and channels, such as TNHW, NTCHW or TCHW."""

    def parts(self) -> list[Part]:
        files = self._files()
        count, first = self._first(files)
        if len(files) == 1:
            # A few large parts at most: a file of N recordings is read through for each part.
            size = max(_PER_PART, -(-count // _MOST_PARTS))
            starts = range(0, count, size)
            numbers = [columns.name for several in self._wanted().values() for columns in several]
            beside = first.suffix.lower() == NPY
            others = tuple(first.with_name(name + NPY) for name in numbers if beside)
            return [
                Part(
                    first.stem if count <= size else f"{first.stem}-{start:06d}",
                    first,
                    select={"files": [first.name], "start": start, "stop": start + size},
                    others=others,
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
                f"{self.input}: no such file or folder. Give an .npz or .npy file, or a folder of "
                "them."
            )
        if not self.input.is_dir():
            return [self.input]
        try:
            entries = [path for path in self.input.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise unreadable(self.input, error) from error
        files = [path for path in entries if path.suffix.lower() == ".npz"]
        if not files:
            files = [path for path in entries if path.suffix.lower() == NPY]
            if self.frames:  # the others hold its numbers
                files = [path for path in files if path.stem == self.frames]
        if not files:
            named = f" and no {self.frames}.npy" if self.frames else " or .npy files"
            raise ForeframeError(
                f"{self.input}: holds no .npz files{named}. Give the folder in which they are."
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
        reader = FrameReader(contents.frames, contents.axes)
        with opened.stream(contents.frames) as stream:
            for name, start, stop in _selected(contents, part):
                features = {key: values[start:stop] for key, values in contents.rows.items()}
                try:
                    rows = joined(self._wanted(), features)
                except ValueError as error:
                    yield Skip(name, str(error))
                    continue
                yield RawRecording(
                    name, _frames(place, stream, contents, reader, start, stop), *rows
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
        frames = opened.find(self._name(place, opened), "frames")
        wanted = self._wanted()
        alone = not any(wanted.values())
        axes = axes_of(frames, self.axes, divided=bool(self.episode_ends), alone=alone)
        total = axes.total
        if self.episode_ends:
            ends = _ends(opened, opened.find(self.episode_ends, "episode-ends"), total)
        else:
            ends = list(range(axes.time, total + 1, axes.time))
        single = axes.recordings is None and not self.episode_ends
        episodes = [
            (place.name if single else f"{place.name}/{k}", start, end)
            for k, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        values: dict[str, np.ndarray] = {}
        for kind, several in wanted.items():
            for columns in several:
                array = opened.find(columns.name, kind)
                less = _check_rows(array, axes, kind, columns)
                if with_rows:
                    loaded = opened.load(array)
                    if less:  # the last action leads nowhere, and is never used
                        loaded = _last_repeated(loaded, axes.names.index("T"))
                    values[columns.name] = axes.rows(loaded)
        return _Contents(frames, axes, values, episodes, total - ends[-1])

    def _name(self, place: Place, opened: NpzFile) -> str:
        """The array with the frames."""
        if self.frames:
            return self.frames
        if place.suffix.lower() == NPY:
            return place.stem
        listed = ", ".join(map(str, opened.arrays.values())) or "none"
        raise ForeframeError(f"{place}: name the array of frames with --frames; it holds {listed}.")

    def _wanted(self) -> ColumnChoice:
        return choose_columns(self.actions, self.positions, ("--actions", "--positions"))

    def describe(self) -> dict[str, Any]:
        names = {
            "frames": self.frames,
            "actions": self.actions,
            "positions": self.positions,
            "episode_ends": self.episode_ends,
            "axes": self.axes,
        }
        return {
            "dataset": self.input.name,
            "camera": self.frames or self.input.stem,
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


def _check_rows(array: NpzArray, axes: FrameAxes, kind: str, columns: FeatureColumns) -> bool:
    """Whether each recording has one row less than frames, as actions between frames have.

    Raises:
        UnusableError: the rows do not fit the frames, or lack columns that are asked for.
    """
    shape, lead = array.shape, axes.lead
    if len(shape) not in (len(lead), len(lead) + 1) or 0 in shape[len(lead) :]:
        letters = {"N": "recording", "T": "time"}
        names = [letters[name] for name in axes.names if name in letters]
        expected = f"[{', '.join([*names, 'number'])}]"
        raise UnusableError(
            f"the {kind} {array.name} have the shape {list(shape)}; for these frames it must be "
            f"{expected}"
        )
    time = axes.names.index("T")
    less = tuple(n - (axis == time) for axis, n in enumerate(lead))
    one_less = kind == "actions" and shape[: len(lead)] == less and less[time] > 0
    if shape[: len(lead)] != lead and not one_less:
        raise UnusableError(
            f"the {kind} {array.name} have the shape {list(shape)}, but there are frames for "
            f"{list(lead)}: each frame needs a row (but for the last action)"
        )
    try:
        columns.of(np.zeros((1, shape[-1] if len(shape) > len(lead) else 1)))
    except ValueError as error:
        raise UnusableError(f"--{kind}: {error}") from error
    return one_less


def _last_repeated(values: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([values, values.take([-1], axis)], axis)


def _selected(contents: _Contents, part: Part) -> list[tuple[str, int, int]]:
    return contents.episodes[part.select.get("start", 0) : part.select.get("stop")]


def _frames(
    place: Place,
    shared: IO[bytes],
    contents: _Contents,
    reader: FrameReader,
    start: int,
    stop: int,
) -> Iterator[np.ndarray]:
    """The frames of a recording, read from the stream that all recordings of the file share."""
    try:
        if not shared.closed:
            yield from reader.read(shared, start, stop)
        else:  # asked for after the last recording was
            with (
                open_npz(place) as file,
                file.stream(file.find(contents.frames.name, "frames")) as stream,
            ):
                yield from reader.read(stream, start, stop)
    except UnusableError as error:
        raise ForeframeError(f"{place}: {error}. Restore it, or remove it.") from error
