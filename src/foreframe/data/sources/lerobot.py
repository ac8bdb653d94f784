"""LeRobotDataset folders: parquet rows and mp4 videos, in the layouts v2.0, v2.1 and v3.0."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from foreframe.data.sources.feature import join_columns, parse_columns
from foreframe.data.sources.source import Part, Recording, Skip, Source
from foreframe.data.video_file import frames as decode
from foreframe.errors import ForeframeError
from foreframe.places import Place, files_below, open_binary

VERSIONS = ("v2.0", "v2.1", "v3.0")

_PER_PART = 64
_SPLITS = {
    "train": "train",
    "val": "validate",
    "valid": "validate",
    "validation": "validate",
    "validate": "validate",
    "test": "test",
}
_PREFIX = "observation.images."


class _UnusableError(Exception):
    """An episode cannot be used; the message says why, without a full stop."""


@dataclass(frozen=True)
class _Episode:
    """Where an episode's rows and pictures are.

    Attributes:
        index: its number.
        length: rows.
        data: its parquet file, relative to the dataset.
        video: its video file, relative to the dataset; None where pictures lie in the parquet.
        start: of its video, in seconds from the beginning of the file.
    """

    index: int
    length: int
    data: str
    video: str | None
    start: float


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

    # -- the metadata ---------------------------------------------------------------------------

    def _info(self) -> dict[str, Any]:
        path = self.input / "meta" / "info.json"
        try:
            info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = info["codebase_version"]
            if float(info["fps"]) <= 0 or not isinstance(info["features"], dict):
                raise ValueError("no fps or no features")
        except FileNotFoundError as error:
            raise ForeframeError(
                f"{path}: no such file. Give the folder of a LeRobotDataset, which has it."
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ForeframeError(
                f"{path}: cannot be read ({type(error).__name__}: {error}). Restore it."
            ) from error
        if version not in VERSIONS:
            raise ForeframeError(
                f"{path}: codebase_version {version}; this version reads {', '.join(VERSIONS)}. "
                "Convert the dataset with LeRobot's own scripts."
            )
        return info

    def _camera(self, info: dict[str, Any]) -> tuple[str, bool]:
        """The feature with the pictures, and whether they are in videos."""
        features = info["features"]
        kinds = {
            key: feature.get("dtype")
            for key, feature in features.items()
            if isinstance(feature, dict) and feature.get("dtype") in ("video", "image")
        }
        named = [key for key in kinds if self.camera in (key, key.removeprefix(_PREFIX))]
        if self.camera and len(named) == 1:
            return named[0], kinds[named[0]] == "video"
        if not self.camera and len(kinds) == 1:
            key = next(iter(kinds))
            return key, kinds[key] == "video"
        asked = f"--camera {self.camera}: there is no such camera" if self.camera else "name one"
        raise ForeframeError(
            f"{self.input}: {asked} with --camera; there are: {', '.join(kinds) or 'none'}."
        )

    def _wanted(self, info: dict[str, Any]) -> list[str]:
        wanted = [
            (columns.name, option)
            for text, option in ((self.action, "--action"), (self.position, "--position"))
            for columns in parse_columns(text, option)
        ]
        for name, option in wanted:
            if name not in info["features"]:
                raise ForeframeError(
                    f"{self.input}: {option} {name}: no such feature; there are: "
                    f"{', '.join(info['features'])}."
                )
        return sorted({name for name, _ in wanted})

    def _episodes(self, info: dict[str, Any]) -> list[_Episode]:
        camera, in_video = self._camera(info)
        meta = self.input / "meta"
        try:
            if info["codebase_version"] == "v3.0":
                rows = [
                    row
                    for file in _parquet_files(meta / "episodes")
                    for row in _table(file, None).to_pylist()
                ]
                found = [
                    _Episode(
                        int(row["episode_index"]),
                        int(row["length"]),
                        info["data_path"].format(
                            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
                        ),
                        info["video_path"].format(
                            video_key=camera,
                            chunk_index=row[f"videos/{camera}/chunk_index"],
                            file_index=row[f"videos/{camera}/file_index"],
                        )
                        if in_video
                        else None,
                        float(row[f"videos/{camera}/from_timestamp"]) if in_video else 0.0,
                    )
                    for row in rows
                ]
            else:
                text = (meta / "episodes.jsonl").read_text(encoding="utf-8")
                size = int(info.get("chunks_size", 1000))
                found = []
                for line in text.splitlines():
                    if not line.strip():
                        continue
                    row = json.loads(line)
                    k = int(row["episode_index"])
                    where = {"episode_chunk": k // size, "episode_index": k, "video_key": camera}
                    found.append(
                        _Episode(
                            k,
                            int(row["length"]),
                            info["data_path"].format(**where),
                            info["video_path"].format(**where) if in_video else None,
                            0.0,
                        )
                    )
        except (OSError, ValueError, KeyError, TypeError, IndexError, _UnusableError) as error:
            raise ForeframeError(
                f"{meta}: the list of episodes cannot be read ({type(error).__name__}: {error}). "
                "Restore it."
            ) from error
        if not found:
            raise ForeframeError(f"{meta}: lists no episodes.")
        return sorted(found, key=lambda episode: episode.index)

    # -- the source -----------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        info = self._info()
        self._wanted(info)
        splits = _splits(info)
        groups: list[tuple[str | None, str, list[_Episode]]] = []
        sharded = info["codebase_version"] == "v3.0"
        for episode in self._episodes(info):
            split = next((name for name, numbers in splits if episode.index in numbers), None)
            key = episode.data if sharded else ""
            # A file of v3.0 holds many episodes and is read once.
            if groups and groups[-1][:2] == (split, key):
                same = sharded or len(groups[-1][2]) < _PER_PART
                if same:
                    groups[-1][2].append(episode)
                    continue
            groups.append((split, key, [episode]))
        return [
            Part(
                f"episodes-{episodes[0].index:06d}",
                self.input / episodes[0].data,
                split,
                {"episodes": [episode.__dict__ for episode in episodes]},
            )
            for split, _, episodes in groups
        ]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        return [
            (f"episode-{episode['index']:06d}", episode["length"])
            for episode in part.select["episodes"]
        ]

    def read(self, part: Part) -> Iterator[Recording | Skip]:
        info = self._info()
        wanted = self._wanted(info)
        camera, in_video = self._camera(info)
        columns = ["episode_index", "timestamp", *wanted, *([] if in_video else [camera])]
        tables: dict[str, Any] = {}
        for given in part.select["episodes"]:
            episode = _Episode(**given)
            name = f"episode-{episode.index:06d}"
            try:
                if episode.data not in tables:
                    tables = {episode.data: _table(self.input / episode.data, columns)}
                yield self._recording(name, episode, tables[episode.data], wanted, info)
            except (_UnusableError, ValueError) as error:
                yield Skip(f"{name} ({episode.data})", str(error))

    def _recording(
        self, name: str, episode: _Episode, table: Any, wanted: list[str], info: dict[str, Any]
    ) -> Recording:
        numbers = np.asarray(table.column("episode_index").to_numpy(zero_copy_only=False))
        rows = np.flatnonzero(numbers == episode.index)
        if not len(rows) or len(rows) != episode.length or rows[-1] - rows[0] + 1 != len(rows):
            raise _UnusableError(
                f"{len(rows)} rows, and the metadata promise {episode.length} in one stretch"
            )
        own = table.slice(int(rows[0]), len(rows))
        features = {key: _matrix(own.column(key), key) for key in wanted}
        times = np.asarray(own.column("timestamp").to_numpy(zero_copy_only=False), np.float64)
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise _UnusableError("the timestamps do not grow from row to row")
        frames: Iterator[np.ndarray]
        if episode.video is None:
            frames = _pictures(own.column(self._camera(info)[0]).to_pylist(), name)
        else:
            path = self.input / episode.video
            if not path.is_file():
                raise _UnusableError(f"there is no {episode.video}")
            frames = _at_times(path, times - times[0] + episode.start, 1 / float(info["fps"]))
        return Recording(
            name,
            frames,
            join_columns(parse_columns(self.action, "--action"), features),
            join_columns(parse_columns(self.position, "--position"), features),
        )

    def describe(self) -> dict[str, Any]:
        info = self._info()
        return {
            "dataset": self.input.name,
            "version": info["codebase_version"],
            "robot": info.get("robot_type"),
            "camera": self._camera(info)[0],
            "action": self.action,
            "position": self.position,
            "frame_rate": float(info["fps"]),
            "units": "as recorded",
        }


def _splits(info: dict[str, Any]) -> list[tuple[str, range]]:
    """Our names of the dataset's splits, and the episodes of each."""
    found: list[tuple[str, range]] = []
    for name, text in (info.get("splits") or {}).items():
        first, _, stop = str(text).partition(":")
        if name.lower() in _SPLITS and first.isdecimal() and stop.isdecimal():
            found.append((_SPLITS[name.lower()], range(int(first), int(stop))))
    return found


