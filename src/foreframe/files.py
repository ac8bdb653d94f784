"""Files and folders that are written whole or not at all: aside first, then renamed."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foreframe.errors import ForeframeError


def _aside(path: Path) -> Path:
    # The same folder as the target, so that the rename never crosses a file system.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")


def _cannot_write(path: Path, error: OSError) -> ForeframeError:
    reason = error.strerror or str(error)
    return ForeframeError(
        f"{path}: could not be written ({reason}); nothing there was changed. "
        "Free some space or choose a folder that you may write to, then run the command again."
    )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes its place only if the block succeeds.

    The name keeps the suffix of ``path`` out of sight (``.name.<id>.part``), so give writers that
    guess a format from the name that format explicitly.

    Raises:
        ForeframeError: the file could not be written (no space, no permission).
    """
    path = Path(path)
    aside = _aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        # A power cut after the rename must not leave an empty file under the final name.
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; it becomes ``path`` only if the block succeeds.

    Raises:
        ForeframeError: the folder could not be written, or ``path`` exists and is not empty.
    """
    path = Path(path)
    aside = _aside(path)
    try:
        _refuse_taken(path)
        aside.mkdir(parents=True)
        yield aside
        _refuse_taken(path)
        os.replace(aside, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refuse_taken(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ForeframeError(
            f"{path}: exists already; nothing there was changed. Remove it, or give another name."
        )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
