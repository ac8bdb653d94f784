"""DROID as world models of it are trained: a video a camera and a JSON of rows for each episode.

    videos/SPLIT/EPISODE/0.mp4   the cameras 0, 1 (outside) and 2 (at the wrist)
    annotation/SPLIT/EPISODE.json

The rows of the JSON are three times as many as the frames: frame k belongs to row 3k.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.sources.droid_annotation import STEP, Annotation, read_annotation
from foreframe.data.sources.feature import all_columns, choose_columns, joined
from foreframe.data.sources.lerobot_video import frame_times, frames_at
from foreframe.data.sources.listing import Node, counted, recordings, shown
from foreframe.data.sources.source import (
    Part,
    RawRecording,
    Skip,
    Source,
    UnusableError,
)
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, natural_key, unreadable

ANNOTATION, VIDEOS = "annotation", "videos"

_PER_PART = 32
_TRIED = 8
"""Episodes that are looked at before the options are said to be wrong."""


@dataclass(frozen=True)
class DroidSource(Source):
    """DROID as videos of three cameras and JSON annotations at three times their rate."""

    input: Place
    """Folder with videos/SPLIT/EPISODE/0.mp4 and annotation/SPLIT/EPISODE.json."""
    camera: str = "0"
    """The camera: 0 or 1 from outside, 2 at the wrist. Several, as in 0,1,2: each camera's view of
    an episode is a sequence, all in the same split."""
    action: str = "action.cartesian_position,action.gripper_position"
    """Keys of the annotation that are actions, or columns of them: action.joint_position[:7];
    several divided by commas; none if there are none."""
    position: str = "observation.state.cartesian_position[:3]"
    """Keys of the annotation that are positions, or columns of them; none if there are none."""

    def parts(self) -> list[Part]:
        cameras = self._cameras()
        episodes = self._episodes()
        self._look_at_one(episodes, cameras)
        parts: list[Part] = []
        for folder, names in episodes.items():
            split = SPLIT_NAMES.get(folder.lower())
            for k in range(0, len(names), _PER_PART):
                own = names[k : k + _PER_PART]
                others = [self._annotation(folder, name) for name in own]
                others += [self._video(folder, name, view) for name in own for view in cameras]
                parts.append(
                    Part(
                        f"{folder}-{k:06d}",
                        self.input / ANNOTATION / folder,
                        split,
                        {"folder": folder, "episodes": own},
                        tuple(place for place in others if place.is_file()),
                    )
                )
        return parts

    def _cameras(self) -> list[str]:
        cameras = [word.strip() for word in self.camera.split(",")]
        if not all(word.isdecimal() for word in cameras) or len(set(cameras)) < len(cameras):
            raise ForeframeError(f"--camera {self.camera}: give each camera once, as in 0,1,2.")
        return cameras

    def _annotation(self, folder: str, name: str) -> Place:
        return self.input / ANNOTATION / folder / f"{name}.json"

    def _video(self, folder: str, name: str, camera: str) -> Place:
        return self.input / VIDEOS / folder / name / f"{camera}.mp4"

    def _episodes(self) -> dict[str, list[str]]:
        """Names of the episodes in each folder of annotations, in order."""
        root = self.input / ANNOTATION
        if not root.is_dir() or not (self.input / VIDEOS).is_dir():
            raise ForeframeError(
                f"{self.input}: must be a folder with {ANNOTATION}/SPLIT/EPISODE.json and "
                f"{VIDEOS}/SPLIT/EPISODE/0.mp4 in it."
            )
        try:
            folders = sorted(path for path in root.iterdir() if path.is_dir())
            found = {
                folder.name: sorted(
                    (path.stem for path in folder.iterdir() if path.suffix == ".json"),
                    key=natural_key,
                )
                for folder in folders
            }
        except OSError as error:
            raise unreadable(root, error) from error
        episodes = {folder: names for folder, names in found.items() if names}
        if not episodes:
            raise ForeframeError(f"{root}: holds no SPLIT/EPISODE.json.")
        return episodes

    def _first(self, episodes: dict[str, list[str]]) -> tuple[str, str, Annotation]:
        """The first episode whose annotation can be read: its folder, its name, what it says.

        Raises:
            ForeframeError: none of the first few can be read.
        """
        tried = [(folder, name) for folder, names in episodes.items() for name in names[:_TRIED]]
        failures: list[str] = []
        for folder, name in tried[:_TRIED]:
            try:
                return folder, name, read_annotation(self._annotation(folder, name))
            except UnusableError as error:
                failures.append(f"{folder}/{name}.json: {error}")
        raise ForeframeError(f"{self.input}: no annotation can be read ({failures[0]}).")

    def _look_at_one(self, episodes: dict[str, list[str]], cameras: list[str]) -> None:
        """Refuse options that the first readable episode does not fit."""
        wanted = all_columns(choose_columns(self.action, self.position))
        folder, name, annotation = self._first(episodes)
        for key, option in wanted:
            if key not in annotation.tables:
                raise ForeframeError(
                    f"{self.input}: {option} {key}: there is no such key of numbers in "
                    f"{folder}/{name}.json; there are: {', '.join(map(shown, annotation.tables))}."
                )
        tried = [(folder, name) for folder, names in episodes.items() for name in names[:_TRIED]]
        for camera in cameras:
            if not any(self._video(*one, camera).is_file() for one in tried):
                raise ForeframeError(
                    f"{self.input}: --camera {self.camera}: the first episodes have no "
                    f"{camera}.mp4."
                )

    # -- reading --------------------------------------------------------------------------------

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        folder = part.select["folder"]
        lengths: list[tuple[str, int]] = []
        for name in part.select["episodes"]:
            try:
                frames = read_annotation(self._annotation(folder, name)).frames
            except UnusableError:
                continue  # read() says why
            lengths.append((f"{folder}/{name}", frames))
        return lengths

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        folder = part.select["folder"]
        cameras = self._cameras()
        for name in part.select["episodes"]:
            label = f"{folder}/{name}"
            try:
                annotation = read_annotation(self._annotation(folder, name))
                actions, positions = self._rows(annotation)
            except (UnusableError, ValueError) as error:
                yield Skip(label, f"{name}.json: {error}")
                continue
            for camera in cameras:
                try:
                    times = self._times(folder, name, camera, annotation.frames)
                except UnusableError as error:
                    yield Skip(f"{label}:{camera}" if len(cameras) > 1 else label, str(error))
                    continue
                interval = float(times[-1] - times[0]) / max(len(times) - 1, 1) or 1.0
                yield RawRecording(
                    label,
                    frames_at(self._video(folder, name, camera), times, times, interval),
                    actions,
                    positions,
                    view=camera if len(cameras) > 1 else "",
                    times=times,
                    row_of=np.arange(len(times)) * STEP,
                    task=annotation.text,
                )

    def _rows(self, annotation: Annotation) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The actions and positions, at the rate of the rows."""
        return joined(choose_columns(self.action, self.position), annotation.tables)

    def _times(self, folder: str, name: str, camera: str, frames: int) -> np.ndarray:
        times = frame_times(self._video(folder, name, camera))
        if len(times) != frames:
            raise UnusableError(
                f"{camera}.mp4 has {len(times)} frames, and the annotation says {frames}"
            )
        return times

    def usual_rule(self) -> str | None:
        """``last``: the action that is taken by default is an absolute target."""
        return "last" if self.action == type(self).action else None

    # -- what it is -----------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "dataset": self.input.name,
            "camera": self.camera,
            "action": self.action,
            "position": self.position,
            "units": "as recorded",
        }
        rate = self._rate(self._episodes())
        return told | ({"frame_rate": rate} if rate else {})

    def _rate(self, episodes: dict[str, list[str]]) -> float | None:
        """Frames a second of the first video that can be read."""
        for folder, names in episodes.items():
            for name in names[:_TRIED]:
                try:
                    times = frame_times(self._video(folder, name, self._cameras()[0]))
                except UnusableError:
                    continue
                if len(times) > 1 and times[-1] > times[0]:
                    return round(float((len(times) - 1) / (times[-1] - times[0])), 6)
        return None

    def listing(self) -> Node:
        episodes = self._episodes()
        folder, name, annotation = self._first(episodes)
        cameras = sorted(path.stem for path in (self.input / VIDEOS / folder / name).glob("*.mp4"))
        rate = self._rate(episodes)
        keys = [Node(f"{shown(key)} [{t.shape[1]}]") for key, t in annotation.tables.items()]
        return Node(
            f"{self.input}: DROID, {'' if rate is None else f'{rate:g} frames a second'}",
            (
                Node(f"cameras: {', '.join(map(shown, cameras)) or 'none'}"),
                Node("rows at three times that rate", tuple(keys)),
                *((Node(f"first task: {shown(annotation.text)}"),) if annotation.text else ()),
                *(
                    Node(
                        f"{shown(split)}: {counted(len(own), 'episode')}",
                        recordings(self._counted(split, own), len(own)),
                    )
                    for split, own in episodes.items()
                ),
            ),
        )

    def _counted(self, folder: str, names: list[str]) -> Iterator[tuple[str, int]]:
        """Names and numbers of frames; 0 where they cannot be read."""
        for name in names:
            try:
                yield name, read_annotation(self._annotation(folder, name)).frames
            except UnusableError:
                yield name, 0
