"""Any dataset as a LeRobotDataset v3.0, the version that today's LeRobot library reads."""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.exports.lerobot_files import (
    TASK,
    RowColumns,
    picture_feature,
    told,
    write_list,
    write_rows,
    write_tasks,
    write_video,
)
from foreframe.data.exports.lerobot_plan import (
    FILES_PER_CHUNK,
    EpisodeGroup,
    files_of,
    find_rate,
    plan_groups,
)
from foreframe.data.resumable import Resumable
from foreframe.data.sources.lerobot_layout import DATA_PATH, INFO, VIDEO_PATH
from foreframe.data.statistics import Statistics
from foreframe.data.store.opened import open_stores
from foreframe.data.store.store import Store, require_alike
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.system.workers import Execution, do_jobs

DESCRIPTION = "meta/foreframe.json"
_SPLIT_NAMES = {"train": "train", "validate": "val", "test": "test"}


def export_lerobot(
    root: Place,
    out: Path,
    *,
    frame_rate: float | None = None,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Write every sequence of a dataset as an episode of a LeRobotDataset v3.0.

    Actions become "action", positions "observation.state", frames a video; validation episodes
    are in the split "val". Tracks are left out, since no feature of a LeRobotDataset is for them.
    An interrupted export goes on where it was, and ends with the same
    bytes; a finished one is left as it is.

    Args:
        root: folder with stores train, validate and test, or some of them.
        out: new folder for the dataset.
        frame_rate: frame rate in Hz, if the stores do not know it.
        execution: who does the work; by default every core of this machine.
        progress: called with (groups of sequences done, all).

    Returns:
        Sequences in each split.

    Raises:
        ForeframeError: there are no stores, they do not fit together, nobody knows the frame rate,
            ``out`` holds something else, or a file could not be written.
        KeyboardInterrupt: after the workers have ended; the same call goes on.
    """
    stores = open_stores(root)
    require_alike(
        stores.values(),
        "A LeRobotDataset has the same in all its episodes: import the splits alike.",
        tracks=False,
    )
    rate = find_rate(root, stores, frame_rate)
    out = Path(out)
    counts = {split: len(store) for split, store in stores.items()}
    description = {
        "exporter": "lerobot",
        "frame_rate": str(rate),
        "stores": {split: store.fingerprint() for split, store in stores.items()},
    }
    target = Resumable(out, "export", description, DESCRIPTION)
    jobs = list(plan_groups(stores, target, rate))
    if target.is_complete():
        progress(len(jobs), len(jobs))
        return counts
    with target.begun():
        if target.is_complete():  # by another process, between the first look and the lock
            return counts
        for part in out.rglob(".*.part"):  # half a file of an export that was killed
            part.unlink(missing_ok=True)
        left = [job for job in jobs if not _done(job)]
        do_jobs(_export, left, execution or Execution(), total=len(jobs), progress=progress)
        _finish(out, description, stores, jobs, rate)
    return counts


def _done(job: EpisodeGroup) -> bool:
    try:
        _read_record(job)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(file.is_file() for file in files_of(job))


def _read_record(job: EpisodeGroup) -> tuple[int, dict[str, Statistics]]:
    """Frames of a job, and the statistics of its features."""
    record = json.loads(job.record.read_text(encoding="utf-8"))
    statistics = record["statistics"].items()
    return int(record["frames"]), {
        name: Statistics.from_json(values) for name, values in statistics
    }


# -- the work -----------------------------------------------------------------------------------


def _export(job: EpisodeGroup) -> None:
    store, numbers = job.store, range(job.first, job.stop)
    lengths = [int(store.lengths[n]) for n in numbers]
    ends = np.cumsum([0, *lengths]).tolist()
    rows_path, video_path, list_path = files_of(job)

    def rows() -> Iterator[dict[str, np.ndarray]]:
        for k, n in enumerate(numbers):
            sequence, steps = store[n], np.arange(lengths[k])
            arrays = {"action": sequence.actions, "observation.state": sequence.positions}
            yield {
                **{name: values for name, values in arrays.items() if values is not None},
                "timestamp": (steps / float(job.rate)).astype(np.float32),
                "frame_index": steps,
                "episode_index": np.full(len(steps), job.episode + k),
                "index": job.index + ends[k] + steps,
                "task_index": np.zeros(len(steps), np.int64),
            }

    statistics = write_rows(rows_path, RowColumns.of(store), rows())
    colours = write_video(video_path, store.size, job.rate, (store[n].frames for n in numbers))
    for own, colour in zip(statistics, colours, strict=True):
        own[job.camera] = colour
    listed: list[dict[str, Any]] = []
    for k, own in enumerate(statistics):
        row: dict[str, Any] = {
            "episode_index": job.episode + k,
            "tasks": [TASK],
            "length": lengths[k],
            "dataset_from_index": job.index + ends[k],
            "dataset_to_index": job.index + ends[k + 1],
        }
        for kind in ("data", f"videos/{job.camera}", "meta/episodes"):
            row |= {f"{kind}/{name}": number for name, number in job.where.items()}
        for name, end in (("from", ends[k]), ("to", ends[k + 1])):
            row[f"videos/{job.camera}/{name}_timestamp"] = float(end / job.rate)
        for feature, values in own.items():
            for name, value in told(values, lengths[k], feature == job.camera).items():
                row[f"stats/{feature}/{name}"] = value
        listed.append(row)
    write_list(list_path, listed)
    joined = {name: reduce(add, (own[name] for own in statistics)) for name in statistics[0]}
    record = {name: values.to_json() for name, values in joined.items()}
    write_json(job.record, {"frames": ends[-1], "statistics": record})


def _finish(
    out: Path,
    description: dict[str, Any],
    stores: dict[str, Store],
    jobs: list[EpisodeGroup],
    rate: Fraction,
) -> None:
    frames = 0
    totals: dict[str, Statistics] = {}
    for job in jobs:
        own_frames, own = _read_record(job)
        frames += own_frames
        totals = {name: totals[name] + own[name] if totals else own[name] for name in own}
    store, camera = jobs[0].store, jobs[0].camera
    write_json(
        out / "meta/stats.json",
        {name: told(values, frames, name == camera) for name, values in totals.items()},
    )
    write_tasks(out / "meta/tasks.parquet")
    splits: dict[str, str] = {}
    first = 0
    for split, own_store in stores.items():
        splits[_SPLIT_NAMES[split]] = f"{first}:{first + len(own_store)}"
        first += len(own_store)
    fps = int(rate) if rate.denominator == 1 else float(rate)
    robot = store.origin.get("robot")
    write_json(
        out / INFO,
        {
            "codebase_version": "v3.0",
            "robot_type": str(robot) if robot else None,
            "total_episodes": first,
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": fps,
            "splits": splits,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": {
                **RowColumns.of(store).features(),
                camera: picture_feature(store.size, fps),
            },
        },
    )
    # Last: with it the dataset is complete.
    write_json(out / DESCRIPTION, description)
