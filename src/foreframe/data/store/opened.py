"""Splits opened: stores as they are, folders of PNG and CSV by way of a packed copy."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from foreframe.config.model import Size, nets_for, size_options
from foreframe.data.lab import SPLITS, read_sequence
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.data.store.meta import META
from foreframe.data.store.packed import packed_copy
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, unreadable


def open_split(
    root: Place,
    split: str,
    *,
    size: Size = (64, 64),
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store:
    """A split of a dataset as a ``Store``; a lab-layout split is packed first, if it isn't yet.

    Args:
        root: folder with train, validate and test, each in the lab's layout or a store.
        split: its name.
        size: height and width in pixels that the frames are brought to (crop to the
            middle part of that shape, then an area-averaging resize); a store must have them.
        log: told what is packed or resized.
        progress: called with (sequences packed, all) while packing.

    Raises:
        ForeframeError: the data are missing, damaged or a store of another size; names the file.
    """
    try:
        is_store = (root / split / META).is_file()
    except OSError as error:
        raise unreadable(root / split, error) from error
    if is_store:
        store = Store(root / split)
        _require_size(store, root / split, size)
        return store
    if not isinstance(root, Path):
        raise ForeframeError(
            f"{root / split / META}: no such file. Only stores can be used where they lie; import "
            "the data first, and copy the store there."
        )
    return packed_copy(root, split, size, log, progress)


def open_stores(root: Place) -> dict[str, Store]:
    """The stores of an imported dataset by their splits: train, validate and test, or some of them.

    Raises:
        ForeframeError: there are none, or one is damaged.
    """
    stores = {split: Store(root / split) for split in SPLITS if (root / split / META).is_file()}
    if not stores:
        raise ForeframeError(
            f"{root}: holds no stores ({', '.join(SPLITS)}). Give a folder that foreframe import "
            "has made."
        )
    return stores


def read_recording(place: Place, *, size: Size | None = None) -> Recording:
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
    return sequence if size is None else fit_recording(sequence, Fit.to(size))


def _require_size(store: Store, where: Place, size: Size) -> None:
    """Refuse a store whose frames are not of ``size``.

    They were cropped and resized once: doing so again would give other pixels than importing at
    that size, and so numbers that compare with no other.
    """
    if store.size == size:
        return
    height, width = store.size
    nets = " or ".join(nets_for(store.size))
    raise ForeframeError(
        f"{where}: a store of {width}x{height} pixels, but the net takes {size[1]}x{size[0]}. "
        f"Import the data again (foreframe import ... {size_options(size)})"
        + (f", or train a model for this size (--net {nets})." if nets else ".")
    )


def too_short(store: Store, n_frames: int) -> Int[np.ndarray, " short"]:
    """Numbers of the sequences that have fewer than ``n_frames`` frames: no clip fits."""
    return np.flatnonzero(store.lengths < n_frames)


def require(store: Store, *, n_frames: int, needs: Mapping[str, int | None]) -> None:
    """Refuse a split that cannot serve.

    Args:
        store: the split.
        n_frames: frames that every sequence must have at least.
        needs: numbers in "actions" and "positions" that the model takes; None where it takes none.

    Raises:
        ForeframeError: names the sequence, or what is missing, and the remedy.
    """
    short = too_short(store, n_frames)
    if len(short):
        shortest = int(short[store.lengths[short].argmin()])
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
