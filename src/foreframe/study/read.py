"""A study's folder read back: its definition and the records of the runs that are done.

STUDY/results/CELL/seed-K.json          the record of a run, enough to go on without the run
STUDY/runs/CELL/seed-K/cell.json        the same in the run folder
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from foreframe.evaluation.card import Card
from foreframe.runs.folder import EVALUATION
from foreframe.study.again import commands
from foreframe.study.cell import RECORD
from foreframe.study.definition import Definition
from foreframe.study.numbers import Summary, summarise
from foreframe.study.record import Record, per_sequence

RUNS = "runs"
PUBLISHED = "results"


@dataclass(frozen=True)
class Study:
    """What a folder holds.

    Attributes:
        folder: of the study.
        definition: of study.json.
        records: of each cell by its name, in the order of the seeds; cells without any left out.
    """

    folder: Path
    definition: Definition
    records: dict[str, list[Record]]

    @cached_property
    def labels(self) -> dict[str, str]:
        """Of all cells, by their names."""
        return {cell.name: cell.label for cell in self.definition.cells}

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Of the cells that have been run."""
        return {name: summarise(records) for name, records in self.records.items()}

    def groups(self, cell: str) -> list[int] | None:
        """The recording of each test sequence; None where each is one of its own."""
        return self.records[cell][0].recordings

    def sequences(self, cell: str, metric: str) -> list[float] | None:
        """Of each test sequence the mean over the seeds that were scored; None if none was.

        Args:
            cell: its name.
            metric: "psnr" or "ssim".
        """
        scored = [sequences_of(self.folder, record) for record in self.records[cell]]
        seeds = [values[metric] for values in scored if metric in values]
        return [sum(values) / len(values) for values in zip(*seeds, strict=True)] or None


def run_folder(out: Path, cell: str, seed: int) -> Path:
    """The run folder of a cell with a seed."""
    return out / RUNS / cell / f"seed-{seed}"


def card_path(out: Path, record: Record) -> Path:
    """Where the card of a run lies: that of a part of the test split, if the study has a limit."""
    name = record.card.file if record.card else EVALUATION
    return run_folder(out, record.cell, record.seed) / name


def sequences_of(out: Path, record: Record) -> dict[str, list[float]]:
    """PSNR and SSIM of each test sequence; empty if they are not known."""
    path = card_path(out, record)
    if record.per_sequence or not record.card or not path.exists():
        return record.per_sequence
    return per_sequence(Card.read(path))  # records of version 0.1 do not hold them


def published(out: Path, cell: str, seed: int) -> Path:
    """The file that holds a record without its run folder."""
    return out / PUBLISHED / cell / f"seed-{seed}.json"


def read_record(out: Path, cell: str, seed: int) -> Record | None:
    """What is on record of a cell with a seed, if it is done.

    Raises:
        ForeframeError: its file is damaged.
    """
    paths = (published(out, cell, seed), run_folder(out, cell, seed) / RECORD)
    return next((Record.read(path) for path in paths if path.exists()), None)


def read_study(folder: Path) -> Study:
    """Read a study.

    Raises:
        ForeframeError: there is none, or a file is damaged.
    """
    definition = Definition.read(folder)
    records = {
        cell.name: list(_records(folder, definition, cell.name)) for cell in definition.cells
    }
    return Study(folder, definition, {name: some for name, some in records.items() if some})


def _records(folder: Path, definition: Definition, cell: str) -> Iterator[Record]:
    """The records of a cell in the order of the seeds."""
    paths = [
        *(folder / PUBLISHED / cell).glob("seed-*.json"),
        *(path.parent for path in (folder / RUNS / cell).glob(f"seed-*/{RECORD}")),
    ]
    seeds = {int(path.name.removeprefix("seed-").removesuffix(".json")) for path in paths}
    for seed in sorted(seeds):
        record = read_record(folder, cell, seed)
        if record is not None:
            # Made from the configuration, so that they need no file of the run that is published
            # without its folder, and records of every version have them.
            again = commands(record.config, definition.data, definition.limit)
            yield replace(record, commands=again)
