"""One pass over a split: every frame is read once, and little is kept of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from foreframe.check.camera import SlowCamera
from foreframe.check.excerpt import Excerpt
from foreframe.check.findings import Finding, SplitSummary, some
from foreframe.check.look import MOTION_FRAMES, Look, look_at
from foreframe.check.numbers import ColumnScan
from foreframe.check.repeats import Seen
from foreframe.data.recording import Recording, finite
from foreframe.data.store.store import Store
from foreframe.system.workers import in_threads

_STANDSTILL = 5
"""Equal frames in a row that are reported, if they are a quarter of the sequence."""

_FAULTS: dict[str, str] = {
    "black": "black from beginning to end",
    "blank": "of a single colour from beginning to end",
    "frozen": "frozen (no pixel ever changes)",
    "blanks": "frames of a single colour",
    "standstill": "long standstills",
    "cuts": "sudden changes of nearly the whole picture",
}
_HAVING = ("blanks", "standstill", "cuts")


@dataclass
class Scan:
    """What a pass over a split gathers.

    Attributes:
        store: the split.
        split: its name.
        seen: hashes and sketches, to find repetitions.
        columns: "actions" and "positions", those that there are.
        excerpts: (digest of the frames, excerpt) of the sequences drawn for the alignment.
        noted: indices of the sequences with each of the faults in ``_FAULTS``.
        standstills: longest runs of equal frames, of the sequences that have a long one.
        camera: how the camera keeps up with the rows.
    """

    store: Store
    split: str
    seen: Seen
    columns: dict[str, ColumnScan]
    excerpts: list[tuple[bytes, Excerpt]] = field(default_factory=list)
    noted: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in _FAULTS})
    blank_frames: int = 0
    standstills: dict[int, int] = field(default_factory=dict)
    camera: SlowCamera = field(default_factory=SlowCamera)
    low: int = 255
    high: int = 0
    total: float = 0.0
    copy_last: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store, split: str) -> "Scan":
        """Nothing gathered yet."""
        widths = {"actions": store.action_dim, "positions": store.position_dim}
        columns = {
            part: ColumnScan(part, split, store.names, width)
            for part, width in widths.items()
            if width is not None
        }
        return cls(store, split, Seen(split, store.names, store.lengths), columns)

    def add(self, index: int, sequence: Recording, look: Look, excerpt: bool) -> None:
        """Take a sequence, in order."""
        self.seen.add(look)
        self.low, self.high = min(self.low, look.low), max(self.high, look.high)
        self.total += look.total
        if look.copy_last is not None:
            self.copy_last.append(look.copy_last)
        for part, columns in self.columns.items():
            columns.add(index, getattr(sequence, part))
        self._note(index, look, sequence.positions)
        if excerpt and look.motion is not None and not look.frozen:
            self._excerpt(index, sequence, look)

    def _note(self, index: int, look: Look, positions: np.ndarray | None) -> None:
        fault = None
        if look.blank.all():
            fault = "black" if look.black else "blank"
        elif look.frozen:
            fault = "frozen"
        if fault is not None:
            self.noted[fault].append(index)
            return
        if look.blank.any():
            self.noted["blanks"].append(index)
            self.blank_frames += int(look.blank.sum())
        self.camera.add(look.repeats, positions)
        standstill = _longest_run(look.repeats) + 1
        if standstill >= max(_STANDSTILL, len(look.hashes) / 4):
            self.standstills[index] = standstill
        if len(look.cuts):
            self.noted["cuts"].append(index)

    def _excerpt(self, index: int, sequence: Recording, look: Look) -> None:
        assert look.motion is not None
        # Copies: the rows are views of what may be unloaded.
        actions, positions = (
            None if rows is None else np.array(rows[:MOTION_FRAMES])
            for rows in (sequence.actions, sequence.positions)
        )
        if actions is not None and finite(actions):
            if positions is not None and not finite(positions):
                return
            name = f"{self.split}/{self.store.names[index]}"
            excerpt = Excerpt(actions, positions, look.motion, name)
            self.excerpts.append((look.digest, excerpt))

    # -- what comes out -------------------------------------------------------------------------

    def summary(self) -> SplitSummary:
        """The facts, after all sequences were added."""
        lengths = self.store.lengths
        frames = int(lengths.sum())
        height, width = self.store.size
        values = {part: columns.summary() for part, columns in self.columns.items()}
        return SplitSummary(
            name=self.split,
            folder=str(self.store.source),
            sequences=len(lengths),
            frames=frames,
            shortest=int(lengths.min()),
            median=float(np.median(lengths)),
            longest=int(lengths.max()),
            size=(height, width),
            frame_rate=self.store.frame_rate,
            pixel_low=self.low,
            pixel_high=self.high,
            pixel_mean=self.total / max(frames, 1),
            copy_last_psnr=float(np.mean(self.copy_last)) if self.copy_last else None,
            copy_last_sequences=len(self.copy_last),
            repeated=self.camera.share,
            rows_a_frame=self.camera.rows_a_frame,
            actions=values.get("actions"),
            positions=values.get("positions"),
        )

    def findings(self, *, small: bool) -> Iterator[Finding]:
        """What is wrong with the frames and numbers of this split on its own.

        Args:
            small: whether the split is a small part of the data.
        """
        useless = [name for name in ("black", "blank", "frozen") if self.noted[name]]
        count = sum(len(self.noted[name]) for name in useless)
        if count == len(self.store):
            yield self._nothing_to_see(useless)
        else:
            for name in useless:
                yield self._of(name, "remove them, nothing can be learned from them")
        if self.noted["blanks"]:
            plural = "s are" if self.blank_frames > 1 else " is"
            yield self._of(
                "blanks",
                f"{self.blank_frames:,} frame{plural} blank. Frames lost in recording? Cut them "
                "off or remove the sequences",
            )
        if self._standstills():
            longest = max(self.standstills.values())
            yield self._of(
                "standstill",
                f"up to {longest:,} equal frames in a row. Waiting for something, "
                "or a camera that hung? Cut them shorter, if so",
            )
        if self.noted["cuts"]:
            yield self._of(
                "cuts", "scenes joined together, or a light that was switched? Cut them there"
            )
        for columns in self.columns.values():
            yield from columns.findings(small=small, stir=self.seen.stir)

    def _standstills(self) -> bool:
        """Whether robots or cameras stand still that do not merely wait for the next frame."""
        self.noted["standstill"] = [
            k for k, frames in self.standstills.items() if self.camera.standstill(frames)
        ]
        return bool(self.noted["standstill"])

    def _nothing_to_see(self, faults: list[str]) -> Finding:
        remedy = "look whether the right camera or feature was imported"
        if self.high <= 1:
            remedy = (
                "all pixels are 0 or 1. Were the frames stored as fractions? "
                "Multiply them by 255, and import them again"
            )
        what = " or ".join(_FAULTS[name] for name in faults)
        return Finding("error", self.split, f"every sequence is {what}: {remedy}.")

    def _of(self, fault: str, remedy: str) -> Finding:
        names = tuple(self.store.names[k] for k in self.noted[fault])
        what = f"1 sequence {'has' if fault in _HAVING else 'is'}"
        if len(names) > 1:
            what = f"{len(names):,} sequences {'have' if fault in _HAVING else 'are'}"
        return Finding(
            "warning", self.split, f"{what} {_FAULTS[fault]} ({some(names)}): {remedy}.", names
        )


def scan_split(
    store: Store,
    split: str,
    *,
    n_past: int,
    n_future: int,
    excerpts: set[int],
    workers: int,
    step: Callable[[], None],
) -> Scan:
    """Read all sequences of a split.

    Args:
        store: the split.
        split: its name.
        n_past: given frames.
        n_future: predicted frames.
        excerpts: indices of the sequences whose motion is measured.
        workers: threads; what takes the time leaves the interpreter.
        step: called after each sequence.
    """
    scan = Scan.of(store, split)

    def look(index: int) -> tuple[Recording, Look]:
        recording = store[index]
        return recording, look_at(
            recording, n_past=n_past, n_future=n_future, motion=index in excerpts
        )

    looks = in_threads(look, range(len(store)), workers)
    for index, (recording, seen) in enumerate(looks):
        scan.add(index, recording, seen, index in excerpts)
        step()
    return scan


def _longest_run(repeats: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], repeats.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
