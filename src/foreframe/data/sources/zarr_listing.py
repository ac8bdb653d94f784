"""What a zarr holds, as a tree: its arrays with shapes and types, and its episodes."""

import warnings
from typing import Any

import numpy as np

from foreframe.data.sources.listing import Node, array, few, recordings, spread
from foreframe.data.sources.source import reason
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_MANY = 20


def list_zarr(place: Place, store: Any, ends: str, damage: tuple[type[Exception], ...]) -> Node:
    """The tree of an open store.

    Args:
        place: where it is, for messages.
        store: as zarr opens it.
        ends: name of the array that divides it into episodes.
        damage: what zarr raises for damaged metadata.

    Raises:
        ForeframeError: it is no zarr.
    """
    import zarr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other files in the folder
            group = zarr.open_group(store=store, mode="r")
            members = sorted(group.members(max_depth=None))
    except damage as error:
        raise ForeframeError(f"{place}: cannot be read as zarr ({reason(error)}).") from error
    found: dict[str, Any] = {
        name: member for name, member in members if isinstance(member, zarr.Array)
    }
    nodes = [array(name, member.dtype, member.shape) for name, member in found.items()]
    return Node(
        f"{place}: zarr, format {group.metadata.zarr_format}",
        (
            Node("arrays", few(nodes, len(nodes), "arrays") if len(nodes) > _MANY else (*nodes,)),
            _episodes(found.get(ends), ends, damage),
        ),
    )


def _episodes(member: Any, name: str, damage: tuple[type[Exception], ...]) -> Node:
    if member is None:
        return Node(f"no {name}, which divides a replay buffer into episodes")
    try:
        counts = np.diff(np.asarray(member[:]).astype(np.int64), prepend=0).tolist()
    except damage as error:
        return Node(f"{name} cannot be read ({reason(error)})")
    return Node(
        spread(counts), recordings(((str(k), n) for k, n in enumerate(counts)), len(counts))
    )
