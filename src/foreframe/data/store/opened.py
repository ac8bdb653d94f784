"""Splits opened: stores as they are, folders of PNG and CSV by way of a packed copy.

A lab-layout split is decoded once and kept packed (``Store``) in ``ROOT/.foreframe``, a copy for
each size of frames that is asked for; it is made anew when any file of the split has changed.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from foreframe.config.model import nets_for
from foreframe.data.lab import list_sequences, read_sequence
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.data.store.shard_cache import user_cache
from foreframe.data.store.store import META, Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, unreadable

CACHE = ".foreframe"

_ABANDONED = 24 * 3600.0
"""Seconds without a write after which a half-made packed copy is a killed process's."""


def open_split(
    root: Place,
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
        size: height and width in pixels that the frames are brought to (crop to the middle square,
            then an area-averaging resize); a store must have them.
        log: told what is packed or resized.
        progress: called with (sequences packed, all) while packing.

    Raises:
        ForeframeError: the data are missing, damaged or a store of another size; names the file.
    """
    try:
        packed = (root / split / META).is_file()
    except OSError as error:
        raise unreadable(root / split, error) from error
    if packed:
        store = Store(root / split)
        _require_size(store, root / split, size)
        return store
    if not isinstance(root, Path):
        raise ForeframeError(
            f"{root / split / META}: no such file. Only stores can be used where they lie; import "
            "the data first, and copy the store there."
        )
    sequences = list_sequences(root, split)
    fingerprint = _fingerprint(root / split)
    name = f"{split}-{size}x{size}-{fingerprint}"
    parents = _cache_parents(root)
    for parent in parents:
        cache = parent / name
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
    cache = writable / name
    try:
        _pack(root, split, sequences, size, cache, log, progress)
    except ForeframeError:
        # Two processes may pack at once; whoever comes second finds the copy made.
        if not (cache / META).is_file():
            with suppress(OSError):  # the folder was made for this copy, unless it holds others
                writable.rmdir()
            raise
    # Copies of the data as they are now stay, of whatever size: models of both may be in use.
    for copy in writable.glob(f"{split}-*x*-*"):
        if not copy.name.endswith(f"-{fingerprint}"):
            shutil.rmtree(copy, ignore_errors=True)
    for part in writable.glob(f".{split}-*x*-*.part"):
        if _last_write(part) < time.time() - _ABANDONED:
            shutil.rmtree(part, ignore_errors=True)
    return Store(cache, root)


def read_recording(place: Place, *, size: int | None = None) -> Recording:
    """One recording of a dataset: a folder in the lab's layout, or STORE/<split>/<its number>.

    Args:
        place: where it is.
        size: height and width in pixels that the frames of a folder are brought to, and that a
            store must have; None to take them as they are.

    Raises:
        ForeframeError: there is none, it is damaged, or a store has frames of another size.
    """
    folder = place.parent
    if place.name.isdecimal() and (folder / META).is_file():
        store = Store(folder)
        if int(place.name) >= len(store):
            raise ForeframeError(f"{place}: the store has the sequences 0 to {len(store) - 1}.")
        if size is not None:
            _require_size(store, folder, size)
        return store[int(place.name)]
    if not isinstance(place, Path):
        raise ForeframeError(f"{place}: there is no store. Give STORE/<split>/<number>.")
    sequence = read_sequence(place)
    return sequence if size is None else fit_recording(sequence, Fit(size))


def _require_size(store: Store, where: Place, size: int) -> None:
    """Refuse a store whose frames are not ``size`` x ``size``.

    They were cropped and resized once: doing so again would give other pixels than importing at
    that size, and so numbers that compare with no other.
    """
    if store.size == (size, size):
        return
    height, width = store.size
    nets = " or ".join(nets_for(store.size))
    raise ForeframeError(
        f"{where}: a store of {width}x{height} pixels, but the net takes {size}x{size}. "
        f"Import the data again (foreframe import ... --size {size})"
        + (f", or train a model for this size (--net {nets})." if nets else ".")
    )


def _last_write(folder: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in folder.iterdir())
    except (OSError, ValueError):  # its owner has just begun, or renamed it
        return time.time()


def _cache_parents(root: Path) -> list[Path]:
    """Where packed copies may lie: beside the data, or, if that cannot be written, at home."""
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return [root / CACHE, user_cache() / label]


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

    def read(path: Path) -> Recording:
        sequence = read_sequence(path)
        if sequence.frames.shape[1:3] != (size, size):
            resized_from.add(sequence.frames.shape[1:3])
        return fit_recording(sequence, Fit(size))

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
    where: Place, widths: Mapping[str, int | None], needs: Mapping[str, int | None]
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
                f"Add them, or train with a --condition without {name}."
            )
        if needed is not None and width != needed:
            raise ForeframeError(
                f"{where}: {width} columns of {name}, but the model takes {needed}. "
                "Give data with the columns that it was trained on, or train another model."
            )
