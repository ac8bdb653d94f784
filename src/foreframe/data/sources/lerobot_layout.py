"""Where things are in a LeRobotDataset: its meta folder, and its parquet files.

The layouts are those of the published versions v2.0, v2.1 (a file for each episode) and v3.0 (many
episodes in a file).
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, natural_key, open_binary

VERSIONS = ("v2.0", "v2.1", "v3.0")
SHARDED = "v3.0"
IMAGES = "observation.images."
"""What the names of cameras begin with."""

INFO = "meta/info.json"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASK = "task_index"
"""Column with the number of a row's task."""
NUMBER = "frame_index"
"""Column with the number of a row in its episode."""
_LISTED = 12
_INDEX = "__index_level_0__"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


@dataclass(frozen=True)
class EpisodePlace:
    """Where an episode's rows and pictures are.

    Attributes:
        index: its number.
        length: rows.
        data: its parquet file, relative to the dataset.
        video: its video file, relative to the dataset; None where pictures lie in the parquet.
        start: begin of its video, in seconds from the beginning of the file.
        fault: why its pictures cannot be known, if so.
        shared: whether the video may hold other episodes, too.
    """

    index: int
    length: int
    data: str
    video: str | None
    start: float
    fault: str | None = None
    shared: bool = False


def read_info(root: Place) -> dict[str, Any]:
    """What meta/info.json says, checked as far as the others here rely on it.

    Raises:
        ForeframeError: it is missing, damaged or of another version.
    """
    path = root / INFO
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = info["codebase_version"]
        if not 0 < float(info["fps"]) < math.inf:
            raise ValueError(f"fps is {info['fps']}")
        if not isinstance(info["features"], dict) or not isinstance(info["data_path"], str):
            raise ValueError("features or data_path is of another kind")
    except FileNotFoundError as error:
        _refuse_several(root)
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


def _datasets_in(root: Place) -> list[str]:
    """Datasets in folders of a folder, or in folders of those, as the Hub's owner/name are."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
        folders += [path for folder in list(folders) for path in folder.iterdir() if path.is_dir()]
        found = [path for path in folders if (path / INFO).is_file()]
    except OSError:
        return []
    return sorted((str(path)[len(str(root)) :].strip("/\\") for path in found), key=natural_key)


def _refuse_several(root: Place) -> None:
    names = _datasets_in(root)
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise ForeframeError(
            f"{root}: holds {len(names)} LeRobotDatasets: {', '.join(names[:_LISTED])}{more}. "
            "Import one at a time."
        )


def require_one_dataset(root: Place, episodes: list[EpisodePlace]) -> None:
    """Refuse a folder whose metadata are there, but whose data are those of datasets in it.

    Raises:
        ForeframeError: names the datasets.
    """
    if not any((root / episode.data).is_file() for episode in episodes[:_LISTED]):
        _refuse_several(root)


def find_camera(root: Place, info: dict[str, Any], name: str) -> tuple[str, bool]:
    """The feature with the pictures, and whether they are in videos.

    Args:
        root: folder of the dataset, for messages.
        info: what its info.json says.
        name: name of the feature, with or without "observation.images."; empty if it has only one.

    Raises:
        ForeframeError: there is no such feature, or there are several.
    """
    kinds = {
        key: feature["dtype"]
        for key, feature in info["features"].items()
        if isinstance(feature, dict) and feature.get("dtype") in ("video", "image")
    }
    for key in (name, IMAGES + name):
        if name and key in kinds:
            return key, kinds[key] == "video"
    if not name and len(kinds) == 1:
        key = next(iter(kinds))
        return key, kinds[key] == "video"
    listed = ", ".join(kinds) or "none"
    if name:
        raise ForeframeError(f"{root}: --camera {name}: there is no such camera; listed: {listed}.")
    if not kinds:
        raise ForeframeError(f"{root}: has no camera among its features.")
    raise ForeframeError(f"{root}: has several cameras, name one with --camera: {listed}.")


def find_splits(info: dict[str, Any]) -> list[tuple[str, range]]:
    """Our names of the dataset's splits, and the episodes of each."""
    splits: list[tuple[str, range]] = []
    given = info.get("splits")
    for name, text in given.items() if isinstance(given, dict) else ():
        first, _, stop = str(text).partition(":")
        if name.lower() in SPLIT_NAMES and first.isdecimal() and stop.isdecimal():
            splits.append((SPLIT_NAMES[name.lower()], range(int(first), int(stop))))
    return splits


