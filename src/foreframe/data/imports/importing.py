"""Any source to a dataset of stores: fitted, divided over splits, written shard by shard.

Each part of the source becomes one shard in each split that its recordings belong to. A part that
is done has a record in OUT/.import; so an interrupted import continues with the parts that have
none, and ends with the same bytes as one that was not interrupted.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.data.imports.appending import Before, plan_more, read_before
from foreframe.data.imports.description import DESCRIPTION, describe, finish, finished, grown
from foreframe.data.imports.options import ImportOptions as ImportOptions
from foreframe.data.imports.options import with_usual_rule
from foreframe.data.imports.part import PartJob, PartRecord, import_part, is_done
from foreframe.data.imports.plan import ImportPlan, listed, plan_import
from foreframe.data.lab import SPLITS
from foreframe.data.resumable import Resumable
from foreframe.data.sources.source import Skip, Source
from foreframe.data.store.opened import open_stores
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution, do_jobs


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
    append: bool = False,
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
        append: take into ``out``, if it is complete, the recordings that have come to the input,
            or those of another input of the same form. What is there stays in its split.
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
    asked = describe(source, options)
    before = finished(out) if append else None
    if before is not None:  # its input may be another one, and its list of splits be longer
        asked["input"] = before["input"]
        if "split_file" in before.get("options", {}) and options.split_file is not None:
            asked["options"]["split_file"] = before["options"]["split_file"]
    target = Resumable(out, "import", asked, DESCRIPTION)
    work = _Work(source, options, target, execution or Execution(), strict, log, progress)
    if target.is_complete():
        if before is None:
            log(f"{out}: is complete already.{grown(source, out)}")
        else:
            _append(work, before)
        return _summary(out)
    parts = source.parts()
    with target.begun():
        if target.is_complete():  # by another process, between the first look and the lock
            return _summary(out)
        plan = plan_import(source, parts, options, log)
        records = work.done(plan)
        told = {**plan.told, "frame_rate": options.thinning.rate(plan.rate)}
        for note in told.get("notes", ()):
            log(note)
        finish(target, told, plan, records)
    return _summary(out)


@dataclass(frozen=True)
class _Work:
    """What the parts of a plan are imported with; see ``import_dataset``."""

    source: Source
    options: ImportOptions
    target: Resumable
    execution: Execution
    strict: bool
    log: Callable[[str], None]
    progress: Callable[[int, int], None]

    def done(self, plan: ImportPlan, more: Before | None = None) -> list[PartRecord]:
        """The records of all parts, which are there or are imported now.

        Args:
            plan: of the parts.
            more: what they are taken into.

        Raises:
            ForeframeError: none of them gives a sequence.
        """
        target = self.target
        shards = [more.shard(part.name) if more else part.name for part in plan.parts]
        jobs = [
            PartJob(
                self.source,
                part,
                self.options,
                target.out,
                target.record(shard),
                self.strict,
                plan.pieces.get(part.name, {}),
                plan.widths,
                plan.rate,
                shard,
                more.prefix if more else "",
            )
            for part, shard in zip(plan.parts, shards, strict=True)
        ]
        left = [job for job in jobs if not is_done(job)]
        if len(left) < len(jobs):
            self.log(
                f"{target.out}: goes on; {len(jobs) - len(left)} of {len(jobs)} parts are there."
            )
        do_jobs(import_part, left, self.execution, total=len(jobs), progress=self.progress)
        records = [PartRecord.read(job.record) for job in jobs]
        if not any(record.sequences for record in records):
            for job in jobs:  # with nothing in it, the folder is nobody's
                job.record.unlink()
            skipped = [skip for record in records for skip in record.skipped]
            raise ForeframeError(
                f"nothing could be imported ({listed(skipped) or 'too few frames'}). "
                "Check the options that cut and shift recordings, and the input."
            )
        return records


def _append(work: _Work, description: dict[str, Any]) -> None:
    """Take into a finished import what is new in an input of the same form."""
    source, target = work.source, work.target
    parts = source.parts()
    given = str(source.input)  # type: ignore[attr-defined]
    with target.begun():
        # Another process may have taken more in while this one waited or looked at its input.
        description = finished(target.out) or description
        before = read_before(target.out, target.working, description, given)
        plan = plan_more(source, parts, work.options, before)
        if not plan.parts:
            work.log(f"{target.out}: {given} holds no recording that is not in it.")
            return
        records = work.done(plan, before)
        finish(target, description, plan, records, before, given)
        counts = Counter[str]()
        for record in records:
            counts.update(record.sequences)
        said = ", ".join(f"{counts[split]} to {split}" for split in SPLITS if counts[split])
        work.log(f"{target.out}: taken in: {said}.")


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
