"""LeRobotDataset folders: parquet rows and mp4 videos, in the layouts v2.0, v2.1 and v3.0."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.sources.feature import all_columns, choose_columns, joined
from foreframe.data.sources.lerobot_clock import ClockFit, fit_clock
from foreframe.data.sources.lerobot_layout import (
    NUMBER,
    TASK,
    EpisodePlace,
    find_camera,
    find_splits,
    list_episodes,
    numbers,
    read_info,
    read_table,
    read_tasks,
    require_one_dataset,
)
from foreframe.data.sources.lerobot_video import decode_pictures, frame_times, frames_at
from foreframe.data.sources.listing import Node, few, recordings, shown, spread
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_PER_PART = 64
_TRIED = 8
"""Episodes whose clock is looked at."""


@dataclass(frozen=True)
class LerobotSource(Source):
    """A LeRobotDataset on disk, v2.0, v2.1 or v3.0."""

    input: Place
    """Folder of the dataset, with meta/info.json in it."""
    camera: str = ""
    """Feature with the pictures: front or observation.images.front; needed if several."""
    action: str = "action"
    """Feature with the action, or columns of it: action[:6]; several divided by commas."""
    position: str = ""
    """Feature with the end effector's position, such as observation.state[:3]; by default none."""

    def _camera(self, info: dict[str, Any]) -> tuple[str, bool]:
        return find_camera(self.input, info, self.camera)

    def _wanted(self, info: dict[str, Any]) -> list[str]:
        wanted = all_columns(choose_columns(self.action, self.position))
        for name, option in wanted:
            if name not in info["features"]:
                raise ForeframeError(
                    f"{self.input}: {option} {name}: no such feature; there are: "
                    f"{', '.join(info['features'])}."
                )
        return sorted({name for name, _ in wanted})

    def parts(self) -> list[Part]:
        info = read_info(self.input)
        self._wanted(info)
        splits = find_splits(info)
        # Episodes of one file belong together, but a file of v3.0 may hold thousands.
        groups: list[tuple[tuple[str | None, str], list[EpisodePlace]]] = []
        episodes = list_episodes(self.input, info, *self._camera(info))
        require_one_dataset(self.input, episodes)
        for episode in episodes:
            split = next((name for name, numbers in splits if episode.index in numbers), None)
            key = (split, episode.data if info["codebase_version"] == "v3.0" else "")
            if groups and groups[-1][0] == key and len(groups[-1][1]) < _PER_PART:
                groups[-1][1].append(episode)
            else:
                groups.append((key, [episode]))
        return [
            Part(
                f"episodes-{episodes[0].index:06d}",
                self.input / episodes[0].data,
                split,
                {"episodes": [episode.__dict__ for episode in episodes]},
                tuple(
                    self.input / video
                    for video in dict.fromkeys(episode.video for episode in episodes)
                    if video is not None
                ),
            )
            for (split, _), episodes in groups
        ]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        return [
            (f"episode-{episode['index']:06d}", episode["length"])
            for episode in part.select["episodes"]
        ]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        info = read_info(self.input)
        camera, in_video = self._camera(info)
        wanted, tasks = self._wanted(info), read_tasks(self.input)
        columns = ["episode_index", "timestamp", *wanted, *([] if in_video else [camera])]
        episodes = [EpisodePlace(**given) for given in part.select["episodes"]]
        span = range(episodes[0].index, episodes[-1].index + 1)
        # Of the file that was last read; the next episode is mostly in the same.
        tables: dict[str, Any] = {}
        films: dict[str, np.ndarray] = {}
        for episode in episodes:
            name = f"episode-{episode.index:06d}"
            try:
                if episode.fault is not None:
                    raise UnusableError(episode.fault)
                if episode.data not in tables:
                    path = self.input / episode.data
                    tables = {episode.data: read_table(path, columns, span, also=(TASK, NUMBER))}
                own = _rows(tables[episode.data], episode)
                features = {key: numbers(own, key) for key in wanted}
                clock = _Clock(_times(own, float(info["fps"])), float(info["fps"]))
                frames: Iterator[np.ndarray]
                if episode.video is None:
                    frames = decode_pictures(own.column(camera).to_pylist(), name)
                else:
                    path = self.input / episode.video
                    if episode.video not in films:
                        films = {episode.video: frame_times(path)}
                    frames = clock.frames(path, films[episode.video], episode)
                yield RawRecording(
                    name,
                    frames,
                    *joined(choose_columns(self.action, self.position), features),
                    times=clock.times,
                    task=_task(own, tasks),
                )
            except (UnusableError, ValueError) as error:
                yield Skip(f"{name} ({episode.data})", str(error))

    def _notes(self, info: dict[str, Any]) -> list[str]:
        """What is unusual about the clock of the first episode that can be read."""
        episodes = list_episodes(self.input, info, *self._camera(info))
        for episode in episodes[:_TRIED]:
            try:
                span = range(episode.index, episode.index + 1)
                columns = ["episode_index", "timestamp"]
                own = _rows(
                    read_table(self.input / episode.data, columns, span, also=(NUMBER,)), episode
                )
                clock = _Clock(_times(own, float(info["fps"])), float(info["fps"]))
            except UnusableError:
                continue
            return [f"episode-{episode.index:06d}: {clock.note}"] if clock.note else []
        return []

    def describe(self) -> dict[str, Any]:
        info = read_info(self.input)
        notes = self._notes(info)
        return {
            **({"notes": notes} if notes else {}),
            "dataset": self.input.name,
            "version": info["codebase_version"],
            "robot": info.get("robot_type"),
            "camera": self._camera(info)[0],
            "action": self.action,
            "position": self.position,
            "frame_rate": float(info["fps"]),
            "units": "as recorded",
        }

    def listing(self) -> Node:
        info = read_info(self.input)
        episodes = list_episodes(self.input, info, "", False)
        lengths = [(f"episode-{episode.index:06d}", episode.length) for episode in episodes]
        features = [_listed(key, feature) for key, feature in info["features"].items()]
        given = info.get("splits")
        splits = given.items() if isinstance(given, dict) else ()
        version = f"LeRobotDataset {info['codebase_version']}"
        return Node(
            f"{self.input}: {version}, {info['fps']} frames a second",
            (
                Node("features", tuple(features)),
                *few((Node(f"split {k}: episodes {v}") for k, v in splits), len(splits), "splits"),
                Node(spread([n for _, n in lengths]), recordings(lengths, len(lengths))),
            ),
        )


