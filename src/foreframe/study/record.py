"""What is on record of a cell with one seed, and what of it the results of a study publish."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreframe.config.plain import from_dict
from foreframe.config.results import Interval, Result, result_from_json, result_to_json
from foreframe.config.training import RunConfig
from foreframe.evaluation.card import Card
from foreframe.evaluation.evaluate import card_path
from foreframe.runs.folder import EVALUATION
from foreframe.system.files import read_json, write_json

_PROTOCOL = ("name", "n_past", "n_future", "samples", "sequences")


@dataclass(frozen=True, kw_only=True)
class RowScore:
    """A row of the card: mean PSNR in dB with its 95 % interval over the sequences, mean SSIM."""

    psnr: float | None = None
    ssim: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a study needs of a card; the whole card lies in the run folder.

    Attributes:
        file: name of the card.
        protocol: name, given and predicted frames, samples, sequences.
        hashes: SHA-256 of the weights, of the data as scored and of the program.
        rows: the model and its baselines by their names.
    """

    file: str = EVALUATION
    protocol: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RowScore] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> "Scores":
        """The short form of a card."""
        return cls(
            file=card_path(Path(), card.protocol.name, partial=card.is_partial).name,
            protocol={key: getattr(card.protocol, key) for key in _PROTOCOL},
            hashes=card.hashes,
            rows={
                row.name: RowScore(
                    psnr=row.psnr,
                    ssim=row.ssim,
                    interval=row.scores["psnr"].interval if row.scores else None,
                )
                for row in card.rows
            },
        )

    def row(self, name: str) -> RowScore:
        """A row by its name, without scores if there is none."""
        return self.rows.get(name, RowScore())


def per_sequence(card: Card) -> dict[str, list[float]]:
    """PSNR and SSIM of the model on each sequence; empty for cards of version 1."""
    row = card.row("model")
    metrics = ("psnr", "ssim") if row and row.scores else ()
    return {metric: row.scores[metric].per_sequence for metric in metrics if row}


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What is published of a run in results.json.

    Attributes:
        cell: name of the cell.
        label: of the cell, for the page.
        seed: of the training.
        settings: what the cell sets otherwise than the base.
        commands: that train and score the run again.
        diverged: epoch, counted from 1, whose loss was no longer finite; None for most runs.
        seconds: of training.
        card: scores of the best weights; None for a run without any.
        validation_psnr: dB after each epoch.
        kld: nats a frame, mean over each epoch.
    """

    cell: str
    label: str
    seed: int
    settings: dict[str, Any]
    commands: list[str] = field(default_factory=list)
    diverged: int | None
    seconds: float
    card: Scores | None
    validation_psnr: list[float]
    kld: list[float]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A cell with one seed, trained and scored: all that its study has to know of it.

    Attributes:
        cell: name of the cell.
        label: of the cell, for the page.
        seed: of the training.
        settings: what the cell sets otherwise than the base.
        config: of the run, complete.
        commands: that train and score the run again.
        diverged: epoch, counted from 1, whose loss was no longer finite; None for most runs.
        history: a row for each epoch, as in the run's history.json.
        seconds: of training.
        wall_seconds: from the start of the training to the record; None if it is not known.
        card: scores of the best weights; None for a run without any.
        per_sequence: "psnr" and "ssim" of each test sequence; empty in records of version 0.1.
        recordings: number of the recording that each is of; None where each is one of its own.
    """

    cell: str
    label: str
    seed: int
    settings: dict[str, Any]
    config: RunConfig
    commands: list[str] = field(default_factory=list)
    diverged: int | None
    history: list[dict[str, Any]]
    seconds: float
    wall_seconds: float | None = None
    card: Scores | None
    per_sequence: dict[str, list[float]] = field(default_factory=dict)
    recordings: list[int] | None = None

    def score(self, row: str, metric: str) -> float | None:
        """A mean over the test sequences: "psnr" (dB) or "ssim" of a row; None if not scored."""
        value: float | None = getattr(self.card.row(row), metric) if self.card else None
        return value

    def numbers(self) -> Numbers:
        """The part that results.json holds."""
        return Numbers(
            **{
                name: getattr(self, name)
                for name in Numbers.__dataclass_fields__
                if name not in ("validation_psnr", "kld")
            },
            validation_psnr=[row["validation_psnr"] for row in self.history],
            kld=[row["kld"] for row in self.history],
        )

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record in a file.

        Raises:
            ForeframeError: the file is missing or damaged.
        """
        values = read_json(path)
        config = values.get("config") if isinstance(values, dict) else None
        if isinstance(config, dict):  # strict: a setting that is unknown must not be passed over
            values = {**values, "config": from_dict(RunConfig, config, str(path))}
        return result_from_json(cls, values, str(path), "the record of a study's cell")

    def write(self, path: Path) -> None:
        """Write the record as JSON.

        Raises:
            ForeframeError: the file could not be written.
        """
        write_json(path, result_to_json(self))


@dataclass(frozen=True, kw_only=True)
class Results(Result):
    """The content of results.json.

    Attributes:
        base: configuration that the cells change.
        data: root of the dataset.
        limit: test sequences that were scored; None: all.
        commands: that were given for the study.
        foreframe: version that wrote the study.
        runs: that are done.
    """

    WHAT = "the results of a study"

    base: RunConfig
    data: str
    limit: int | None
    commands: list[str]
    foreframe: str
    runs: list[Numbers]