# -- the list of episodes -----------------------------------------------------------------------


def list_episodes(
    root: Place, info: dict[str, Any], camera: str, in_video: bool
) -> list[EpisodePlace]:
    """All episodes in the order of their numbers.

    Raises:
        ForeframeError: the list is missing or damaged, or contradicts itself.
    """
    meta = root / "meta"
    video_path = info.get("video_path")
    try:
        if in_video and not isinstance(video_path, str):
            raise ValueError(f"video_path in info.json is {video_path}")
        if info["codebase_version"] == SHARDED:
            episodes = _list_sharded(meta / "episodes", info, camera, in_video)
        else:
            episodes = _list_single(meta / "episodes.jsonl", info, camera, in_video)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, UnusableError) as error:
        raise ForeframeError(
            f"{meta}: the list of episodes cannot be read ({type(error).__name__}: {error}). "
            "Restore it."
        ) from error
    if not episodes:
        raise ForeframeError(f"{meta}: lists no episodes.")
    number, count = Counter(episode.index for episode in episodes).most_common(1)[0]
    if count > 1:
        raise ForeframeError(f"{meta}: lists episode {number} {count} times. Restore the list.")
    episodes.sort(key=lambda episode: episode.index)
    return _without_overlaps(episodes, float(info["fps"])) if in_video else episodes


def _list_single(
    path: Place, info: dict[str, Any], camera: str, in_video: bool
) -> list[EpisodePlace]:
    size = int(info.get("chunks_size", 1000))
    episodes: list[EpisodePlace] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        k = int(row["episode_index"])
        if size < 1 or k < 0:
            raise ValueError(f"episode {k} in chunks of {size}")
        where = {"episode_chunk": k // size, "episode_index": k, "video_key": camera}
        data = info["data_path"].format(**where)
        video = info["video_path"].format(**where) if in_video else None
        episodes.append(EpisodePlace(k, int(row["length"]), data, video, 0.0))
    return episodes


def _list_sharded(
    folder: Place, info: dict[str, Any], camera: str, in_video: bool
) -> list[EpisodePlace]:
    video = f"videos/{camera}/"
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    if in_video:
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns += [video + name for name in names]
    episodes: list[EpisodePlace] = []
    for file in files_below(folder, (".parquet",)):
        for row in read_table(file, columns).to_pylist():
            k, length = int(row["episode_index"]), int(row["length"])
            if k < 0:
                raise ValueError(f"episode {k}")
            data = info["data_path"].format(
                chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
            )
            if not in_video:
                episodes.append(EpisodePlace(k, length, data, None, 0.0))
                continue
            path = info["video_path"].format(
                video_key=camera,
                chunk_index=row[video + "chunk_index"],
                file_index=row[video + "file_index"],
            )
            start, stop = float(row[video + "from_timestamp"]), float(row[video + "to_timestamp"])
            seconds = length / float(info["fps"])
            fault = None
            if not 0 <= start < math.inf or not abs(stop - start - seconds) <= 0.5 / info["fps"]:
                fault = (
                    f"its {length} frames last {seconds:.3f} s, but in {path} they are said to "
                    f"reach from {start:.3f} to {stop:.3f} s"
                )
            episodes.append(EpisodePlace(k, length, data, path, start, fault, shared=True))
    return episodes


def _without_overlaps(episodes: list[EpisodePlace], rate: float) -> list[EpisodePlace]:
    """Two episodes cannot have the same pictures: where they would, neither is believed."""
    usable = [episode for episode in episodes if episode.fault is None]
    usable.sort(key=lambda episode: (episode.video or "", episode.start))
    faults: dict[int, str] = {}
    last: EpisodePlace | None = None
    for episode in usable:
        if last is not None and last.video == episode.video:
            if episode.start < last.start + (last.length - 0.5) / rate:
                for one, other in ((last, episode), (episode, last)):
                    faults[one.index] = (
                        f"the metadata give the same part of {one.video} to episode {other.index}"
                    )
            if episode.start + episode.length / rate < last.start + last.length / rate:
                continue  # the one that reaches farther
        last = episode
    return [
        EpisodePlace(**{**episode.__dict__, "fault": faults.get(episode.index, episode.fault)})
        for episode in episodes
    ]


def read_tasks(root: Place) -> dict[int, str]:
    """What the tasks are in words, by their numbers; none where the list cannot be read."""
    path = root / "meta" / "tasks.jsonl"
    try:
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return _numbered([json.loads(line) for line in lines if line.strip()], "task")
        # LeRobot writes the words as the index of a pandas table.
        table = read_table(path.with_suffix(".parquet"), [TASK], also=("task", _INDEX))
        words = "task" if "task" in table.column_names else _INDEX
        return _numbered(table.to_pylist(), words)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, UnusableError):
        return {}  # frames and numbers can be read without


