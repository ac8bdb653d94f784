"""Files and folders that are written whole or not at all: aside first, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foreframe.errors import ForeframeError
from foreframe.system.asides import aside as name_aside


def _cannot_write(path: Path, error: OSError) -> ForeframeError:
    reason = error.strerror or str(error)
    return ForeframeError(
        f"{path}: could not be written ({reason}); nothing there was changed. "
        "Free some space or choose a folder that you may write to, then run the command again."
    )


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above ``path``; those that were made go again if the block fails."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what else was put into them meanwhile stays
            for parent in made:
                parent.rmdir()
        raise


def _keep_names(folder: Path) -> None:
    """Have the names in ``folder`` written to the disk, where the system can: also the new one."""
    # The file is in its place already: after a power cut there is the old one or the new one.
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes its place only if the block succeeds.

    The name keeps the suffix of ``path`` out of sight (``.name.<writer>.part``), so give writers
    that guess a format from the name that format explicitly.

    Raises:
        ForeframeError: the file could not be written (no space, no permission).
    """
    path = Path(path)
    aside = name_aside(path)
    try:
        with _parents(path):
            try:
                yield aside
                # A power cut after the rename must not leave an empty file under the final name.
                with open(aside, "rb") as written:
                    os.fsync(written.fileno())
                os.replace(aside, path)
                _keep_names(path.parent)
            finally:
                with suppress(OSError):
                    aside.unlink()
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; it becomes ``path`` only if the block succeeds.

    Raises:
        ForeframeError: the folder could not be written, or ``path`` exists and is not empty.
    """
    path = Path(path)
    aside = name_aside(path)
    try:
        _refuse_taken(path)
        with _parents(path):
            aside.mkdir()
            try:
                yield aside
                _refuse_taken(path)
                _sync_below(aside)
                os.replace(aside, path)
                _keep_names(path.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    except ForeframeError as error:
        if str(aside) in str(error):  # a file inside: named by where it was going to be
            raise ForeframeError(str(error).replace(str(aside), str(path))) from error
        raise


def _sync_below(folder: Path) -> None:
    """Let the disk have every file in a folder, and the names of them."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as written:
                os.fsync(written.fileno())
        _keep_names(Path(place))


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


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        ForeframeError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ForeframeError(f"{path}: no such file. Is this the folder of a run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ForeframeError(
            f"{path}: cannot be read as JSON ({error}). Restore it from a copy."
        ) from error
