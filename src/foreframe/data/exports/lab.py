"""Any dataset as the lab's folders of PNG and CSV."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foreframe.data.lab import SHARD, write_sequence
from foreframe.data.resumable import Resumable
from foreframe.data.store.opened import open_stores
from foreframe.data.store.store import Store
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.system.workers import Execution, do_jobs

DESCRIPTION = "dataset.json"

_BATCH = 64


@dataclass(frozen=True)
class _Group:
    store: Store
    folder: Path
    record: Path
    first: int
    stop: int


def export_lab(
    root: Place,
    out: Path,
    *,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Write every sequence of a dataset to ``OUT/<split>/traj_0_to_255.tfrecords/<n>/``.

    An interrupted export goes on where it was; a finished one is left as it is.

    Args:
        root: folder with stores train, validate and test, or some of them.
        out: folder for the lab's layout.
        execution: who does the work; by default every core of this machine.
        progress: called with (groups of sequences done, all).

    Returns:
        Sequences in each split.

    Raises:
        ForeframeError: there are no stores, ``out`` holds something else, or a file could not be
            written.
    """
    stores = open_stores(root)
    out = Path(out)
    counts = {split: len(store) for split, store in stores.items()}
    description = {
        "exporter": "lab",
        "stores": {split: store.fingerprint() for split, store in stores.items()},
    }
    target = Resumable(out, "export", description, DESCRIPTION)
    if target.is_complete():
        return counts
    with target.begun():
        if target.is_complete():  # by another process, between the first look and the lock
            return counts
        jobs = [
            _Group(
                store,
                out / split,
                target.record(f"{split}-{first:06d}"),
                first,
                min(first + _BATCH, len(store)),
            )
            for split, store in stores.items()
            for first in range(0, len(store), _BATCH)
        ]
        left = [job for job in jobs if not job.record.is_file()]
        do_jobs(_export, left, execution or Execution(), total=len(jobs), progress=progress)
        write_json(out / DESCRIPTION, description)
    return counts


def _export(job: _Group) -> None:
    for n in range(job.first, job.stop):
        first = n // SHARD * SHARD
        folder = job.folder / f"traj_{first}_to_{first + SHARD - 1}.tfrecords" / str(n)
        if not folder.is_dir():
            for half in folder.parent.glob(f".{n}.*.part"):  # of a process that was killed
                shutil.rmtree(half, ignore_errors=True)
            sequence = job.store[n]
            write_sequence(
                folder, sequence.frames, sequence.actions, sequence.positions, sequence.tracks
            )
    write_json(job.record, {})
