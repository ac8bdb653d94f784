"""What to do about a damaged weights file: the sound checkpoint of the same run to use instead."""

import json
from pathlib import Path

from foreframe.runs.folder import BEST, LAST, LAST_GOOD, LAST_PREVIOUS
from foreframe.runs.sealed import Contents, Unsound, read_sealed

_CHECKPOINTS = (LAST, LAST_PREVIOUS, LAST_GOOD)


def remedy(path: Path) -> str:
    """One or two sentences on how to go on without ``path``, which is damaged.

    Args:
        path: a weights file; its run folder is looked through for a checkpoint that is sound.
    """
    if path.name not in (BEST, *_CHECKPOINTS):
        return "Restore it from a copy."
    found = _furthest(path)
    if found is None:
        return "Restore it from a copy: the folder has no other checkpoint that is sound."
    other, where = found
    if path.name == BEST:
        return (
            f"Restore it from a copy; or call the training again with --resume, which writes "
            f"weights anew from {other}, which is sound ({where})."
        )
    return (
        f"Restore it from {other}, which is sound ({where}): copy that file over this one, and go "
        "on with --resume."
    )


def _furthest(damaged: Path) -> tuple[Path, str] | None:
    """The sound checkpoint beside ``damaged`` that is furthest on, and where it stands."""
    best: tuple[int, int, Path] | None = None
    for name in _CHECKPOINTS:
        other = damaged.with_name(name)
        if name == damaged.name or not other.is_file():
            continue
        found = stands(other)
        if found is not None and (best is None or found > best[:2]):
            best = (*found, other)
    if best is None:
        return None
    epoch, step, other = best
    return other, f"it stands at step {step} of epoch {epoch + 1}"


def stands(path: Path) -> tuple[int, int] | None:
    """Epoch and step of a sound checkpoint; None if it is none."""
    try:
        contents: Contents = read_sealed(path)
        progress = json.loads(contents.metadata["progress"])
        return int(progress["epoch"]), int(progress["step"])
    except (Unsound, LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
