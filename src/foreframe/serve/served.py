"""A run as it is served: its model, its sequences, and what is known of its numbers."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from foreframe.data.recording import Recording
from foreframe.data.statistics import Statistics
from foreframe.data.store.opened import open_split, require_rows
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, LAST, RUN_CONFIG, saved_config
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.kinematics import KINEMATICS, Kinematics, fit_kinematics
from foreframe.serve.directions import Directions, principal_directions
from foreframe.serve.refusal import Refusal
from foreframe.system.device import choose_device
from foreframe.system.files import read_json
from foreframe.system.places import Place, place

_USUAL_FPS = 5.0
_SIMULATED = "foreframe simulated robot pushing"


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
    description: str
    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Axis:
    """Which number of the action moves the arm along an axis of the screen, and its sign."""

    index: int
    sign: int


class Served:
    """A run folder that may still be training.

    Args:
        name: what it is called in addresses.
        run: the run folder.
        data: root of the dataset; None for the one that the run was trained on, where it is there.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ForeframeError: no run is there, or ``data`` does not fit it.
    """

    def __init__(self, name: str, run: Path, data: Place | None, device: str = "auto") -> None:
        self.name, self.run = name, run
        self.config = saved_config(run)
        self._device = choose_device(device)
        self._lock = threading.Lock()
        self._model: VideoCVAE | None = None
        self._loaded_from = 0
        self._directions: Directions | None = None
        self.root = self._find(data)
        self.about = _about(self.root)
        size = self.config.model.image_size
        self.test: Store | None = None
        statistics: dict[str, Statistics | None] = {"actions": None, "positions": None}
        self.kinematics: Kinematics | None = None
        if self.root is not None:
            self.test = open_split(self.root, "test", size=size)
            needs = self.config.model.needs
            widths = {"actions": self.test.action_dim, "positions": self.test.position_dim}
            require_rows(self.test.source / self.test.names[0], widths, needs)
            self._train = self._split("train") or self.test
            statistics = self._train.statistics()
            if self.uses_positions:
                self.kinematics = self._find_kinematics(self._train)
        self.actions = self._numbers("actions", statistics["actions"])
        self.positions = self._numbers("positions", statistics["positions"])

    def _find(self, data: Place | None) -> Place | None:
        if data is not None:
            return data
        values = read_json(self.run / RUN_CONFIG)
        root = place(str(values.get("data", "")))
        with suppress(OSError):
            if (root / "test").is_dir():
                return root
        return None

    def _split(self, split: str) -> Store | None:
        assert self.root is not None
        try:
            return open_split(self.root, split, size=self.config.model.image_size)
        except ForeframeError:
            return None

    def _find_kinematics(self, train: Store) -> Kinematics | None:
        path = self.run / KINEMATICS
        if path.is_file():
            return Kinematics.from_json(read_json(path), path)
        found = fit_kinematics(train[i] for i in range(len(train)))
        if found is not None:
            with suppress(ForeframeError):  # the run may lie where nothing can be written
                found.write(self.run)
        return found

    def _numbers(self, part: str, statistics: Statistics | None) -> list[Number]:
        width = self.config.model.needs[part] or 0
        lines = self.about.get(part, [])
        lines = lines if isinstance(lines, list) and len(lines) == width else [""] * width
        numbers = []
        for i, line in enumerate(str(line) for line in lines):
            label, _, description = line.partition(":")
            letter = "action" if part == "actions" else "position"
            known = statistics is not None and i < len(statistics.mean)
            low, high, mean, deviation = (
                (statistics.low[i], statistics.high[i], statistics.mean[i], statistics.deviation[i])
                if known and statistics is not None
                else (-1.0, 1.0, 0.0, 1.0)
            )
            numbers.append(
                Number(
                    label.strip() or f"{letter} {i + 1}",
                    description.strip(),
                    float(low),
                    float(high),
                    float(mean),
                    float(deviation),
                )
            )
        return numbers

    # -- what it is -----------------------------------------------------------------------------

    @property
    def uses_actions(self) -> bool:
        """Whether the model is conditioned on actions."""
        return self.config.model.uses_actions

    @property
    def uses_positions(self) -> bool:
        """Whether the model is conditioned on positions."""
        return self.config.model.uses_positions

    @property
    def playable(self) -> bool:
        """Whether there is a model yet."""
        return (self.run / BEST).is_file()

    @property
    def n_past(self) -> int:
        """Given frames, as in training."""
        return self.config.train.n_past

    @property
    def frame_rate(self) -> float:
        """Frames a second of the recordings, or a usual one where that is not known."""
        interval = self.about.get("frame_interval_seconds")
        if isinstance(interval, int | float) and interval > 0:
            return 1 / interval
        rate = None if self.test is None else self.test.meta.get("frame_rate")
        return float(rate) if isinstance(rate, int | float) and rate > 0 else _USUAL_FPS

    @property
    def planar_known(self) -> bool:
        """Whether the camera of the recordings is known."""
        return str(self.about.get("generator", "")).startswith(_SIMULATED)

    @property
    def planar(self) -> dict[str, Axis]:
        """The numbers of the action that move the arm right and up on the screen."""
        if self.planar_known:  # x comes towards the camera, y goes to the image's right
            return {"right": Axis(1, 1), "up": Axis(0, -1)}
        return {"right": Axis(0, 1), "up": Axis(min(1, max(0, len(self.actions) - 1)), 1)}

    def first_row(self, start: int) -> int:
        """The row of the condition that leads to the first frame after those given at ``start``."""
        return start + self.n_past - (1 if self.config.model.timing == "source" else 0)

    # -- the model ------------------------------------------------------------------------------

    def model(self) -> VideoCVAE:
        """The best weights there are by now.

        Raises:
            Refusal: there are none yet.
        """
        with self._lock:
            if not self.playable:
                raise Refusal(409, f"{self.name}: has no model yet; its training has just begun.")
            changed = (self.run / BEST).stat().st_mtime_ns
            if self._model is None or changed != self._loaded_from:
                try:
                    self._model = load_model(self.run, self._device)
                except ForeframeError as error:
                    raise Refusal(409, f"{self.name}: {error}") from error
                self._loaded_from, self._directions = changed, None
            return self._model

    def directions(self) -> Directions | None:
        """The principal directions of its latent; None without recordings or a model."""
        if not self.playable or self.test is None:
            return None
        model = self.model()
        with self._lock:
            if self._directions is None:
                store = self._split("validate") or self.test
                self._directions = principal_directions(model, store)
            return self._directions

    # -- recordings -----------------------------------------------------------------------------

    def sequence(self, number: int) -> Recording:
        """A test sequence.

        Raises:
            Refusal: there is no such one.
        """
        if self.test is None:
            raise Refusal(404, f"{self.name}: has no sequences; serve it with --data DIR.")
        if not 0 <= number < len(self.test):
            raise Refusal(404, f"sequence {number}: there are 0 to {len(self.test) - 1}.")
        return self.test[number]

    def rest(self, part: str) -> Float32[np.ndarray, " width"]:
        """A row that stands for an action or position that is not known: zeros, or the mean."""
        numbers = self.actions if part == "actions" else self.positions
        # Nothing moves at zero where that is a value the action takes.
        return np.array(
            [0.0 if number.low <= 0 <= number.high else number.mean for number in numbers]
            if part == "actions"
            else [number.mean for number in numbers],
            np.float32,
        )

    def history(self) -> dict[str, Any]:
        """The rows of its epochs so far, how many are planned, and whether it trains now."""
        path = self.run / "history.json"
        rows = read_json(path) if path.is_file() else []
        planned = self.config.train.epochs
        return {"epochs": planned, "running": self._running(len(rows)), "rows": rows}

    def _running(self, done: int) -> bool:
        if done >= self.config.train.epochs:
            return False
        last = max(
            (
                path.stat().st_mtime
                for name in ("history.json", LAST, RUN_CONFIG)
                if (path := self.run / name).is_file()
            ),
            default=0.0,
        )
        return time.time() - last < 600


def _about(root: Place | None) -> dict[str, Any]:
    """What the dataset says of itself."""
    if root is None:
        return {}
    try:
        values = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def as_row(values: np.ndarray | None) -> torch.Tensor | None:
    """A row as the model takes it."""
    return None if values is None else torch.from_numpy(np.asarray(values, np.float32))
