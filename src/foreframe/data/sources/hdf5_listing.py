"""What HDF5 files hold, as a tree: groups, datasets with shapes and types, recordings."""

from contextlib import suppress
from typing import TYPE_CHECKING

from foreframe.data.sources.hdf5_file import Hdf5File, open_hdf5
from foreframe.data.sources.hdf5_form import form_of, splits_of
from foreframe.data.sources.hdf5_frames import film_at
from foreframe.data.sources.listing import FEW, Node, counted, few, recordings, shown
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

if TYPE_CHECKING:
    from foreframe.data.sources.hdf5 import Like

_MANY = 12
"""Members of a group that are all named; of more, the first few."""
_DEEPEST = 6
_TRIED = 8
"""Files that are looked at before it is said that none can be read."""


def list_hdf5(place: Place, files: list[str], like: "Like | str") -> Node:
    """The tree of a file, or of the first one of a folder that can be read.

    Args:
        place: the file or the folder.
        files: the files by their paths in it.
        like: what an import would take, or why it would be refused.

    Raises:
        ForeframeError: none of the first few files can be read.
    """
    nodes: list[Node] = []
    if len(files) > 1:
        nodes.append(Node(f"{len(files):,} files", few(map(Node, map(shown, files)), len(files))))
    failures: list[str] = []
    for name in files[:_TRIED]:
        try:
            with open_hdf5(place / name if place.is_dir() else place) as file:
                nodes += _of_file(file, shown(name), like)
            break
        except UnusableError as error:
            failures.append(f"{shown(name)}: {error}")
    else:
        raise ForeframeError(f"{place}: no file can be read ({failures[0]}).")
    nodes += map(Node, failures)
    return Node(f"{place}: HDF5, {counted(len(files), 'file')}", (*nodes, _taken(like)))


def _taken(like: "Like | str") -> Node:
    """What an import without further options would take."""
    if isinstance(like, str):
        return Node(f"An import without options would be refused: {like}")
    return Node(
        "An import takes",
        (
            Node(f"form: {like.form}"),
            Node(f"--image {shown(','.join(like.views))}"),
            Node(f"--action {shown(like.action) or 'none'}"),
            Node(f"--position {shown(like.position) or 'none'}"),
            *(Node(shown(text)) for text in like.told),
        ),
    )


def _of_file(file: Hdf5File, name: str, like: "Like | str") -> list[Node]:
    form = form_of(file)
    pattern = form.episodes if isinstance(like, str) and form else getattr(like, "episodes", "")
    episodes = file.matching(pattern) if pattern else []
    nodes = [Node(name, tuple(_members(file, "", frozenset(episodes[1:]))))]
    if form is not None:
        nodes.append(Node(f"form: {form.name}"))
    if not isinstance(like, str) and like.rate:
        nodes.append(Node(f"{like.rate:g} steps a second"))
    if episodes:
        lengths = [(path, _length(file, path, like)) for path in episodes[: FEW + 1]]
        what = counted(len(episodes), "recording")
        nodes.append(Node(f"{what} ({pattern})", recordings(lengths, len(episodes))))
    with suppress(UnusableError):
        nodes += [
            Node(f"split {split}: {counted(len(own), 'recording')}")
            for split, own in splits_of(file).items()
        ]
    return nodes


def _length(file: Hdf5File, path: str, like: "Like | str") -> int:
    """Frames of a recording; where the camera is not known, rows of its longest array."""
    with suppress(UnusableError, ForeframeError):
        if not isinstance(like, str):
            return film_at(file, f"{path}/{like.views[0]}").length
    lengths = [0]
    for name in file.below(path, most=50):
        with suppress(UnusableError):
            lengths += file.array(f"{path}/{name}").shape[:1]
    return max(lengths)


def _members(file: Hdf5File, path: str, closed: frozenset[str], depth: int = 0) -> list[Node]:
    """A line for each member of a group; those of ``closed`` are not looked into."""
    try:
        names = file.names(path)
    except UnusableError as error:
        return [Node(str(error))]
    taken = names if len(names) <= _MANY else names[:FEW]
    nodes = [_member(file, f"{path}/{name}".strip("/"), name, closed, depth) for name in taken]
    rest = len(names) - len(taken)
    return [*nodes, Node(f"... and {rest:,} more")] if rest else nodes


def _member(file: Hdf5File, path: str, name: str, closed: frozenset[str], depth: int) -> Node:
    if path in closed:
        return Node(f"{shown(name)}/ ...")
    try:
        if file.is_group(path):
            inside = depth < _DEEPEST
            below = _members(file, path, closed, depth + 1) if inside else [Node("...")]
            return Node(f"{shown(name)}/", tuple(below))
        array = file.array(path)
    except UnusableError as error:
        return Node(f"{shown(name)}  ({error})")
    return Node(f"{shown(name)}  {array.kind} {list(array.shape)}")
