"""From one recording on its way in to the sequences of a store: fitted, thinned, cut, with rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from foreframe.data.imports.division import Piece
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.thinning import RATE_TOLERANCE, Numbered
from foreframe.data.recording import TABLES, Recording
from foreframe.data.sources.source import RawRecording, UnusableError

_FIRST = 64
"""Frames that there is room for at first; it is doubled as they come."""


def sequences(
    item: RawRecording, pieces: list[Piece], options: ImportOptions, usual_rate: float | None
) -> Iterator[tuple[str, str, Recording]]:
    """The sequences that a recording becomes: split, name and content, frames taken one by one.

    Args:
        item: the recording.
        pieces: its pieces, and where they go.
        options: what becomes of it.
        usual_rate: frames a second that all recordings must have if none are passed over, and that
            counts for those that do not say; None if that is not known.

    Raises:
        UnusableError: frames and rows do not fit together, or it is too short.
        ForeframeError: its frames are damaged; the clips before are good.
    """
    _require_rate(item, options, usual_rate)
    cutter = _Cutter(item, options, item.rate or usual_rate)
    cutter.require_matches()
    whole = len(pieces) == 1 and options.clip_frames is None
    label = f"{item.name}:{item.view}" if item.view else item.name
    count = 0
    for piece in pieces:
        for first, recording in cutter.clips(piece):
            count += 1
            yield piece.split, label if whole else f"{label}@{first}", recording
    cutter.finish()
    if not count:
        raise UnusableError(cutter.too_short())


def _require_rate(item: RawRecording, options: ImportOptions, like: float | None) -> None:
    rate = item.rate
    if rate and like and options.frame_rate is None and abs(rate / like - 1) > RATE_TOLERANCE:
        raise UnusableError(
            f"it has {rate:.4g} frames a second, and the first recording {like:.4g}; "
            "--frame-rate brings all to one rate"
        )


@dataclass(frozen=True)
class _Clip:
    """Frames that become one sequence.

    Attributes:
        numbers: [N], of the frames in the recording.
        ends: [N], of the frame that was taken after each; the last one's may be the number behind
            all.
        frames: [N, size, size, 3].
    """

    numbers: np.ndarray
    ends: np.ndarray
    frames: np.ndarray


class _Filling:
    """Room for frames: one array, made larger as they come, so that no memory is in fragments."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        self.numbers: list[int] = []
        self.ends: list[int] = []

    def add(self, number: int, frame: np.ndarray) -> None:
        count = len(self.numbers)
        if count == len(self._frames):
            room = self._most or max(_FIRST, 2 * count)
            larger = np.empty((room, *frame.shape), np.uint8)
            if count:
                larger[:count] = self._frames
            self._frames = larger
        self._frames[count] = frame
        self.numbers.append(number)

    def clip(self) -> _Clip:
        count = len(self.numbers)
        return _Clip(np.array(self.numbers), np.array(self.ends), self._frames[:count])


