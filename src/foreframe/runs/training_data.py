"""What a run keeps of the data that it was trained on: where they lie, what their numbers mean.

Whoever opens the run later may stand in another folder, or at a machine that has no such data.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foreframe.data.statistics import Statistics
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import RUN_CONFIG
from foreframe.system.files import read_json
from foreframe.system.places import Place

KEY = "dataset"
"""Of the entry in run.json."""


@dataclass(frozen=True)
class Number:
    """One number of an action or a position.

    Attributes:
        label: short.
        description: what it is, with its unit, where that is known.
        low: least value in the training split.
        high: greatest.
        mean: its mean.
        deviation: its standard deviation.
    """

    label: str
    description: str = ""
    low: float = -1.0
    high: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class TrainingData:
    """The dataset of a run.

    Attributes:
        path: its root, absolute, or an address.
        fingerprint: of the frames and numbers of the training split: equal for equal contents,
            whatever their folder is called.
        frame_rate: frames a second; None if the dataset does not say.
        generator: the program that simulated it; empty for recordings.
        actions: the numbers of an action.
        positions: the numbers of a position.
    """

    path: str
    fingerprint: str
    frame_rate: float | None
    generator: str
    actions: tuple[Number, ...]
    positions: tuple[Number, ...]

    @classmethod
    def of(cls, root: Place, train: Store) -> "TrainingData":
        """What is known of a dataset.

        Args:
            root: of the dataset.
            train: its training split.
        """
        told = description(root)
        numbers = {
            part: _numbers(part, _columns(told, part), statistics)
            for part, statistics in train.statistics().items()
        }
        return cls(
            str(root.absolute() if isinstance(root, Path) else root),
            fingerprint(train),
            frame_rate(root, train),
            str(told.get("generator", "")),
            numbers["actions"],
            numbers["positions"],
        )

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return asdict(self)

    @classmethod
    def saved(cls, run: Path) -> "TrainingData | None":
        """What run.json says; None for the run of a version that did not keep it.

        Raises:
            ForeframeError: run.json is missing or damaged.
        """
        path = run / RUN_CONFIG
        values = read_json(path)
        if not isinstance(values, dict) or KEY not in values:
            return None
        try:
            entry = dict(values[KEY])
            for part in ("actions", "positions"):
                entry[part] = tuple(Number(**number) for number in entry[part])
            return cls(**entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ForeframeError(
                f"{path}: {KEY} cannot be read ({error}). Restore the file from a copy."
            ) from error


def fingerprint(store: Store) -> str:
    """SHA-256 of the lengths and checksums of all recordings of a split."""
    contents = [[shard.lengths, dict(shard.sha256)] for shard in store.shards]
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def contents(store: Store) -> dict[str, Any]:
    """What a resume compares of a split: its fingerprint, and numbers that say what differs.

    Stores of old have no checksums: theirs are taken of the files, so that the fingerprint is of
    the bytes in any case.
    """
    sums = [[shard.lengths, store.checksums(k)] for k, shard in enumerate(store.shards)]
    return {
        "fingerprint": hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest(),
        "sequences": len(store),
        "frames": int(store.lengths.sum()),
    }


def frame_rate(root: Place, store: Store) -> float | None:
    """Frames a second of a dataset; None if neither a split nor the dataset's description says."""
    interval = description(root).get("frame_interval_seconds")
    if isinstance(interval, int | float) and interval > 0:
        return 1 / interval
    return store.frame_rate


def description(root: Place) -> dict[str, Any]:
    """What the dataset's makers have written of it; nothing is required there."""
    try:
        values = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _columns(told: dict[str, Any], part: str) -> list[str]:
    """A line for each number: its name, and after a colon what it is."""
    columns = told.get("columns")
    lines = told.get(part) or (columns.get(part) if isinstance(columns, dict) else None)
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _numbers(part: str, lines: list[str], statistics: Statistics | None) -> tuple[Number, ...]:
    if statistics is None:
        return ()
    width = len(statistics.mean)
    lines = lines if len(lines) == width else [""] * width
    ranges = zip(
        statistics.low, statistics.high, statistics.mean, statistics.deviation, strict=True
    )
    return tuple(
        Number(label(line, part, i), line.partition(":")[2].strip(), *map(float, values))
        for i, (line, values) in enumerate(zip(lines, ranges, strict=True))
    )


def label(line: str, part: str, i: int) -> str:
    """The name of a number, or its place where it has none."""
    return line.partition(":")[0].strip() or f"{part.removesuffix('s')} {i + 1}"
