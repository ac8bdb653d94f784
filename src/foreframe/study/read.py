"""A study's folder read back: its definition and the records of the runs that are done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.config.plain import from_dict
from foreframe.config.training import RunConfig
from foreframe.evaluation.card import Card
from foreframe.runs.folder import EVALUATION
from foreframe.study.again import commands
from foreframe.study.cell import RECORD
from foreframe.study.numbers import Summary, summarise
from foreframe.study.plan import Comparison
from foreframe.system.files import read_json


@dataclass(frozen=True)
class Study:
    """What a folder holds.

    Attributes:
        folder: of the study.
        definition: of study.json.
        records: of each cell by its name, in the order of the seeds; cells without any left out.
        folders: of each record's run, by cell and seed.
        labels: of all cells.
        comparisons: among them.
    """

    folder: Path
    definition: dict[str, Any]
    records: dict[str, list[dict[str, Any]]]
    folders: dict[tuple[str, int], Path]
    labels: dict[str, str]
    comparisons: list[Comparison]

    @property
    def summaries(self) -> dict[str, Summary]:
        """Of the cells that have been run."""
        return {name: summarise(records) for name, records in self.records.items()}

    def sequences(self, cell: str, metric: str) -> list[float] | None:
        """Of each test sequence the mean over the seeds that were scored; None if none was.

        Args:
            cell: its name.
            metric: "psnr" or "ssim".
        """
        seeds = []
        for record in self.records[cell]:
            path = self.card_path(cell, record["seed"])
            if not record["card"] or not path.exists():
                continue
            row = Card.read(path).row("model")
            if row and row.scores:  # not in cards of version 1
                seeds.append(row.scores[metric].per_sequence)
        return [sum(values) / len(values) for values in zip(*seeds, strict=True)] or None

    def card_path(self, cell: str, seed: int) -> Path:
        """Where the card of a seed lies: of a part of the test split, if the study has a limit."""
        record = next(one for one in self.records[cell] if one["seed"] == seed)
        return self.folders[cell, seed] / (record["card"] or {}).get("file", EVALUATION)


def read_study(folder: Path) -> Study:
    """Read a study.

    Raises:
        ForeframeError: there is none, or a file is damaged.
    """
    definition = read_json(folder / "study.json")
    records: dict[str, list[dict[str, Any]]] = {}
    folders: dict[tuple[str, int], Path] = {}
    for cell in definition["cells"]:
        found = []
        for path in (folder / "runs" / cell["name"]).glob(f"seed-*/{RECORD}"):
            record = read_json(path)
            # Made from the configuration, so that they need no file of the run that is published
            # without its folder, and records of every version have them.
            config = from_dict(RunConfig, record["config"], str(path))
            record["commands"] = commands(config, definition["data"], definition["limit"])
            found.append(record)
            folders[cell["name"], record["seed"]] = path.parent
        if found:
            records[cell["name"]] = sorted(found, key=lambda record: record["seed"])
    return Study(
        folder,
        definition,
        records,
        folders,
        {cell["name"]: cell["label"] for cell in definition["cells"]},
        [
            Comparison(one["name"], one["title"], tuple(one["cells"]))
            for one in definition["comparisons"]
        ],
    )