class _Cutter:
    """Reads the frames of one recording once, from its beginning to its end."""

    def __init__(self, item: RawRecording, options: ImportOptions, rate: float | None) -> None:
        self._item, self._options, self._rate = item, options, rate
        self._fit = options.fit
        self._thinning = options.thinning
        self._source = iter(item.frames)
        self._at = 0  # number of the next frame
        self._size: tuple[int, int] | None = None
        self._taken = 0  # of the last piece

    # -- frames ---------------------------------------------------------------------------------

    def _next(self) -> np.ndarray | None:
        frame = next(self._source, None)
        if frame is not None:
            self._at += 1
        return frame

    def _fitted(self, frame: np.ndarray) -> np.ndarray:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UnusableError(
                f"a frame is {frame.dtype} {list(frame.shape)}, not uint8 [height, width, 3]"
            )
        height, width = frame.shape[:2]
        if self._size is not None and (height, width) != self._size:
            raise UnusableError(f"frames of {self._size[1]}x{self._size[0]} and {width}x{height}")
        self._size = height, width
        return self._fit(frame)

    def _numbered(self, start: int, stop: int | None) -> Iterator[Numbered]:
        """Numbers and fitted frames from ``start`` to ``stop``."""
        while self._at < start and self._next() is not None:
            pass
        while stop is None or self._at < stop:
            number = self._at
            frame = self._next()
            if frame is None:
                if stop is not None and self._options.clip_frames is None and not self._lenient:
                    raise UnusableError(f"it has {number} frames, and {stop} were counted on")
                return
            yield number, self._fitted(frame)

    def finish(self) -> None:
        """Read what is left, so that all damage is seen, and compare its rows with the frames."""
        while self._next() is not None:
            pass
        self._require_rows()

    # -- clips ----------------------------------------------------------------------------------

    def clips(self, piece: Piece) -> Iterator[tuple[int, Recording]]:
        """The clips of a piece, and the number of the first frame of each."""
        start, stop = self._span(piece)
        if self._options.shift_actions and stop is not None and stop - start < 2:
            if self._options.clip_frames is None:
                raise UnusableError(
                    f"nothing is left with --shift-actions {self._options.shift_actions}"
                )
            return
        for clip in self._filled(start, stop):
            yield int(clip.numbers[0]), self._with_rows(clip)

    def _filled(self, start: int, stop: int | None) -> Iterator[_Clip]:
        """The frames from ``start`` to ``stop`` in clips; what is left over at the end is dropped.

        A clip is given out when the frame after its last one is known, for until then the actions
        of the last one go.
        """
        length = self._options.clip_frames
        self._taken, full = 0, None
        filling = _Filling(length)
        for number, frame in self._thinning(
            self._numbered(start, stop), self._item.times, self._rate
        ):
            self._taken += 1
            if full is not None:
                full.ends.append(number)
                yield full.clip()
                full = None
            elif filling.numbers:
                filling.ends.append(number)
            filling.add(number, frame)
            if len(filling.numbers) == length:
                full, filling = filling, _Filling(length)
        last = full or (filling if length is None and filling.numbers else None)
        if last is not None:
            last.ends.append(max(self._at, last.numbers[-1] + 1))
            if len(last.numbers) >= self._options.min_frames:
                if stop is None and length is None:
                    self._require_rows()
                yield last.clip()

    def too_short(self) -> str:
        """Why there is no sequence of it."""
        least = self._options.clip_frames or self._options.min_frames
        left = "" if self._thinning.is_none else f", {self._taken} of them are taken"
        option = "--clip-frames" if self._options.clip_frames else "--min-frames"
        return f"it has {self._at} frames{left}, and {option} asks for {least}"

    # -- rows -----------------------------------------------------------------------------------

    @property
    def _lenient(self) -> bool:
        return self._options.lengths == "shortest"

    def _row(self, frames: np.ndarray) -> np.ndarray:
        """The number of the row that belongs to each frame, and to one behind the last."""
        rows = self._item.row_of
        if rows is None:
            return frames
        beyond = np.maximum(frames - len(rows) + 1, 0)
        return np.asarray(rows[frames.clip(max=len(rows) - 1)] + beyond * self._rows_per_frame)

    @cached_property
    def _rows_per_frame(self) -> int:
        rows = self._item.row_of
        return 1 if rows is None or len(rows) < 2 else round(float(np.median(np.diff(rows))))

    def _span(self, piece: Piece) -> tuple[int, int | None]:
        """First frame of a piece and the one after the last (None: to the end).

        Frames that would be left without a row are cut off: where the rows are shifted, and with
        ``--lengths shortest`` where they end before the frames.
        """
        start, stop = piece.start, piece.stop
        actions, shift = self._item.actions, self._options.shift_actions
        if actions is not None and shift:
            # The last action of a recording leads nowhere: it need not be there.
            first, end = -shift, min(len(actions), len(actions) - shift + 1)
            if self._item.row_of is not None:
                first = int(np.searchsorted(self._item.row_of, first))
                end = int(np.searchsorted(self._item.row_of, end))
            start, stop = max(start, first), end if stop is None else min(stop, end)
        if self._lenient:
            counts = [len(rows) for rows in self._tables.values()]
            if self._item.row_of is not None:
                counts = [int(np.searchsorted(self._item.row_of, count)) for count in counts]
                start = max(start, int(np.searchsorted(self._item.row_of, 0)))
            for count in counts:
                stop = count if stop is None else min(stop, count)
        return start, stop

    @property
    def _tables(self) -> dict[str, np.ndarray]:
        tables = {part: getattr(self._item, part) for part in TABLES}
        return {part: rows for part, rows in tables.items() if rows is not None}

    def _require_rows(self) -> None:
        """Refuse rows that are not as many as the frames.

        One action less is no fault: that of the last frame leads nowhere.
        """
        if self._lenient or self._item.row_of is not None:
            return
        for part, rows in self._tables.items():
            if len(rows) != self._at and not (part == "actions" and len(rows) == self._at - 1):
                raise UnusableError(
                    f"{self._at} frames, but {len(rows)} rows of numbers; --lengths shortest cuts "
                    "what is longer"
                )

    def require_matches(self) -> None:
        """Refuse frames that no row was matched to, unless they are cut off."""
        rows = self._item.row_of
        if self._lenient or rows is None:
            return
        for part, table in self._tables.items():
            lost = int(((rows < 0) | (rows > len(table))).sum())
            if lost:
                raise UnusableError(
                    f"{lost} of {len(rows)} frames have no row of {part} near their time; "
                    "--lengths shortest cuts them off"
                )

    def _with_rows(self, clip: _Clip) -> Recording:
        tables = self._tables
        needed = int(self._row(clip.numbers[-1:])[0]) + 1
        for part, rows in tables.items():
            if len(rows) < needed - (part == "actions"):
                raise UnusableError(f"{needed} frames or more, but {len(rows)} rows of numbers")
        recording = Recording(
            clip.frames,
            self._joined(clip),
            *(
                tables[part][self._row(clip.numbers)] if part in tables else None
                for part in ("positions", "tracks")
            ),
        )
        if recording.tracks is not None and self._size is not None:
            return replace(recording, tracks=self._fit.tracks(recording.tracks, *self._size))
        return recording

    def _joined(self, clip: _Clip) -> np.ndarray | None:
        """The actions of a clip: of each frame, and of those passed over after it."""
        actions, shift = self._item.actions, self._options.shift_actions
        if actions is None:
            return None
        starts = (self._row(clip.numbers) + shift).clip(0, len(actions) - 1)
        ends = (self._row(clip.ends) + shift).clip(starts + 1, len(actions))
        rules = self._options.rules
        if rules is None:
            if (ends - starts > 1).any():
                raise UnusableError(
                    "there are several rows of numbers for a frame; say with --resample-actions "
                    "what their actions become"
                )
            return actions[starts]
        return rules(actions, starts, ends)
