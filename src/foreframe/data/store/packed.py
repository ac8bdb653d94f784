"""Packed copies of splits in the lab's layout, so that their PNGs are decoded once.

A copy is a store in ``ROOT/.foreframe``, one for each size of frames that is asked for; it is made
again when any file of the split has changed.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foreframe.config.model import Size
from foreframe.data.lab import TRACKS, list_sequences, read_sequence, split_folder
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.data.store.meta import META
from foreframe.data.store.shard_cache import user_cache
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.system.asides import sweep
from foreframe.system.workers import in_threads

CACHE = ".foreframe"


def packed_copy(
    root: Path,
    split: str,
    size: Size,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Store:
    """The packed copy of a split, made if it is missing, damaged or outdated.

    Args:
        root: folder of the dataset.
        split: name of the split.
        size: height and width of the frames in the copy, in pixels.
        log: told what is packed or resized.
        progress: called with (sequences packed, all).

    Raises:
        ForeframeError: the data are missing or damaged, or the copy can be written nowhere.
    """
    sequences = list_sequences(root, split)
    fingerprint = _fingerprint(split_folder(root, split))
    name = f"{split}-{size[0]}x{size[1]}-{fingerprint}"
    parents = _cache_parents(root)
    for copy in (parent / name for parent in parents):
        if copy.exists():
            try:
                return Store(copy, root)
            except ForeframeError:
                # A damaged packed copy is only a copy: it is made again.
                shutil.rmtree(copy, ignore_errors=True)
    parent = next((folder for folder in parents if _can_write(folder)), None)
    if parent is None:
        raise ForeframeError(
            f"{root}: the packed copy of the data can be written neither there nor in the home "
            "folder's cache. Set XDG_CACHE_HOME to a folder that you may write to."
        )
    log(f"{root / split}: packing {len(sequences)} sequences into {parent} (once)")
    try:
        _pack(root, split, sequences, size, parent / name, log, progress)
    except ForeframeError:
        # Two processes may pack at once; whoever comes second uses the copy of the first.
        if not (parent / name / META).is_file():
            with suppress(OSError):  # the folder was made for this copy, unless it holds others
                parent.rmdir()
            raise
    _remove_outdated(parent, split, fingerprint)
    return Store(parent / name, root)


def _remove_outdated(parent: Path, split: str, fingerprint: str) -> None:
    # Copies of the data as they are now stay, of whatever size: models of both may be in use.
    for copy in parent.glob(f"{split}-*x*-*"):
        if not copy.name.endswith(f"-{fingerprint}"):
            shutil.rmtree(copy, ignore_errors=True)
    sweep(parent)


def _cache_parents(root: Path) -> list[Path]:
    """Where packed copies may lie: beside the data, or, if that cannot be written, at home."""
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return [root / CACHE, user_cache() / label]


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


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
                    if entry.name == TRACKS:
                        # Versions that did not know tracks made copies of such folders without.
                        digest.update(b"with tracks\n")
    return digest.hexdigest()[:16]


def _pack(
    root: Path,
    split: str,
    sequences: list[Path],
    size: Size,
    folder: Path,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    resized_from: set[tuple[int, int]] = set()

    def read(path: Path) -> Recording:
        recording = read_sequence(path)
        if recording.frames.shape[1:3] != size:
            resized_from.add(recording.frames.shape[1:3])
        return fit_recording(recording, Fit.to(size))

    # Threads: Pillow releases the interpreter while it decodes.
    with write_store(folder, source=root) as out:
        recordings = in_threads(read, sequences, os.cpu_count() or 1)
        for path, recording in zip(sequences, recordings, strict=True):
            out.add(recording, str(path.relative_to(root)))
            progress(len(out), len(sequences))
    for height, width in sorted(resized_from):
        same = height * size[1] == width * size[0]
        part = "square" if size[0] == size[1] else "part"
        crop = "" if same else f"cropped to the middle {part} and "
        log(
            f"{root / split}: frames of {width}x{height} pixels were {crop}resized to "
            f"{size[1]}x{size[0]}"
        )
