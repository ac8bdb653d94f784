"""A split of a dataset as plain arrays, for notebooks and for ``foreframe.fit``."""

from typing import Any

import numpy as np

from foreframe.data.store.opened import open_split
from foreframe.system.places import Place, place


def arrays(
    root: Place | str, split: str = "train", *, size: int | tuple[int, int] = 64
) -> tuple[list[np.ndarray], list[np.ndarray] | None, list[np.ndarray] | None]:
    """The frames, actions and positions of every recording of a split, all in memory.

    Args:
        root: folder with train, validate and test, each in the lab's layout or a store.
        split: its name.
        size: height and width of the frames in pixels; one number: as wide as high.

    Returns:
        for each recording uint8 [T, H, W, 3], float32 [T, A] and float32 [T, P]; None in place of
        actions or positions that the dataset does not have.

    Raises:
        ForeframeError: the data are missing, damaged or a store of another size; names the file.
    """
    store = open_split(
        place(str(root)), split, size=(size, size) if isinstance(size, int) else size
    )
    recordings = [store[n] for n in range(len(store))]

    def every(part: str) -> Any:
        if getattr(recordings[0], part) is None:
            return None
        return [np.array(getattr(one, part)) for one in recordings]  # a store's own are read-only

    return every("frames"), every("actions"), every("positions")
