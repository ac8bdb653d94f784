"""One recording in an HDF5 file: where its frames are, and its rows of numbers."""

from contextlib import suppress

import numpy as np

from foreframe.data.sources.feature import FeatureColumns, choose_columns, join_columns
from foreframe.data.sources.hdf5_file import Hdf5File, open_hdf5
from foreframe.data.sources.hdf5_frames import Film, film_at
from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place


def lengths_in(place: Place, paths: list[str]) -> list[int]:
    """Numbers of frames at these paths; 0 where they cannot be read."""
    lengths = [0] * len(paths)
    with open_hdf5(place) as file:
        for k, path in enumerate(paths):
            with suppress(UnusableError, ForeframeError):
                lengths[k] = film_at(file, path).length
    return lengths


def film_and_rows(
    place: Place, path: str, view: str, action: str, position: str
) -> tuple[Film, np.ndarray | None, np.ndarray | None]:
    """Where the frames of a recording are, its actions and its positions.

    Args:
        place: the file.
        path: the group of the recording.
        view: path of the frames in it.
        action: the columns that are actions, as --action names them.
        position: those that are positions.

    Raises:
        UnusableError, ValueError: something is missing, or does not fit together.
    """
    choice = choose_columns(action, position)
    with open_hdf5(place) as file:
        film = film_at(file, f"{path}/{view}")
        actions, positions = (
            join_columns(choice[kind], _tables(file, path, choice[kind], film, kind))
            for kind in ("actions", "positions")
        )
    return film, actions, positions


def _tables(
    file: Hdf5File, path: str, wanted: tuple[FeatureColumns, ...], film: Film, kind: str
) -> dict[str, np.ndarray]:
    """The arrays that have these columns, a row for each frame."""
    return {
        columns.name: _padded(
            file.array(f"{path}/{columns.name}").table(),
            film.length,
            columns.name,
            actions=kind == "actions",
        )
        for columns in wanted
    }


def _padded(rows: np.ndarray, frames: int, name: str, *, actions: bool) -> np.ndarray:
    """``rows`` with one for each frame.

    The action of the last frame leads nowhere: where it is missing, the one before is repeated.

    Raises:
        UnusableError: there are not as many rows as frames.
    """
    if actions and len(rows) == frames - 1 and frames > 1:
        return np.concatenate([rows, rows[-1:]])
    if len(rows) != frames:
        raise UnusableError(f"{shown(name)} has {len(rows)} rows, but there are {frames} frames")
    return rows
