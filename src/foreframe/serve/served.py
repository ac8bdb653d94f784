"""A run as it is served: its weights, its recordings, and what is known of its numbers."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from foreframe.data.lab import SPLITS
from foreframe.data.recording import Recording
from foreframe.data.store.opened import open_split, require_rows
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, HISTORY, LAST, RUN_CONFIG, saved_config
from foreframe.runs.hub import load_model
from foreframe.runs.kinematics import KINEMATICS, Kinematics, fit_kinematics
from foreframe.runs.training_data import (
    Number,
    TrainingData,
    description,
    fingerprint,
    frame_rate,
    label,
)
from foreframe.serve.directions import Weights
from foreframe.serve.refusal import Refusal
from foreframe.simulator.worlds import GENERATORS
from foreframe.system.device import choose_device
from foreframe.system.files import read_json
from foreframe.system.places import Place, place

if TYPE_CHECKING:
    from foreframe.serve.starts import Starts

_USUAL_RATE = 5.0
_SIMULATED = "foreframe simulated robot pushing"
_STALLED = 600.0
"""Seconds without a new file after which a training counts as ended."""


@dataclass(frozen=True)
class Axis:
    """Which number of the action moves the arm along an axis of the screen, and its sign."""

    index: int
    sign: int


@dataclass(frozen=True)
class SceneKey:
    """Which simulated sequence it is: all that its scene depends on.

    Attributes:
        seed: of the dataset.
        split: 0 train, 1 validate, 2 test.
        number: of the sequence in its split.
    """

    seed: int
    split: int
    number: int


class Served:
    """A run folder that may still be training.

    Attributes:
        test: the recordings that are offered; None where the data are not at hand.
        kinematics: that roll positions forward; None if the model needs none, or none are known.
        notes: what whoever starts the service should know of the data.

    Args:
        name: what it is called in addresses.
        run: the run folder.
        data: root of the dataset; None for the one that the run was trained on, where it is there.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ForeframeError: no run is there, or ``data`` does not fit it.
    """

    def __init__(
        self, name: str, run: Path, data: Place | None = None, device: str = "auto"
    ) -> None:
        self.name, self.run = name, run
        self.config = saved_config(run)
        self.notes: list[str] = []
        self._device = choose_device(device)
        self._lock = threading.Lock()
        self._weights: Weights | None = None
        self._loaded_from = 0
        kept = TrainingData.saved(run)
        self._root = self._own_data(kept) if data is None else data
        store = None if self._root is None else self._opened(self._root)
        train = self._split("train") or store
        self._told = kept
        if self._root is not None and train is not None:
            self._told = kept or TrainingData.of(self._root, train)
            if kept is not None and train is not store:
                self._compare(kept, train)
        self.test: Store | Starts | None = store
        if store is None and kept is not None and kept.generator == GENERATORS["robot"]:
            self.test = self._starts(kept)
        elif store is None:
            where = kept.path if kept else read_json(run / RUN_CONFIG).get("data") or "hand"
            self.notes.append(
                f"{run}: its data are not at {where}; "
                "give --data DIR to offer their test sequences."
            )
        self.kinematics = self._kinematics(train) if self.uses_positions else None
        self.actions = self._numbers("actions")
        self.positions = self._numbers("positions")

    # -- the data -------------------------------------------------------------------------------

    def _own_data(self, kept: TrainingData | None) -> Place | None:
        """The dataset of the training, where it is at hand."""
        typed = str(read_json(self.run / RUN_CONFIG).get("data", ""))
        if kept is not None and _has_test(kept.path):
            return place(kept.path)
        # The name that was typed may mean another dataset here.
        if _has_test(typed) and (kept is None or self._is(kept, place(typed))):
            if kept is None:
                self.notes.append(
                    f"{self.run}: takes its recordings from {Path(typed).absolute()}, "
                    "by the name that it was trained with; --data DIR names others."
                )
            return place(typed)
        return None

    def _starts(self, kept: TrainingData) -> "Starts | None":
        """Scenes of the simulator that the run was trained on, in the place of its data."""
        said = f"{self.name}: its data ({kept.path}) are not here; "
        try:
            from foreframe.serve.starts import Starts
        except ForeframeError as error:
            self.notes.append(f"{said}give --data DIR ({error}).")
            return None
        height, width = self.config.model.frame_size
        if height != width:
            self.notes.append(f"{said}give --data DIR to offer their test sequences.")
            return None
        self.notes.append(
            f"{said}scenes of the simulator's test split are offered, "
            "made when they are asked for. --data DIR names others."
        )
        return Starts(height)

    def _is(self, kept: TrainingData, root: Place) -> bool:
        with suppress(ForeframeError):
            train = open_split(root, "train", size=self.config.model.frame_size)
            return fingerprint(train) == kept.fingerprint
        return False

    def _opened(self, root: Place) -> Store:
        test = open_split(root, "test", size=self.config.model.frame_size)
        widths = {"actions": test.action_dim, "positions": test.position_dim}
        require_rows(test.source / test.names[0], widths, self.config.model.needs)
        return test

    def _split(self, split: str) -> Store | None:
        if self._root is None:
            return None
        with suppress(ForeframeError):
            return open_split(self._root, split, size=self.config.model.frame_size)
        return None

    def _compare(self, kept: TrainingData, train: Store) -> None:
        if fingerprint(train) != kept.fingerprint:
            self.notes.append(
                f"{self.run}: was trained on other data than those at {self._root} "
                f"(on {kept.path}, as it then was). Names and ranges are those of the training."
            )

    def _kinematics(self, train: Store | None) -> Kinematics | None:
        path = self.run / KINEMATICS
        if path.is_file():
            return Kinematics.from_json(read_json(path), path)
        if train is None:
            return None
        fitted = fit_kinematics(train[i] for i in range(len(train)))
        if fitted is not None:
            with suppress(ForeframeError):  # the run may lie where nothing can be written
                fitted.write(self.run)
        return fitted

    def _numbers(self, part: str) -> list[Number]:
        width = self.config.model.needs[part] or 0
        known: tuple[Number, ...] = () if self._told is None else getattr(self._told, part)
        if len(known) == width:
            return list(known)
        return [Number(label("", part, i)) for i in range(width)]

    # -- what it is -----------------------------------------------------------------------------

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

    @cached_property
    def frame_rate(self) -> float:
        """Frames a second of the recordings, or a usual one where that is not known."""
        own = None
        if self._root is not None and isinstance(self.test, Store):
            own = frame_rate(self._root, self.test)
        return own or (self._told and self._told.frame_rate) or _USUAL_RATE

    @property
    def planar_known(self) -> bool:
        """Whether the camera of the recordings is known."""
        return self._told is not None and self._told.generator.startswith(_SIMULATED)

    @property
    def planar(self) -> dict[str, Axis]:
        """The numbers of the action that move the arm right and up on the screen."""
        if self.planar_known:  # x comes towards the camera, y goes to the image's right
            return {"right": Axis(1, 1), "up": Axis(0, -1)}
        return {"right": Axis(0, 1), "up": Axis(min(1, max(0, len(self.actions) - 1)), 1)}

    def first_row(self, start: int) -> int:
        """The row of the condition that leads to the first frame after those given at ``start``."""
        return start + self.n_past - (1 if self.config.model.timing == "source" else 0)

    # -- the weights ----------------------------------------------------------------------------

    def weights(self) -> Weights:
        """The best weights there are by now.

        Raises:
            Refusal: there are none yet.
        """
        with self._lock:
            if not self.playable:
                raise Refusal(409, f"{self.name}: has no model yet; its training has just begun.")
            changed = (self.run / BEST).stat().st_mtime_ns
            if self._weights is None or changed != self._loaded_from:
                try:
                    model = load_model(self.run, self._device)
                except ForeframeError as error:
                    raise Refusal(409, f"{self.name}: {error}") from error
                self._weights = Weights(model, self._for_directions)
                self._loaded_from = changed
            return self._weights

    def _for_directions(self) -> Store | None:
        own = self._split("validate")
        return own or (self.test if isinstance(self.test, Store) else None)

    # -- recordings -----------------------------------------------------------------------------

    def recording(self, number: int) -> Recording:
        """A test sequence.

        Raises:
            Refusal: there is no such one.
        """
        if self.test is None:
            raise Refusal(404, f"{self.name}: has no sequences; serve it with --data DIR.")
        if not 0 <= number < len(self.test):
            raise Refusal(404, f"sequence {number}: there are 0 to {len(self.test) - 1}.")
        return self.test[number]

    def scene(self, number: int) -> SceneKey | None:
        """What a test sequence was simulated of; None where it was recorded, or made otherwise."""
        if self._simulated is None or self.test is None or not 0 <= number < len(self.test):
            return None
        name = self.test.names[number].rpartition("/")[2]
        return (
            SceneKey(self._simulated, SPLITS.index("test"), int(name)) if name.isdigit() else None
        )

    @cached_property
    def _simulated(self) -> int | None:
        """The seed of data that this version's own simulator made; None for others."""
        if self._root is None:
            from foreframe.serve.starts import SEED, Starts

            return SEED if isinstance(self.test, Starts) else None
        told = description(self._root)
        seed = told.get("seed")
        own = (
            told.get("generator") == GENERATORS["robot"]
            and self.config.model.needs["actions"] is not None
        )
        return seed if own and isinstance(seed, int) else None

    def first_frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """The first frame of a test sequence.

        Raises:
            Refusal: there is no such one.
        """
        if isinstance(self.test, Store) or self.test is None or not 0 <= number < len(self.test):
            return np.asarray(self.recording(number).frames[0])
        return self.test.first(number)

    def rest(self, part: str) -> Float32[np.ndarray, " width"]:
        """A row that stands for an action or position that is not known: zeros, or the mean."""
        numbers = self.actions if part == "actions" else self.positions
        # Nothing moves at zero where that is a value the action takes.
        return np.array(
            [
                0.0 if part == "actions" and number.low <= 0 <= number.high else number.mean
                for number in numbers
            ],
            np.float32,
        )

    def history(self) -> dict[str, Any]:
        """The rows of its epochs so far, how many are planned, and whether it trains now."""
        path = self.run / HISTORY
        rows = read_json(path) if path.is_file() else []
        planned = self.config.train.epochs
        running = len(rows) < planned and time.time() - self._last_write() < _STALLED
        return {"epochs": planned, "running": running, "rows": rows}

    def _last_write(self) -> float:
        files = [self.run / name for name in (HISTORY, LAST, RUN_CONFIG)]
        return max((path.stat().st_mtime for path in files if path.is_file()), default=0.0)


def _has_test(root: str) -> bool:
    with suppress(OSError, ForeframeError):
        return bool(root) and (place(root) / "test").is_dir()
    return False
