"""Any source to a dataset of stores: fitted, divided over splits, written shard by shard.

Each part of the source becomes one shard in each split that its recordings belong to. A part that
is done has a record in OUT/.import; so an interrupted import continues with the parts that have
none, and ends with the same bytes as one that was not interrupted.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import foreframe
from foreframe.data.imports.options import ImportOptions as ImportOptions
from foreframe.data.imports.options import with_usual_rule
from foreframe.data.imports.part import PartJob, PartRecord, files_of, import_part, is_done
from foreframe.data.imports.plan import ImportPlan, listed, plan_import
from foreframe.data.lab import SPLITS
from foreframe.data.resumable import Resumable
from foreframe.data.sources.source import Part, Skip, Source
from foreframe.data.store.opened import open_stores
from foreframe.data.store.store import file_sha256
from foreframe.data.store.writer import join_shards
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json
from foreframe.system.workers import Execution, do_jobs

DESCRIPTION = "dataset.json"


@dataclass(frozen=True)
class Imported:
    """What an import has done.

    Attributes:
        out: the dataset.
        sequences: number of sequences in each split.
        frames: number of frames in each split.
        skipped: what could not be read, and why.
        divided_by_time: whether recordings were so few that each was divided by time.
        statistics: statistics of "actions" and "positions" of the training split, or of the only
            split.
    """

    out: Path
    sequences: dict[str, int]
    frames: dict[str, int]
    skipped: tuple[Skip, ...]
    divided_by_time: bool
    statistics: dict[str, Any]


def import_dataset(
    source: Source,
    out: Path,
    options: ImportOptions | None = None,
    *,
    execution: Execution | None = None,
    strict: bool = False,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Imported:
    """Read everything that ``source`` has into stores under ``out``, or what is still missing.

    Args:
        source: what is read.
        out: new folder of the dataset, or one in which the same import was interrupted.
        options: by default those of ``ImportOptions``.
        execution: who does the work; by default every core of this machine.
        strict: end at the first recording that cannot be read, in place of skipping it.
        log: called with a line when an import is continued or was complete.
        progress: called with (parts done, all).

    Returns:
        What is there now, with all that was skipped.

    Raises:
        ForeframeError: the input or the options are refused, nothing could be read, ``out`` holds
            something else, or (``strict``) a recording cannot be read.
        KeyboardInterrupt: after the workers have ended; the same call goes on.
    """
    options = with_usual_rule(options or ImportOptions(), source)
    options.check()
    out = Path(out)
    target = Resumable(out, "import", _describe(source, options), DESCRIPTION)
    if target.is_complete():
        log(f"{out}: is complete already.{_grown(source, out)}")
        return _summary(out)
    parts = source.parts()
    with target.begun():
        if target.is_complete():  # by another process, between the first look and the lock
            return _summary(out)
        plan = plan_import(source, parts, options, log)
        jobs = [
            PartJob(
                source,
                part,
                options,
                out,
                target.record(part.name),
                strict,
                plan.pieces.get(part.name, {}),
                plan.widths,
                plan.rate,
            )
            for part in plan.parts
        ]
        left = [job for job in jobs if not is_done(job)]
        if len(left) < len(jobs):
            log(f"{out}: goes on; {len(jobs) - len(left)} of {len(jobs)} parts are there.")
        do_jobs(import_part, left, execution or Execution(), total=len(jobs), progress=progress)
        records = [PartRecord.read(job.record) for job in jobs]
        if not any(record.sequences for record in records):
            for job in jobs:  # with nothing in it, the folder is nobody's
                job.record.unlink()
            skipped = [skip for record in records for skip in record.skipped]
            raise ForeframeError(
                f"nothing could be imported ({listed(skipped) or 'too few frames'}). "
                "Check the options that cut and shift recordings, and the input."
            )
        told = {**plan.told, "frame_rate": options.thinning.rate(plan.rate)}
        for note in told.get("notes", ()):
            log(note)
        _finish(target, told, plan, records)
    return _summary(out)


_MOST_INPUTS = 100_000
"""Files of the input that are noted, so that it can be said what has come to it."""

_FIRST_OPTIONS = (
    "size",
    "crop",
    "clip_frames",
    "shift_actions",
    "validate",
    "test",
    "split",
    "split_seed",
)


def _describe(source: Source, options: ImportOptions) -> dict[str, Any]:
    """What was asked for: two imports with the same description give the same bytes."""
    asked = asdict(options)
    if options.split_file is not None:  # what it says counts, not where it lies
        asked["split_file"] = (
            file_sha256(options.split_file) if options.split_file.is_file() else ""
        )
    settings = {
        item.name: getattr(source, item.name)
        for item in fields(source)  # type: ignore[arg-type]
        if "later" not in item.metadata or getattr(source, item.name) != item.default
    }
    return {
        "importer": type(source).__name__.removesuffix("Source").lower(),
        "input": str(settings.pop("input")),
        "settings": settings,
        # What came later is named where it was asked for, so that older imports go on.
        "options": {
            name: value
            for name, value in asked.items()
            if name in _FIRST_OPTIONS or value != getattr(ImportOptions(), name)
        },
    }


def _grown(source: Source, out: Path) -> str:
    """What has come to the input of a finished import, or was changed in it, in words."""
    try:
        before = json.loads((out / DESCRIPTION).read_text(encoding="utf-8")).get("inputs")
        now = _inputs(source.parts())
    except (OSError, ValueError, AttributeError, ForeframeError):
        return ""  # the input need not be there any more
    if not isinstance(before, dict):
        return ""
    new = [Path(name).name for name in now if name not in before]
    other = [Path(name).name for name, size in now.items() if before.get(name, size) != size]
    if not new and not other:
        return ""
    said = [
        f"{what} ({', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)})"
        for what, names in (("new files", new), ("changed ones", other))
        if names
    ]
    return (
        f" But its input has {' and '.join(said)} since then, which are not in it: import it into "
        "a new folder."
    )


def _inputs(parts: list[Part]) -> dict[str, int]:
    """The files that are read, and their sizes.

    Raises:
        OSError: one cannot be looked at.
    """
    files = {str(path): path for part in parts for path in files_of(part)}
    return {name: path.stat().st_size for name, path in files.items()}


def _finish(
    target: Resumable, told: dict[str, Any], plan: ImportPlan, records: list[PartRecord]
) -> None:
    """Join the shards of each split, and write what the dataset was made of."""
    source = told | target.description | {"foreframe": foreframe.__version__}
    for split in SPLITS:
        shards = [
            part.name
            for part, record in zip(plan.parts, records, strict=True)
            if split in record.sequences
        ]
        if shards:
            join_shards(target.out / split, shards, {"source": source})
    skipped = [asdict(skip) for record in records for skip in record.skipped]
    with suppress(OSError):
        inputs = _inputs(plan.parts)
        if len(inputs) <= _MOST_INPUTS:
            source["inputs"] = inputs
    write_json(
        target.out / DESCRIPTION,
        {**source, "divided_by_time": plan.divided_by_time, "skipped": skipped},
    )


def _summary(out: Path) -> Imported:
    stores = open_stores(out)
    description = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))
    shown = stores.get("train") or next(iter(stores.values()))
    return Imported(
        out,
        {split: len(store) for split, store in stores.items()},
        {split: int(store.lengths.sum()) for split, store in stores.items()},
        tuple(Skip(**skip) for skip in description["skipped"]),
        description["divided_by_time"],
        shown.statistics(),
    )
