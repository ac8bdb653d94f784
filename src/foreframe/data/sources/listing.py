"""What an input holds, as a tree that is printed before anything is imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

FEW = 5
"""Recordings, files and the like that are named; of the others their number is said."""


@dataclass(frozen=True)
class Node:
    """A line of the tree.

    Attributes:
        text: the line.
        below: what belongs to it.
    """

    text: str
    below: tuple["Node", ...] = ()


def tree(node: Node) -> list[str]:
    """The lines of a tree, each level further in."""
    drawn = [node.text]
    for k, child in enumerate(node.below):
        last = k == len(node.below) - 1
        first, *others = tree(child)
        drawn.append(f"{'└' if last else '├'}── {first}")
        drawn += [f"{' ' if last else '│'}   {line}" for line in others]
    return drawn


def few(nodes: Iterable[Node], total: int, what: str = "") -> tuple[Node, ...]:
    """The first of ``total`` nodes, and how many more there are.

    Args:
        nodes: no more of them are made than are shown.
        total: how many there are in all.
        what: what they are, in the plural: "recordings".
    """
    shown = tuple(islice(nodes, total if total <= FEW + 1 else FEW))
    rest = total - len(shown)
    more = f"... and {rest:,} more {what}".rstrip()
    return (*shown, Node(more)) if rest > 0 else shown


def recordings(lengths: Iterable[tuple[str, int]], total: int) -> tuple[Node, ...]:
    """A line for each of the first recordings, from their names and numbers of frames."""
    nodes = (Node(f"{shown(name)}: {frames:,} frames") for name, frames in lengths)
    return few(nodes, total, "recordings")


def spread(lengths: Sequence[int]) -> str:
    """Number of recordings and of their frames, and the shortest and longest one."""
    if not lengths:
        return "0 recordings"
    low, high = min(lengths), max(lengths)
    each = f"{low:,} each" if low == high else f"{low:,} to {high:,} each"
    return f"{counted(len(lengths), 'recording')}, {counted(sum(lengths), 'frame')}, {each}"


def counted(number: int, what: str) -> str:
    """A number of things: 1 file, 2 files."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def array(name: str, dtype: object, shape: Sequence[int]) -> Node:
    """The line of an array."""
    return Node(f"{shown(name)}  {dtype} {list(shape)}")


def shown(name: str) -> str:
    """A name as it may be printed: what is no character of a text is written as its number."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in name
    )