def _listed(key: str, feature: Any) -> Node:
    known = feature if isinstance(feature, dict) else {}
    return Node(shown(f"{key}  {known.get('dtype', 'unknown')} {known.get('shape', '')}"))


class _Clock:
    """When the rows of an episode are, and which frames are theirs.

    Args:
        stamps: timestamps of the rows.
        rate: rows a second by the metadata.

    Attributes:
        times: when each row is by its number, in seconds from the first on: a short episode would
            not tell its own rate well enough.
        fit: how a clock that is not the videos' was fitted; None where it is theirs.
    """

    def __init__(self, stamps: np.ndarray, rate: float) -> None:
        self._stamps, self._rate = stamps, rate
        self.times = np.arange(len(stamps)) / rate
        self.fit: ClockFit | None = None
        # Rows may begin late in their video, and then do so by whole frames.
        if np.abs(stamps - stamps[0] - self.times).max() > 0.5 / rate or stamps[0] * rate > 0.5:
            with suppress(UnusableError):
                self.fit = fit_clock(stamps, rate)

    @property
    def note(self) -> str:
        """What is said of a clock that is not the videos'."""
        if self.fit is None:
            return ""
        return (
            f"its timestamps are not the rows' numbers divided by the rate, but {self.fit}; where "
            "they do not tell the frames of the video, rows and frames are matched by their numbers"
        )

    def frames(self, path: Place, known: np.ndarray, episode: EpisodePlace) -> Iterator[np.ndarray]:
        """The frame of each row.

        Args:
            path: the video.
            known: times of all its frames.
            episode: the episode, which may be a stretch of the video.

        Raises:
            UnusableError: some row has no frame, or some frame has no row, by either clock.
        """
        interval = 1 / self._rate
        try:
            return frames_at(path, known, self._stamps + episode.start, interval)
        except UnusableError as error:
            # With a frame too many, no one could know where the row of it is missing.
            alone = episode.shared or len(known) == len(self._stamps)
            if self.fit is None or not alone:
                raise
            try:
                return frames_at(path, known, self.times + episode.start, interval)
            except UnusableError:
                raise error from None


def _task(own: Any, tasks: dict[int, str]) -> str:
    """What the robot was told to do in an episode; several things divided by semicolons."""
    if TASK not in own.column_names:
        return ""
    try:
        numbered = dict.fromkeys(int(number) for number in own.column(TASK).to_pylist())
    except (TypeError, ValueError):
        return ""
    return "; ".join(tasks[number] for number in numbered if number in tasks)


def _rows(table: Any, episode: EpisodePlace) -> Any:
    """The rows of an episode.

    Raises:
        UnusableError: they are not as many as the metadata say, or not in one stretch.
    """
    rows = np.flatnonzero((numbers(table, "episode_index") == episode.index).all(1))
    if not len(rows) or len(rows) != episode.length or rows[-1] - rows[0] + 1 != len(rows):
        raise UnusableError(
            f"{len(rows)} rows, and the metadata promise {episode.length} in one stretch"
        )
    return table.slice(int(rows[0]), len(rows))


def _times(own: Any, rate: float) -> np.ndarray:
    """When the rows of an episode are, in seconds.

    Seconds since 1970 do not fit into float32: of such timestamps nothing is left, and the numbers
    of the rows stand for them.

    Raises:
        UnusableError: they are not one after the other.
    """
    times = numbers(own, "timestamp")[:, 0]
    if not np.isfinite(times).all():
        raise UnusableError("the timestamps do not grow from row to row")
    step = np.spacing(np.float32(np.abs(times).max()))
    single = str(own.schema.field("timestamp").type) == "float"
    if single and step > 0.5 / rate and NUMBER in own.column_names and (np.diff(times) >= 0).all():
        frame_numbers = numbers(own, NUMBER)[:, 0]
        if (np.diff(frame_numbers) == 1).all():
            return np.arange(len(times)) / rate
    if (np.diff(times) <= 0).any():
        raise UnusableError("the timestamps do not grow from row to row")
    return times
