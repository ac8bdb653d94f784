"""What a run folder holds, read and checked for the report."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.errors import ForeframeError
from foreframe.evaluation.card import Card
from foreframe.runs.folder import BEST, EVALUATION, EVALUATION_FRAMES, HISTORY, RUN_CONFIG
from foreframe.system.files import read_json


@dataclass(frozen=True)
class Frames:
    """The first evaluated sequences, the first sample of each."""

    truth: np.ndarray
    """uint8 [N, T, H, W, 3]."""
    prediction: np.ndarray
    """uint8 [N, T, H, W, 3]; the first ``n_past`` frames are the given ones."""
    n_past: int


@dataclass(frozen=True)
class Run:
    """The contents of a run folder."""

    folder: Path
    config: dict[str, Any]
    """Of run.json: recipe, model, train, data and versions."""
    history: list[dict[str, Any]]
    """A row for each epoch, or none."""
    card: dict[str, Any] | None
    """The evaluation, if there is one."""
    frames: Frames | None
    """Of the evaluation."""
    stale: bool
    """Whether the weights are newer than the evaluation."""
    sample: Path | None
    """The latest sample GIF of the training."""
    collapses: list[Path]
    """GIFs of a collapse."""
    dataset: dict[str, Any] | None
    """dataset.json of a simulated dataset, where it still is."""

    @property
    def model(self) -> dict[str, Any]:
        """The model's configuration."""
        return self.config["model"]

    @property
    def train(self) -> dict[str, Any]:
        """The training's configuration."""
        return self.config["train"]


def read_run(folder: Path) -> Run:
    """Read a run folder; the evaluation, the history and the samples may be absent.

    Raises:
        ForeframeError: the folder holds no run, or one of its files is damaged.
    """
    config = _json(folder / RUN_CONFIG, _is_config, "the configuration of a run")
    card_path, frames_path = folder / EVALUATION, folder / EVALUATION_FRAMES
    history_path, best = folder / HISTORY, folder / BEST
    # Version 0.1 wrote the card of a part of the split under the same name; it does not count.
    there = card_path.exists() and not Card.read(card_path).is_partial
    return Run(
        folder=folder,
        config=config,
        history=_json(history_path, _is_history, "a list of epochs")
        if history_path.exists()
        else [],
        card=_json(card_path, _is_card, "an evaluation") if there else None,
        frames=_frames(frames_path) if frames_path.exists() else None,
        stale=there and best.exists() and best.stat().st_mtime > card_path.stat().st_mtime,
        sample=max((folder / "samples").glob("epoch-*.gif"), key=_epoch_of, default=None),
        collapses=sorted((folder / "samples").glob("collapse-*.gif"), key=_epoch_of),
        dataset=_dataset(config.get("data")),
    )


def _json(path: Path, fits: Callable[[Any], bool], what: str) -> Any:
    value = read_json(path)
    if not fits(value):
        raise ForeframeError(f"{path}: is not {what}. Restore it from a copy, or make it again.")
    return value


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(k), dict) for k in ("model", "train")
    )


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _is_card(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("protocol"), dict)
        and isinstance(value.get("rows"), list)
        and all(isinstance(row, dict) and {"name", "label"} <= row.keys() for row in value["rows"])
    )


def _frames(path: Path) -> Frames:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = Frames(arrays["truth"], arrays["prediction"], int(arrays["n_past"]))
        shape = found.truth.shape
        if (
            not found.truth.dtype == found.prediction.dtype == np.uint8
            or found.prediction.shape != shape
            or len(shape) != 5
            or shape[4] != 3
            or not 0 < found.n_past < shape[1]
        ):
            raise ValueError(f"truth {shape}, prediction {found.prediction.shape}")
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ForeframeError(
            f"{path}: does not hold the frames of an evaluation ({error}). "
            "Make it again: foreframe evaluate RUN --data DIR."
        ) from error
    return found


def _epoch_of(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1


def _dataset(data: Any) -> dict[str, Any] | None:
    """The description of a simulated dataset; it serves the report only, so it may be anywhere."""
    try:
        value = read_json(Path(str(data)) / "dataset.json")
    except ForeframeError:
        return None
    return value if isinstance(value, dict) else None
