"""Train on plain arrays: from frames and actions in memory to a model, in one call."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.config.model import Size
from foreframe.config.plain import changed
from foreframe.config.recipes import recipe as named_recipe
from foreframe.config.training import RunConfig, check_config, scaled, scaled_words
from foreframe.data.imports.division import FEW, Piece, divide, divide_by_time
from foreframe.data.recording import TABLES, Fit, Recording, finite, fit_recording
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.system.device import DeviceName
from foreframe.system.files import whole_folder
from foreframe.training.listener import Interrupted, Listener
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

Arrays = Any
"""A NumPy array or a tensor with one recording in each row, or a list of one array a recording."""


def fit(
    frames: Arrays,
    actions: Arrays | None = None,
    positions: Arrays | None = None,
    recipe: str = "foreframe-s",
    *,
    tracks: Arrays | None = None,
    out: Path | str | None = None,
    validate: float = 0.1,
    device: DeviceName = "auto",
    log: Callable[[str], None] = print,
    **settings: Any,
) -> VideoCVAE:
    """Train a model on arrays, as ``foreframe train`` does on a dataset.

    The arrays are written as a store beside the run folder, OUT-data, so that the commands can
    evaluate the run, serve it and go on with it.

    Args:
        frames: uint8 [N, T, H, W, 3] or [N, T, 3, H, W], or a list of N recordings [T, H, W, 3] of
            any lengths. Frames of another size than the net's are cropped to the middle square and
            resized.
        actions: [N, T, A], or a list of [T, A]: one row a frame, row t acting between frame t and
            frame t + 1.
        positions: [N, T, P], or a list of [T, P]: the end effector at each frame.
        recipe: where the settings start from, see ``foreframe.config.recipes``.
        tracks: [N, T, 2 x objects], or a list of [T, 2 x objects]: where objects are in the image
            at each frame, see ``foreframe.Clip``. They only teach.
        out: new run folder; by default runs/fit, or the first of runs/fit-2, ... that is free.
        validate: share of the recordings that the training is validated on. Of one or two
            recordings it is the same share of each one's time.
        device: "auto", "cpu", "cuda" or "mps".
        log: called with each line for the user.
        settings: fields of ``ModelConfig`` and ``TrainConfig`` by their names, as the options of
            ``foreframe train`` are called: epochs=20, net="vgg64", beta_max=1e-4.

    Returns:
        the best model of the training, in evaluation mode.

    Raises:
        ForeframeError: the arrays, a setting or ``out`` are refused, before anything is trained; or
            the training diverged.
        KeyboardInterrupt: after a checkpoint was written; the message says how to go on.
    """
    base = named_recipe(recipe)
    asked = changed(base, settings, "fit")
    config = replace(asked, train=scaled(asked.train, base.train, settings))
    check_config(config)
    for line in scaled_words(asked.train, config.train, base.train):
        log(line)
    recordings = _recordings(frames, actions, positions, tracks)
    _require_condition(config, actions is not None, positions is not None)
    out = _free_folder() if out is None else Path(out)
    if out.exists():
        raise ForeframeError(f"{out}: exists already. Give the name of a new folder: out=...")
    data = out.with_name(f"{out.name}-data")
    pieces = _divided([len(one.frames) for one in recordings], validate)
    _write(data, recordings, pieces, config.model.frame_size)
    log(f"{data}: {len(recordings)} recordings; training {config.recipe} into {out}")
    try:
        training = start(
            config, data, out, TrainOptions(device=device), listener=_Lines(log, config)
        )
    except ForeframeError:
        shutil.rmtree(data)
        raise
    try:
        training.fit()
    except Interrupted:
        raise KeyboardInterrupt(
            f"stopped and saved; go on with: foreframe train {recipe} --data {data} --out {out} "
            "--resume"
        ) from None
    log(f"{out}: best validation PSNR {training.progress.best_psnr:.2f} dB")
    return load_model(out, training.device)


class _Lines(Listener):
    """Hands each event to ``log`` as a line."""

    def __init__(self, log: Callable[[str], None], config: RunConfig) -> None:
        self._log, self._epochs = log, config.train.epochs

    def message(self, text: str) -> None:
        self._log(text)

    def epoch(self, row: dict[str, Any]) -> None:
        self._log(
            f"epoch {row['epoch'] + 1} of {self._epochs}: loss {row['loss']:.5f}, "
            f"validation PSNR {row['validation_psnr']:.2f} dB, {row['seconds']:.0f} s"
        )


def _free_folder() -> Path:
    names = (Path("runs") / ("fit" if k == 1 else f"fit-{k}") for k in count(1))
    return next(out for out in names if not out.exists())


# -- the arrays ---------------------------------------------------------------------------------


def _recordings(
    frames: Arrays, actions: Arrays | None, positions: Arrays | None, tracks: Arrays | None
) -> list[Recording]:
    """The recordings, each checked.

    Raises:
        ForeframeError: names the array, the recording and what was expected.
    """
    videos = [_video(item, f"frames[{n}]") for n, item in enumerate(_listed(frames, "frames", 5))]
    if not videos:
        raise ForeframeError("frames: there is no recording. Give [N, T, H, W, 3].")
    parts: dict[str, list[np.ndarray | None]] = {}
    for name, part in zip(TABLES, (actions, positions, tracks), strict=True):
        parts[name] = [None] * len(videos)
        if part is not None:
            items = _listed(part, name, 3)
            if len(items) != len(videos):
                raise ForeframeError(
                    f"{name}: {len(items)} recordings, but frames has {len(videos)}."
                )
            parts[name] = [
                _rows(item, f"{name}[{n}]", len(video), tracks=name == "tracks")
                for n, (item, video) in enumerate(zip(items, videos, strict=True))
            ]
    return [Recording(*one) for one in zip(videos, *parts.values(), strict=True)]


def _array(values: Any, name: str) -> np.ndarray:
    """A NumPy array of an array, a tensor on any device, or nested lists."""
    try:
        return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError) as error:
        raise ForeframeError(f"{name}: is not an array of numbers ({error}).") from error


def _listed(values: Arrays, name: str, axes: int) -> list[Any]:
    """The recordings of an array, which must have ``axes`` axes, or of a list of arrays."""
    if isinstance(values, list | tuple):
        return list(values)
    array = _array(values, name)
    if array.ndim != axes:
        expected = "[N, T, H, W, 3]" if axes == 5 else "[N, T, numbers]"
        raise ForeframeError(
            f"{name}: has shape {list(array.shape)}; give {expected}, or a list of recordings."
        )
    return list(array)


def _video(values: Any, name: str) -> np.ndarray:
    video = _array(values, name)
    if video.ndim == 4 and video.shape[-1] != 3 and video.shape[1] == 3:
        video = video.transpose(0, 2, 3, 1)
    if video.ndim != 4 or video.shape[-1] != 3 or 0 in video.shape:
        raise ForeframeError(f"{name}: has shape {list(video.shape)}; give [T, H, W, 3].")
    if video.dtype != np.uint8:
        raise ForeframeError(
            f"{name}: is of {video.dtype}; give uint8 from 0 to 255: "
            "(255 * frames).round().astype('uint8') of floats in [0, 1]."
        )
    return video


def _rows(values: Any, name: str, length: int, *, tracks: bool) -> np.ndarray:
    rows = _array(values, name)
    if rows.ndim != 2 or len(rows) != length or not rows.shape[1]:
        raise ForeframeError(
            f"{name}: has shape {list(rows.shape)}; give [{length}, numbers], one row a frame "
            "(the last action, which acts after the last frame, is not used)."
        )
    if tracks and rows.shape[1] % 2:
        raise ForeframeError(
            f"{name}: has {rows.shape[1]} columns, but each object has two, its x and its y."
        )
    if rows.dtype.kind not in "fiub" or not finite(rows, missing=tracks):
        raise ForeframeError(f"{name}: holds something that is not a finite number.")
    return rows.astype(np.float32)


def _require_condition(config: RunConfig, actions: bool, positions: bool) -> None:
    given = {"actions": actions, "positions": positions}
    # A state with places is driven by actions: there is none without.
    without = 'recipe="svg-small", ' if config.model.net == "places64" else ""
    without += 'condition="none"'
    for name, width in config.model.needs.items():
        if width is not None and not given[name]:
            raise ForeframeError(
                f"fit: the model is conditioned on {name}, and none were given. "
                f"Give {name}, or train without: {without}."
            )


# -- the store ----------------------------------------------------------------------------------


def _divided(lengths: Sequence[int], validate: float) -> list[tuple[int, Piece]]:
    """Pieces for train and validate, each with the number of its recording."""
    if not 0 < validate < 1:
        raise ForeframeError(f"validate={validate}: give a share between 0 and 1.")
    shares, missing = {"validate": validate, "test": 0.0}, ["validate"]
    if len(lengths) < FEW:
        return [
            (n, piece)
            for n, length in enumerate(lengths)
            for piece in divide_by_time(length, missing, shares)
        ]
    names = [str(n) for n in range(len(lengths))]
    splits = divide(names, missing, shares, seed=0)
    return [(n, Piece(splits[name])) for n, name in enumerate(names)]


def _write(
    folder: Path, recordings: list[Recording], pieces: list[tuple[int, Piece]], size: Size
) -> None:
    with whole_folder(folder) as aside:
        for split in ("train", "validate"):
            with write_store(aside / split, {"source": {"importer": "arrays"}}) as store:
                for n, piece in pieces:
                    if piece.split == split:
                        one = _cut(recordings[n], slice(piece.start, piece.stop))
                        store.add(fit_recording(one, Fit.to(size)), str(n))


def _cut(one: Recording, part: slice) -> Recording:
    tables = (one.actions, one.positions, one.tracks)
    return Recording(one.frames[part], *(rows if rows is None else rows[part] for rows in tables))
