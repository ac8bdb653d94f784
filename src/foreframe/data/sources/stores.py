"""A dataset of stores as a source: made again of one view, of several side by side, or slower."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.lab import SPLITS
from foreframe.data.sources.listing import Node, array, counted, few
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.data.store.meta import META
from foreframe.data.store.opened import open_stores
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_PER_PART = 256
_ENDING = re.compile(r"(?P<clip>(?:@\d+)*)(?::(?P<view>[^@]*))?(?P<cut>(?:@\d+)*)")


@dataclass(frozen=True)
class StoreSource(Source):
    """A dataset that foreframe has made: other views, another size or rate, as a new dataset."""

    input: Place
    """Root of the dataset, with the stores train, validate and test, or some of them."""
    views: str = ""
    """Views (cameras) to take, as in top,wrist: several become one wide frame, the first at the
    left. By default each view stays a sequence of its own."""

    def parts(self) -> list[Part]:
        return [
            Part(
                f"{split}-{first:06d}",
                self.input / split,
                split,
                {"groups": groups[first : first + _PER_PART]},
                (self.input / split / META,),
            )
            for split, store in self._stores().items()
            for groups in [self._groups(store)]
            for first in range(0, len(groups), _PER_PART)
        ]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        store = Store(part.place)
        return [
            (self._name(store, group), int(store.lengths[group[0]]))
            for group in part.select["groups"]
        ]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        try:
            store = Store(part.place)
        except ForeframeError as error:
            yield Skip(part.name, str(error).rstrip("."))
            return
        wanted = self._views()
        for group in part.select["groups"]:
            name = self._name(store, group)
            there = [_ending(store, n)[0] for n in group]
            missing = [view for view in wanted if view not in there]
            if missing:
                yield Skip(name, f"it has no view {', '.join(missing)}")
                continue
            lengths = {int(store.lengths[n]) for n in group}
            if len(lengths) > 1:
                yield Skip(name, f"its views have {' and '.join(map(str, sorted(lengths)))} frames")
                continue
            first = store[group[0]]
            yield RawRecording(
                name,
                first.frames if len(group) == 1 else _side_by_side(store, group),
                first.actions,
                first.positions,
                view="" if wanted else there[0],
                # Where things are in a frame of several views nobody has said.
                tracks=first.tracks if len(group) == 1 else None,
                task=store.tasks[group[0]],
                of=store.recordings[group[0]],
            )

    def group(self, name: str) -> str:
        return name.split("@", 1)[0]

    def describe(self) -> dict[str, Any]:
        origin = next(iter(self._stores().values())).origin
        kept = ("frame_rate", "units", "dataset", "columns")
        told = {key: origin[key] for key in kept if key in origin}
        camera = self.views or origin.get("camera")
        return told | ({} if camera is None else {"camera": camera})

    def listing(self) -> Node:
        nodes: list[Node] = []
        for split, store in self._stores().items():
            height, width = store.size
            tables = {"actions": store.action_dim, "positions": store.position_dim}
            views = sorted({view for n in range(len(store)) if (view := _ending(store, n)[0])})
            recordings = counted(len(set(store.recordings)), "recording")
            sequences = counted(len(store), "sequence")
            low, high = int(store.lengths.min()), int(store.lengths.max())
            nodes.append(
                Node(
                    f"{split}: {recordings}, {sequences} ({low} to {high} frames)",
                    (
                        array("each frame", "uint8", [height, width, 3]),
                        *(
                            array(f"{name} of each frame", "float32", [columns])
                            for name, columns in tables.items()
                            if columns is not None
                        ),
                        *([Node("views", few(map(Node, views), len(views)))] if views else []),
                    ),
                )
            )
        return Node(str(self.input), tuple(nodes))

    def _stores(self) -> dict[str, Store]:
        stores = open_stores(self.input)
        return {split: stores[split] for split in SPLITS if split in stores}

    def _views(self) -> list[str]:
        views = [view.strip() for view in self.views.split(",")] if self.views else []
        if not all(views) or len(set(views)) < len(views):
            raise ForeframeError(f"--views {self.views}: give each view once, as in top,wrist.")
        return views

    def _groups(self, store: Store) -> list[list[int]]:
        """Numbers of the sequences that become one, in the order of the views.

        Raises:
            ForeframeError: the dataset has no such view.
        """
        wanted = self._views()
        if not wanted:
            return [[n] for n in range(len(store))]
        groups: dict[tuple[str, str], dict[str, int]] = {}
        for n, recording in enumerate(store.recordings):
            view, clip = _ending(store, n)
            if groups.setdefault((recording, clip), {}).setdefault(view, n) != n:
                raise ForeframeError(
                    f"{store.folder}: has {recording}{clip} twice{f' as {view}' if view else ''}. "
                    "Import it again."
                )
        known = sorted({view for group in groups.values() for view in group})
        for view in wanted:
            if view not in known:
                raise ForeframeError(
                    f"{store.folder}: --views {self.views}: there is no view {view}; there are "
                    f"{', '.join(known) if any(known) else 'none, each recording is one sequence'}."
                )
        # A recording without all of them is skipped by name when its turn comes.
        return [
            [group[view] for view in wanted if view in group] or [next(iter(group.values()))]
            for group in groups.values()
        ]

    def _name(self, store: Store, group: Sequence[int]) -> str:
        return store.recordings[group[0]] + _ending(store, group[0])[1]


def _ending(store: Store, number: int) -> tuple[str, str]:
    """The view of a sequence, and "@" with the first frame where it is a clip; else nothing."""
    rest = store.names[number].removeprefix(store.recordings[number])
    match = _ENDING.fullmatch(rest)
    if match is None:
        raise ForeframeError(
            f"{store.source / store.names[number]}: is neither a view nor a clip of "
            f"{store.recordings[number]}, as its store says. Import it again."
        )
    return match["view"] or "", match["clip"] + match["cut"]


def _side_by_side(store: Store, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    views = [store[n].frames for n in numbers]
    for frames in zip(*views, strict=True):
        yield np.concatenate(frames, 1)