def _numbered(rows: list[Any], words: str) -> dict[int, str]:
    return {int(row[TASK]): str(row[words]) for row in rows}


# -- parquet ------------------------------------------------------------------------------------


def import_parquet() -> Any:
    """The package pyarrow, with its part for parquet.

    Raises:
        ForeframeError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ForeframeError(
            f"Parquet needs the package pyarrow ({error}): pip install 'foreframe[data]'."
        ) from error
    return pyarrow


def read_table(
    path: Place,
    columns: list[str],
    episodes: range | None = None,
    also: tuple[str, ...] = (),
) -> Any:
    """Some columns of a parquet file, as a pyarrow table.

    Args:
        path: path of the file.
        columns: their names.
        episodes: groups of rows that have none of these are left out.
        also: names of columns that are read if they are there.

    Raises:
        UnusableError: it is missing or damaged, or lacks one of the columns.
    """
    pyarrow = import_parquet()
    if not path.is_file():
        raise UnusableError(f"there is no {path.name}")
    try:
        with (
            open_binary(path) as file,
            pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as parquet,
        ):
            there = parquet.schema_arrow.names
            missing = [name for name in columns if name not in there]
            if missing:
                raise UnusableError(
                    f"{path.name} has no column {missing[0]}; there are: {', '.join(there)}"
                )
            groups = [
                k
                for k in range(parquet.num_row_groups)
                if episodes is None or _holds(parquet, k, episodes)
            ]
            chosen = [*columns, *(name for name in also if name in there)]
            table = parquet.read_row_groups(groups, columns=chosen, use_threads=False)
            table.validate(full=True)
            return table
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UnusableError(f"{path.name} is damaged ({said})") from error


def _holds(parquet: Any, group: int, episodes: range) -> bool:
    """Whether a group of rows has some of the episodes.

    The file's own statistics would say it too, but pyarrow aborts the process if they are damaged.
    """
    table = parquet.read_row_group(group, columns=["episode_index"], use_threads=False)
    indices = numbers(table, "episode_index")
    return bool(((indices >= episodes.start) & (indices < episodes.stop)).any())


def numbers(table: Any, name: str) -> np.ndarray:
    """A column of lists or of numbers as float64 [rows, width].

    Raises:
        UnusableError: it holds something else, or not as much in every row.
    """
    column = table.column(name)
    rows = column.to_pylist()
    try:
        values = np.array(rows, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnusableError(f"{name} does not hold as many numbers in every row") from error
    if rows and not values.size:
        raise UnusableError(f"{name} holds nothing")
    return values.reshape(len(rows), values.size // max(1, len(rows)))
