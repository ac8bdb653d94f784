"""Splits opened, batches made: from a folder of PNG and CSV, or from stores, to ``Clip``.

A lab-layout split is decoded once and kept packed (``Store``) in ``ROOT/.foreframe``; the packed
copy is made anew when any file of the split has changed.
"""

import hashlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foreframe.clip import Clip
from foreframe.data.lab import FILES, Sequence, list_sequences, read_sequence
from foreframe.data.store import META, Store, write_store
from foreframe.errors import ForeframeError

CACHE = ".foreframe"

_ABANDONED = 24 * 3600.0
"""Seconds without a write after which a half-made packed copy is a killed process's."""


# -- opening ------------------------------------------------------------------------------------


def open_split(
    root: Path,
    split: str,
    *,
    size: int = 64,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store:
    """A split of a dataset as a ``Store``; a lab-layout split is packed first, if it isn't yet.

    Args:
        root: folder with train, validate and test, each in the lab's layout or a store.
        split: its name.
        size: height and width that the frames are brought to (crop to the middle square, then an
            area-averaging resize); a store must have them.
        log: told what is packed or resized.
        progress: called with (sequences packed, all) while packing.

    Raises:
        ForeframeError: the data are missing or damaged; names the file.
    """
    if (root / split / META).is_file():
        store = Store(root / split)
        if store.size != (size, size):
            raise ForeframeError(
                f"{root / split}: a store of {store.size[1]}x{store.size[0]} pixels, but "
                f"{size}x{size} are needed. Make it again from its source at that size."
            )
        return store
    sequences = list_sequences(root, split)
    fingerprint = _fingerprint(root / split)
    name = f"{split}-{size}x{size}"
    parents = _cache_parents(root)
    for parent in parents:
        cache = parent / f"{name}-{fingerprint}"
        if cache.exists():
            try:
                return Store(cache, root)
            except ForeframeError:
                # A damaged packed copy is only a copy: it is made anew.
                shutil.rmtree(cache, ignore_errors=True)
    writable = next((parent for parent in parents if _can_write(parent)), None)
    if writable is None:
        raise ForeframeError(
            f"{root}: the packed copy of the data can be written neither there nor in the home "
            "folder's cache. Set XDG_CACHE_HOME to a folder that you may write to."
        )
    log(f"{root / split}: packing {len(sequences)} sequences into {writable} (once)")
    cache = writable / f"{name}-{fingerprint}"
    try:
        _pack(root, split, sequences, size, cache, log, progress)
    except ForeframeError:
        # Two processes may pack at once; whoever comes second finds the copy made.
        if not (cache / META).is_file():
            with suppress(OSError):  # the folder was made for this copy, unless it holds others
                writable.rmdir()
            raise
    for outdated in writable.glob(f"{name}-*"):
        if outdated != cache:
            shutil.rmtree(outdated, ignore_errors=True)
    for part in writable.glob(f".{name}-*.part"):
        if _last_write(part) < time.time() - _ABANDONED:
            shutil.rmtree(part, ignore_errors=True)
    return Store(cache, root)


def _last_write(folder: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in folder.iterdir())
    except (OSError, ValueError):  # its owner has just begun, or renamed it
        return time.time()


def _cache_parents(root: Path) -> list[Path]:
    """Where packed copies may lie: beside the data, or, if that cannot be written, at home."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return [root / CACHE, home / "foreframe" / label]


def _fingerprint(folder: Path) -> str:
    """A digest of every file's path, size and time of change under ``folder``."""
    digest = hashlib.sha256()
    pending = [(str(folder), "")]
    while pending:
        path, relative = pending.pop()
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = f"{relative}/{entry.name}"
                if entry.is_dir():
                    # SHARD and N; nothing deeper is read, and a link there may lead back up.
                    if name.count("/") <= 2:
                        pending.append((entry.path, name))
                else:
                    try:
                        stat = entry.stat()
                    except FileNotFoundError:  # a link to nothing: reading will name it
                        stat = entry.stat(follow_symlinks=False)
                    digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _pack(
    root: Path,
    split: str,
    sequences: list[Path],
    size: int,
    folder: Path,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    resized_from: set[tuple[int, int]] = set()

    def read(path: Path) -> Sequence:
        sequence = read_sequence(path)
        if sequence.frames.shape[1:3] != (size, size):
            resized_from.add(sequence.frames.shape[1:3])
        return resize_sequence(sequence, size)

    # Pillow releases the interpreter while it decodes. A bounded window keeps memory flat.
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool, write_store(folder, source=root) as out:
        window = 4 * workers
        pending = [pool.submit(read, path) for path in sequences[:window]]
        for i, path in enumerate(sequences):
            out.add(pending.pop(0).result(), str(path.relative_to(root)))
            progress(i + 1, len(sequences))
            if i + window < len(sequences):
                pending.append(pool.submit(read, sequences[i + window]))
    for height, width in sorted(resized_from):
        crop = "" if height == width else "cropped to the middle square and "
        log(
            f"{root / split}: frames of {width}x{height} pixels were {crop}resized to {size}x{size}"
        )


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def resize_sequence(sequence: Sequence, size: int) -> Sequence:
    """Bring frames to ``size`` x ``size``: the middle square, then area averaging."""
    height, width = sequence.frames.shape[1:3]
    if (height, width) == (size, size):
        return sequence
    edge = min(height, width)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    frames = [
        np.asarray(
            Image.fromarray(frame).resize(
                (size, size),
                Image.Resampling.BOX if edge >= size else Image.Resampling.BICUBIC,
                box,
            )
        )
        for frame in sequence.frames
    ]
    return replace(sequence, frames=np.stack(frames))


def require(store: Store, *, n_frames: int, needs: Mapping[str, int | None]) -> None:
    """Refuse a split that cannot serve.

    Args:
        store: the split.
        n_frames: frames that every sequence must have at least.
        needs: numbers in "actions" and "positions" that the model takes; None where it takes none.

    Raises:
        ForeframeError: names the sequence, or what is missing, and the remedy.
    """
    shortest = int(store.lengths.argmin())
    if store.lengths[shortest] < n_frames:
        raise ForeframeError(
            f"{store.source / store.names[shortest]}: {store.lengths[shortest]} frames, but "
            f"n_past + n_future = {n_frames} are needed. "
            "Lower --n-future, or remove short sequences."
        )
    widths = {"actions": store.action_dim, "positions": store.position_dim}
    require_rows(store.source / store.names[0], widths, needs)


def require_rows(
    where: Path, widths: Mapping[str, int | None], needs: Mapping[str, int | None]
) -> None:
    """Refuse actions or positions that a model cannot take.

    Args:
        where: what they were read from.
        widths: numbers in "actions" and "positions" that are there; None where there are none.
        needs: those that the model takes.

    Raises:
        ForeframeError: names what is missing or of another width, and the remedy.
    """
    for name, needed in needs.items():
        width = widths[name]
        if needed is not None and width is None:
            raise ForeframeError(
                f"{where}: there are no {name}, and the model is conditioned on them. "
                f"Add {FILES[name]}, or train with a --condition without {name}."
            )
        if needed is not None and width != needed:
            raise ForeframeError(
                f"{where / FILES[name]}: {width} columns, but the model takes {needed}. "
                "Give data with the columns that it was trained on, or train another model."
            )


# -- batches ------------------------------------------------------------------------------------


def _clip(store: Store, indices: list[int], starts: list[int], n_frames: int) -> Clip:
    rows = [
        slice(store.starts[i] + start, store.starts[i] + start + n_frames)
        for i, start in zip(indices, starts, strict=True)
    ]

    def stack(part: np.ndarray | None) -> torch.Tensor | None:
        return None if part is None else torch.from_numpy(np.stack([part[row] for row in rows]))

    frames = stack(store.frames)
    assert frames is not None
    return Clip(frames.permute(0, 1, 4, 2, 3), stack(store.actions), stack(store.positions))


def training_batch(
    store: Store, *, n_frames: int, batch_size: int, seed: int, global_step: int
) -> Clip:
    """The batch of a step: a function of the seed and the step alone.

    The sequences are gone through in a new random order each time; batches run on across these
    passes, so that every sequence is seen equally often. Starts are uniform over all that fit.

    Args:
        store: the training split.
        n_frames: frames T of each clip.
        batch_size: clips B.
        seed: of the order and the starts.
        global_step: steps since the beginning of the run.

    Returns:
        uint8 frames [B, T, 3, H, W] with actions and positions as the store has them.
    """
    first = global_step * batch_size
    indices: list[int] = []
    orders: dict[int, np.ndarray] = {}
    for k in range(first, first + batch_size):
        lap, place = divmod(k, len(store))
        if lap not in orders:
            orders[lap] = np.random.default_rng((seed, 0, lap)).permutation(len(store))
        indices.append(int(orders[lap][place]))
    random = np.random.default_rng((seed, 4, global_step))
    starts = [int(random.integers(store.lengths[i] - n_frames + 1)) for i in indices]
    return _clip(store, indices, starts, n_frames)


def evaluation_batches(
    store: Store, *, n_frames: int, batch_size: int, limit: int | None = None
) -> Iterator[Clip]:
    """The first ``n_frames`` frames of the sequences in order; the last batch may be smaller."""
    n = len(store) if limit is None else min(limit, len(store))
    for first in range(0, n, batch_size):
        indices = list(range(first, min(first + batch_size, n)))
        yield _clip(store, indices, [0] * len(indices), n_frames)


@contextmanager
def prefetch(
    store: Store,
    *,
    n_frames: int,
    batch_size: int,
    seed: int,
    first_step: int,
    pin_memory: bool = False,
    depth: int = 2,
) -> Iterator[Iterator[Clip]]:
    """An endless iterator of ``training_batch`` from ``first_step`` on, made ahead by one thread.

    Args:
        store: the training split.
        n_frames: see ``training_batch``.
        batch_size: see ``training_batch``.
        seed: see ``training_batch``.
        first_step: global step of the first batch.
        pin_memory: for faster copies to a GPU.
        depth: batches made ahead.
    """
    made: queue.Queue[Clip | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Clip | BaseException) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        step = first_step
        try:
            while not stopped.is_set():
                clip = training_batch(
                    store, n_frames=n_frames, batch_size=batch_size, seed=seed, global_step=step
                )
                put(clip.pinned() if pin_memory else clip)
                step += 1
        except BaseException as error:  # handed to whoever asks for the next batch
            put(error)

    def take() -> Iterator[Clip]:
        while not stopped.is_set():  # after the block there is nobody left to wait for
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="foreframe-batches", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
