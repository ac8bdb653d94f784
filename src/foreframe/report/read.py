"""What a run folder holds, read and checked for the report."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.diagnosis.result import Diagnosis
from foreframe.errors import ForeframeError
from foreframe.evaluation.card import Card
from foreframe.planning.result import PlanResult
from foreframe.probe.result import ProbeResult
from foreframe.runs.folder import (
    BEST,
    DIAGNOSIS,
    EVALUATION,
    EVALUATION_FRAMES,
    HISTORY,
    PLAN,
    PLANS,
    PROBE,
    RUN_CONFIG,
)
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
    """The content of run.json: recipe, model, train, data and versions."""
    history: list[dict[str, Any]]
    """A row for each epoch, or none."""
    card: Card | None
    """The evaluation of a whole split, if there is one."""
    frames: Frames | None
    """The frames that the evaluation kept."""
    stale: frozenset[str]
    """Which of "card", "probe" and "diagnosis" are older than the weights."""
    probe: ProbeResult | None
    """What a probe measured, if the run was probed."""
    diagnosis: Diagnosis | None
    """What a diagnosis measured, if the run was diagnosed."""
    plans: PlanResult | None
    """How often the run succeeds in planning, if that was tried in its folder ``plan``."""
    sample: Path | None
    """The latest sample GIF of the training."""
    collapses: list[Path]
    """GIFs of the epochs in which the training collapsed."""

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
    frames, probe, diagnosis = (folder / k for k in (EVALUATION_FRAMES, PROBE, DIAGNOSIS))
    plans = folder / PLANS / PLAN
    results = {"card": EVALUATION, "probe": PROBE, "diagnosis": DIAGNOSIS}
    return Run(
        folder=folder,
        config=config,
        history=_there(folder / HISTORY, _is_history, "a list of epochs") or [],
        card=_card(folder / EVALUATION),
        probe=ProbeResult.read(probe) if probe.exists() else None,
        diagnosis=Diagnosis.read(diagnosis) if diagnosis.exists() else None,
        plans=PlanResult.read(plans) if plans.exists() else None,
        frames=read_frames(frames) if frames.exists() else None,
        stale=frozenset(
            what for what, name in results.items() if _is_older(folder / name, folder / BEST)
        ),
        sample=max((folder / "samples").glob("epoch-*.gif"), key=_epoch_of, default=None),
        collapses=sorted((folder / "samples").glob("collapse-*.gif"), key=_epoch_of),
    )


def _card(path: Path) -> Card | None:
    card = Card.read(path) if path.exists() else None
    # Version 0.1 wrote the card of a part of the split under the same name; it does not count.
    return None if card is None or card.is_partial else card


def _is_older(path: Path, weights: Path) -> bool:
    return path.exists() and weights.exists() and weights.stat().st_mtime > path.stat().st_mtime


def _there(path: Path, fits: Callable[[Any], bool], what: str) -> Any:
    """The content of a file that may be absent."""
    return _json(path, fits, what) if path.exists() else None


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


def read_frames(path: Path) -> Frames:
    """The frames that an evaluation kept.

    Raises:
        ForeframeError: the file is damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            frames = Frames(arrays["truth"], arrays["prediction"], int(arrays["n_past"]))
        shape = frames.truth.shape
        if (
            not frames.truth.dtype == frames.prediction.dtype == np.uint8
            or frames.prediction.shape != shape
            or len(shape) != 5
            or shape[4] != 3
            or not 0 < frames.n_past < shape[1]
        ):
            raise ValueError(f"truth {shape}, prediction {frames.prediction.shape}")
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ForeframeError(
            f"{path}: does not hold the frames of an evaluation ({error}). "
            "Make it again: foreframe evaluate RUN --data DIR."
        ) from error
    return frames


def _epoch_of(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1
