"""A folder of video files, each with an optional CSV of actions and positions beside it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from foreframe.data.sources.listing import Node, counted, few
from foreframe.data.sources.row_times import match_rows
from foreframe.data.sources.source import LATER, Part, RawRecording, Skip, Source, UnusableError
from foreframe.data.sources.video_packets import frame_times
from foreframe.data.sources.video_table import NONE, choose, column_of, read_table
from foreframe.data.video_file import decode
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, open_binary

SUFFIXES = (".mp4", ".avi", ".gif", ".mov", ".mkv", ".webm", ".m4v")

_PER_PART = 32
_TRIED = 8
"""Videos that are looked at before it is said that none can be used."""


@dataclass(frozen=True)
class _Like:
    """What the first usable video is like, and all others have to be.

    Attributes:
        rate: frames a second; None where it cannot be told.
        columns: names of the columns of the CSV; None without one.
        named: whether it has a header line.
        left_out: numbers of columns that are no actions unless they are named.
        notes: what was seen and should be known.
    """

    rate: float | None = None
    columns: list[str] | None = None
    named: bool = False
    left_out: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class VideoSource(Source):
    """Video files, each with an optional CSV beside it: clip.mp4 and clip.csv."""

    input: Place
    """A video (mp4, avi, gif, mov, mkv, webm), or a folder of videos; the folders in it are
    searched too. A CSV of the same name holds a row for each frame, with or without a header; see
    --timestamps for other rates."""
    actions: str = ""
    """Columns of the CSV that are actions: numbers from 0, ranges or names from its header, such as
    0:4 or dx,dy,grip. By default all that are no positions and do not number or time the rows;
    none for no actions."""
    positions: str = ""
    """Columns of the CSV that are positions, such as 4:7. By default there are none."""
    timestamps: str = field(default="", metadata=LATER)
    """Column of the CSV with the times of its rows, by which they are matched to the frames. By
    default there is a row for each frame."""

    def parts(self) -> list[Part]:
        videos, tables = self._find()
        like = self._like(videos, tables)
        return [
            Part(
                f"videos-{start:06d}",
                self.input,
                others=tuple(
                    self._place(name)
                    for names in (videos, tables)
                    for name in names[start : start + _PER_PART]
                    if name is not None
                ),
                select={
                    "videos": videos[start : start + _PER_PART],
                    "tables": tables[start : start + _PER_PART],
                    "like": asdict(like),
                },
            )
            for start in range(0, len(videos), _PER_PART)
        ]

    # -- the files ------------------------------------------------------------------------------

    def _find(self) -> tuple[list[str], list[str | None]]:
        """The videos by their paths in the folder, and the CSV of each."""
        if not self.input.exists():
            raise ForeframeError(
                f"{self.input}: no such file or folder. Give a video, or a folder of videos."
            )
        if self.input.is_dir():
            root = str(self.input)
            paths = files_below(self.input, (*SUFFIXES, ".csv"))
            names = [str(path)[len(root) :].replace("\\", "/").lstrip("/") for path in paths]
            videos = [name for name in names if name.lower().endswith(SUFFIXES)]
            csvs = {_stem(name): name for name in names if name.lower().endswith(".csv")}
        else:
            videos = [self.input.name]
            beside = f"{_stem(self.input.name)}.csv"
            csvs = {_stem(beside): beside} if self._place(beside).is_file() else {}
        if not videos:
            raise ForeframeError(
                f"{self.input}: holds no videos ({', '.join(SUFFIXES)}). Give the folder of them."
            )
        wanted = self.actions != NONE or self.positions not in ("", NONE)
        tables = [csvs.get(_stem(video)) if wanted else None for video in videos]
        if not any(tables) and (self.actions not in ("", NONE) or self.positions not in ("", NONE)):
            raise ForeframeError(
                f"{self.input}: --actions and --positions name columns, but there is no CSV beside "
                f"any video. That of {videos[0]} would be {_stem(videos[0])}.csv."
            )
        return videos, tables

    def _place(self, name: str) -> Place:
        return (self.input if self.input.is_dir() else self.input.parent) / name

    def _like(self, videos: list[str], tables: list[str | None]) -> _Like:
        """What all videos have to be like, from the first ones that can be used."""
        rate, table, failures = None, None, list[str]()
        usable = False
        for video in videos[:_TRIED]:
            try:
                rate, usable = _rate(self._times(video)), True
                break
            except (UnusableError, ForeframeError) as error:
                failures.append(f"{video}: {str(error).rstrip('.')}")
        if not usable:
            raise ForeframeError(f"{self.input}: no video can be read ({failures[0]}).")
        failures.clear()
        named = ""
        for named in [name for name in tables if name][:_TRIED]:
            try:
                table = read_table(self._place(named))
                break
            except UnusableError as error:
                failures.append(str(error))
        if any(tables) and table is None:
            raise ForeframeError(f"{self.input}: no CSV can be read ({failures[0]}).")
        if table is None:
            return _Like(rate)
        left_out = table.no_numbers_of_the_robot()
        notes = [f"{named}: {said}" for said in left_out.values()] if not self.actions else []
        if self.timestamps:
            column = self._time_column(table.columns)
            left_out.setdefault(column, "")
            notes = [note for note in notes if "--timestamps" not in note]
        like = _Like(rate, table.columns, table.named, sorted(left_out), notes)
        self._chosen(like)
        return like

    def _chosen(self, like: _Like) -> dict[str, list[int]]:
        assert like.columns is not None
        try:
            return choose(like.columns, self.actions, self.positions, like.left_out)
        except UnusableError as error:
            raise ForeframeError(f"{self.input}: {error}.") from error

    def _time_column(self, columns: list[str]) -> int:
        try:
            return column_of(columns, self.timestamps, "timestamps")
        except UnusableError as error:
            raise ForeframeError(f"{self.input}: {error}.") from error

    def _times(self, video: str) -> np.ndarray:
        place = self._place(video)
        with open_binary(place) as file:
            return frame_times(file)

    # -- reading --------------------------------------------------------------------------------

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        lengths: list[tuple[str, int]] = []
        for video in part.select["videos"]:
            try:
                lengths.append((video, len(self._times(video))))
            except (UnusableError, ForeframeError):
                continue  # read() says why
        return lengths

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        like = _Like(**part.select["like"])
        for video, table in zip(part.select["videos"], part.select["tables"], strict=True):
            try:
                yield self._recording(video, table, like)
            except UnusableError as error:
                yield Skip(video, str(error))
            except ForeframeError as error:
                yield Skip(video, str(error).rstrip("."))

    def _recording(self, video: str, table: str | None, like: _Like) -> RawRecording:
        times = self._times(video)
        rows: dict[str, np.ndarray | None] = {"actions": None, "positions": None}
        row_of = None
        if like.columns is not None:
            if table is None:
                raise UnusableError(
                    f"there is no {_stem(video).rpartition('/')[2]}.csv beside it, and others have "
                    "one; to do without, give --actions none"
                )
            values = self._values(table, like)
            for part, columns in self._chosen(like).items():
                rows[part] = values[:, columns].astype(np.float32) if columns else None
            if self.timestamps:
                row_of = match_rows(times, values[:, self._time_column(like.columns)]).row_of
        return RawRecording(
            video,
            self._frames(video, times),
            rows["actions"],
            rows["positions"],
            times=times if _rate(times) else None,
            row_of=row_of,
        )

    def _values(self, name: str, like: _Like) -> np.ndarray:
        table = read_table(self._place(name))
        assert like.columns is not None
        if table.columns != like.columns and (
            len(table.columns) != len(like.columns) or (table.named and like.named)
        ):
            raise UnusableError(
                f"the columns of {name} are {', '.join(table.columns)}, those of the first CSV "
                f"are {', '.join(like.columns)}"
            )
        return table.values

    def _frames(self, video: str, times: np.ndarray) -> Iterator[np.ndarray]:
        place = self._place(video)
        seen = 0
        # A frame that could not be decoded would give all after it the row of another one.
        nearly = np.diff(times).min(initial=np.inf) / 2
        with open_binary(place) as file:
            for time, frame in decode(file, str(place)):
                if seen < len(times) and nearly > 0 and abs(time - times[seen]) > nearly:
                    raise ForeframeError(
                        f"{place}: the frame at {times[seen]:.3f} s is missing. It is damaged: "
                        "restore it, or remove it."
                    )
                yield frame
                seen += 1
        if seen != len(times):
            raise ForeframeError(
                f"{place}: {seen} frames could be decoded, but the file holds {len(times)}. It is "
                "damaged: restore it, or remove it."
            )

    def group(self, name: str) -> str:
        """The folder of a video: films of one folder are mostly views of one recording."""
        return name.rpartition("/")[0] or name

    def describe(self) -> dict[str, Any]:
        found = self._find()
        like = self._like(*found)
        told: dict[str, Any] = {"dataset": self.input.name, "units": "as recorded"}
        if like.rate:
            told["frame_rate"] = like.rate
        notes = [*like.notes, *self._matched(*found, like)]
        if notes:
            told["notes"] = notes
        if like.columns is not None and like.named:
            chosen = self._chosen(like).items()
            told["columns"] = {
                kind: [like.columns[n] for n in numbers] for kind, numbers in chosen if numbers
            }
        return told

    def _matched(self, videos: list[str], tables: list[str | None], like: _Like) -> list[str]:
        """How the rows of the first video that can be read are matched to its frames."""
        for video, table in zip(videos[:_TRIED], tables, strict=False):
            if self.timestamps and table is not None and like.columns is not None:
                try:
                    column = self._values(table, like)[:, self._time_column(like.columns)]
                    return [f"{video}: {match_rows(self._times(video), column).note}"]
                except (UnusableError, ForeframeError):
                    continue
        return []

    def listing(self) -> Node:
        videos, tables = self._find()
        table = next((name for name in tables if name), None)
        columns: tuple[Node, ...] = ()
        if table is not None:
            try:
                columns = (
                    Node(
                        f"columns of {table}: {', '.join(read_table(self._place(table)).columns)}"
                    ),
                )
            except UnusableError as error:
                columns = (Node(str(error)),)
        return Node(
            f"{self.input}: {counted(len(videos), 'video')}",
            (
                Node(
                    f"{counted(sum(name is not None for name in tables), 'CSV')} beside them",
                    columns,
                ),
                *few(map(self._listed, videos), len(videos), "videos"),
            ),
        )

    def _listed(self, video: str) -> Node:
        try:
            times = self._times(video)
        except (UnusableError, ForeframeError) as error:
            return Node(f"{video}: {str(error).rstrip('.')}")
        rate = _rate(times)
        said = "" if rate is None else f", {rate:.4g} a second"
        return Node(f"{video}: {counted(len(times), 'frame')}{said}")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


# -- times --------------------------------------------------------------------------------------


def _rate(times: np.ndarray) -> float | None:
    """Frames a second on average."""
    span = times[-1] - times[0]
    return float((len(times) - 1) / span) if span > 0 else None
