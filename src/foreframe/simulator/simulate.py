"""A whole simulated dataset, in the lab's layout, made by several processes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.config.plain import differences
from foreframe.data.lab import SPLITS, write_sequence
from foreframe.errors import ForeframeError, at_least
from foreframe.simulator.worlds import GENERATORS, WorldName, recorder
from foreframe.system.asides import sweep
from foreframe.system.files import write_json
from foreframe.system.workers import Execution, do_jobs

SHARD = 256
"""Sequences in one folder, as in the lab's data."""

DESCRIPTION = "dataset.json"
"""What a simulated dataset says of itself, beside its splits."""

_MAY_DIFFER = ("foreframe", "sequences", "complete")


@dataclass(frozen=True)
class SimulateOptions:
    """What is simulated."""

    world: WorldName = "robot"
    """A robot that pushes objects about in a bin, or PushT: a disc that pushes a T (gym-pusht)."""
    sequences: int = 600
    """Sequences in all splits together, of 30 frames each."""
    validate: int | None = None
    """How many of them are for validation; by default a tenth, at least one."""
    test: int | None = None
    """How many of them are for testing; by default a tenth, at least one."""
    seed: int = 0
    """The same seed makes the same files."""
    size: int = 64
    """Height and width of the frames in pixels; vgg128 and dcgan128 take 128."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sequences for training, validation and testing."""
        tenth = max(1, self.sequences // 10)
        validate = tenth if self.validate is None else self.validate
        test = tenth if self.test is None else self.test
        return self.sequences - validate - test, validate, test

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        train, validate, test = self.counts
        if min(self.counts) < 1:
            raise ForeframeError(
                f"--sequences {self.sequences}: leaves {train} for training, {validate} for "
                f"validation and {test} for testing; each split needs at least 1."
            )
        at_least(0, seed=self.seed)
        if self.size < 16 or self.size % 2:
            raise ForeframeError(
                f"--size {self.size}: must be an even number of pixels, 16 or more."
            )


@dataclass(frozen=True)
class _SequenceJob:
    folder: Path
    split: int
    number: int
    options: SimulateOptions
    tracks: bool


def _sequence_folder(out: Path, split: int, number: int) -> Path:
    first = number // SHARD * SHARD
    return out / SPLITS[split] / f"push_{first}_to_{first + SHARD - 1}" / str(number)


def _describe(options: SimulateOptions) -> dict[str, Any]:
    from foreframe import __version__

    return {
        "generator": GENERATORS[options.world],
        "foreframe": __version__,
        "seed": options.seed,
        "sequences": dict(zip(SPLITS, options.counts, strict=True)),
        "complete": False,
        **recorder(options.world).describe(options.size),
    }


def _check_out(out: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Refuse a folder that holds anything but the beginning of the dataset that is asked for.

    Returns:
        ``wanted``, without tracks if an earlier version began the dataset without: all sequences
        of a dataset have the same files.
    """
    path = out / DESCRIPTION
    for part in (out, *out.parents):
        if part.is_file():
            raise ForeframeError(f"{part}: is a file; name a folder for the dataset.")
    try:
        if not out.exists() or all(entry.name.startswith(".") for entry in out.iterdir()):
            return wanted
        if not path.exists():
            raise ForeframeError(
                f"{out}: holds other files and no {DESCRIPTION}, so it is not a simulated "
                "dataset; choose an empty folder or a new one."
            )
        before = json.loads(path.read_text(encoding="utf-8"))
        if "tracks" not in before:
            wanted = {key: value for key, value in wanted.items() if key != "tracks"}
        problems = _conflicts(before, wanted)
    except OSError as error:
        raise ForeframeError(f"{out}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeframeError(
            f"{path}: is not a description of a simulated dataset; "
            "choose another folder or remove this one."
        ) from error
    if problems:
        raise ForeframeError(
            f"{out}: holds a dataset simulated with other settings ({'; '.join(problems)}); "
            "choose another folder or remove this one."
        )
    return wanted


def _conflicts(before: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Why a dataset that was begun cannot become the one that is asked for: it may only grow."""
    fixed = [key for key in wanted if key not in _MAY_DIFFER]
    theirs, ours = ({key: told.get(key) for key in fixed} for told in (before, wanted))
    return differences(theirs, ours) + [
        f"{split} has {before['sequences'][split]} sequences there and {count} here"
        for split, count in wanted["sequences"].items()
        if before["sequences"][split] > count
    ]


def _make(job: _SequenceJob) -> None:
    options = job.options
    made = recorder(options.world).record(options.seed, job.split, job.number, size=options.size)
    tracks = made.tracks if job.tracks else None
    write_sequence(job.folder, made.frames, made.actions, made.positions, tracks)


def simulate(
    out: Path,
    options: SimulateOptions | None = None,
    *,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write simulated sequences of 30 frames, or what is still missing of them.

    Sequence k of a split depends on the seed, the split and k only, so the same seed gives the
    same files whatever ``execution``, and a larger dataset begins with the smaller one.

    Args:
        out: folder for the dataset: ``OUT/{train,validate,test}/push_0_to_255/<n>/`` and
            ``OUT/dataset.json``. Sequences that are there from a run with the same settings stay.
        options: by default those of ``SimulateOptions``.
        execution: who does the work; by default every core of this machine.
        progress: called with (sequences there, sequences in all) at the start and after each.

    Raises:
        ForeframeError: the numbers make no sense, ``out`` holds something else, what the world
            is simulated with is missing, or a file could not be written.
        KeyboardInterrupt: after the processes have ended; what is written is whole and stays.
    """
    out, options, execution = Path(out), options or SimulateOptions(), execution or Execution()
    options.check()
    at_least(1, workers=execution.workers)
    description = _check_out(out, _describe(options))
    sweep(out, deep=True)
    write_json(out / DESCRIPTION, description)
    folders = {
        (split, number): _sequence_folder(out, split, number)
        for split, count in enumerate(options.counts)
        for number in range(count)
    }
    jobs = [
        _SequenceJob(folder, *key, options, "tracks" in description)
        for key, folder in folders.items()
        if not folder.is_dir()
    ]
    do_jobs(_make, jobs, execution, total=len(folders), progress=progress)
    write_json(out / DESCRIPTION, {**description, "complete": True})