# -- parquet ------------------------------------------------------------------------------------


def _parquet_files(folder: Place) -> list[Place]:
    return list(files_below(folder, (".parquet",)))


def _table(path: Place, columns: list[str] | None) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ForeframeError(
            f"Parquet is read with the package pyarrow ({error}): pip install 'foreframe[data]'."
        ) from error
    if not path.is_file():
        raise _UnusableError(f"there is no {path.name}")
    try:
        with (
            open_binary(path) as file,
            pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as parquet,
        ):
            there = parquet.schema_arrow.names
            missing = [name for name in columns or [] if name not in there]
            if missing:
                raise _UnusableError(
                    f"{path.name} has no column {missing[0]}; there are: {', '.join(there)}"
                )
            table = parquet.read(columns=columns, use_threads=False)
            table.validate(full=True)
            return table
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _UnusableError(f"{path.name} is damaged ({str(error).splitlines()[0]})") from error


def _matrix(column: Any, name: str) -> np.ndarray:
    """A column of lists or of numbers as [rows, width]."""
    rows = column.to_pylist()
    try:
        values = np.array(rows, np.float64)
    except (ValueError, TypeError) as error:
        raise _UnusableError(f"{name} does not hold as many numbers in every row") from error
    return values.reshape(len(rows), -1)


# -- pictures -----------------------------------------------------------------------------------


def _at_times(path: Place, times: np.ndarray, interval: float) -> Iterator[np.ndarray]:
    """The frame of a video at each of the times, within half a frame's interval."""
    k = 0
    with open_binary(path) as file:
        for time, frame in decode(file, str(path), start=max(0.0, float(times[0]) - interval)):
            if k == len(times):
                return
            if time < times[k] - interval / 2:
                continue
            if not time <= times[k] + interval / 2:
                break
            yield frame
            k += 1
    if k < len(times):
        raise ForeframeError(f"{path}: has no frame at {times[k]:.3f} s (row {k} of the episode)")


def _pictures(cells: list[Any], name: str) -> Iterator[np.ndarray]:
    for t, cell in enumerate(cells):
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if not content:
            raise ForeframeError(f"{name}: row {t} holds no picture")
        try:
            with Image.open(io.BytesIO(content)) as image:
                yield np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ForeframeError(f"{name}: the picture of row {t} is damaged ({error})") from error
