"""What an importer knows of the outside world: a source lists its parts and reads each.

A source is a frozen dataclass that can be pickled: its fields are its options, and parts of it are
read by other processes, perhaps on other machines. It never resizes, divides or writes anything:
that is the same for all sources and is done in ``foreframe.data.imports.importing``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

from foreframe.data.sources.listing import Node, counted, recordings
from foreframe.system.places import Place

LATER = {"later": True}
"""Metadata of an option that a source did not have at first: a dataset's description names it only
where it was asked for, so that older imports go on."""


class UnusableError(Exception):
    """A recording, or a file of some, cannot be used; says why, without a full stop."""


def reason(error: BaseException) -> str:
    """What an exception of another package says, without a full stop."""
    return str(error).rstrip(".") or type(error).__name__


@dataclass(frozen=True)
class Part:
    """A piece of the input that one worker reads at a time; it becomes a shard of the store.

    Attributes:
        name: name of the shard: unique in the source, fit for a folder's name.
        place: what is read, for messages and so that a changed input is noticed.
        split: "train", "validate" or "test" where the source has splits of its own; else None.
        select: what ``Source.read`` needs to find the part: offsets, episode numbers ...
        others: files that are read besides, so that a change of them is noticed, too.
    """

    name: str
    place: Place
    split: str | None = None
    select: dict[str, Any] = field(default_factory=dict)
    others: tuple[Place, ...] = ()


@dataclass(frozen=True)
class RawRecording:
    """One continuous recording on its way in.

    Attributes:
        name: says where it came from ("traj_0_to_255.tfrecords/17"); unique in the source but for
            the views of several cameras, which stay together when recordings are divided.
        frames: T frames [height, width, 3], RGB uint8, all of one size. They may be made one at a
            time: whoever takes them never holds the originals of a whole recording. Iterating may
            raise ``ForeframeError`` (damaged video): the frames before it are good.
        actions: [T, A] float32 or None; row t acts between frame t and t + 1.
        positions: [T, P] float32 or None; row t is at frame t.
        tracks: [T, 2N] float32 or None; where objects are in the frames as they come, see
            ``Recording``. They are cropped with the frames.
        view: the camera, where there are several recordings of one name.
        times: [T], when each frame is, in seconds from any moment on, where that is known.
        row_of: [T], the number of the row that belongs to each frame, where the rows are not one
            for each frame (a robot that is read more often than the camera): it never falls. The
            rows up to that of the next frame are the frame's own. Frames before the first row have
            -1; those behind the last, more than there are rows.
        task: what the robot was told to do, in words.
        of: the recording that it is a clip of; by default it is one whole.
    """

    name: str
    frames: Iterable[UInt8[np.ndarray, "height width 3"]]
    actions: Float32[np.ndarray, "time action"] | None = None
    positions: Float32[np.ndarray, "time position"] | None = None
    view: str = ""
    tracks: Float32[np.ndarray, "time track"] | None = None
    times: Float64[np.ndarray, " time"] | None = None
    row_of: Int[np.ndarray, " time"] | None = None
    task: str = ""
    of: str = ""

    @property
    def rate(self) -> float | None:
        """Frames a second on average; None where the times are not known."""
        if self.times is None or len(self.times) < 2:
            return None
        span = float(self.times[-1] - self.times[0])
        return (len(self.times) - 1) / span if span > 0 else None


@dataclass(frozen=True)
class Skip:
    """Something that could not be read.

    Attributes:
        name: the file, and the record or row in it.
        reason: why, in words that help; no full stop at the end.
    """

    name: str
    reason: str


class Source(ABC):
    """One form of data in the outside world. Subclasses are frozen dataclasses."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """The pieces to read, in a fixed order, each of about 50 to 300 recordings.

        Cheap: looks at names, headers and metadata, and at one recording at most to see that the
        options fit.

        Raises:
            ForeframeError: the input is missing or of another form, or an option names something
                that is not there (the message lists what is).
        """

    @abstractmethod
    def lengths(self, part: Part) -> list[tuple[str, int]]:
        """Name and number of frames (an estimate will do) of each recording in ``part``, in order.

        Asked for only where recordings have to be divided over splits. Cheap, like ``parts``.
        """

    @abstractmethod
    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        """The recordings of ``part`` in order; what cannot be read comes as a ``Skip``.

        Memory is bounded by one recording. Errors of single recordings are never raised here
        (except while the ``frames`` of one are iterated).
        """

    def usual_rule(self) -> str | None:
        """What its actions between two frames become (``--resample-actions``) if nobody says.

        Only where the form of the data says what they are.
        """
        return None

    def group(self, name: str) -> str:
        """What a recording belongs to: those of one group are never divided over splits."""
        return name

    def describe(self) -> dict[str, Any]:
        """For the store's metadata: "frame_rate" (in Hz), "camera", "units" ..."""
        return {}

    def listing(self) -> Node:
        """What the input holds, as a tree to be printed.

        Features with their shapes and types, recordings with their lengths, rates, cameras and
        splits. As cheap as ``parts``; of 100,000 recordings the first few are named and the others
        counted. Options that say which feature to take need not be given.

        Raises:
            ForeframeError: the input is missing or of another form.
        """
        parts = self.parts()
        splits = dict.fromkeys(part.split for part in parts)
        lengths = self.lengths(parts[0]) if parts else []
        return Node(
            f"{self.input}: {counted(len(parts), 'part')}",  # type: ignore[attr-defined]
            (
                *(Node(f"split {split}") for split in splits if split is not None),
                Node("the first part", recordings(lengths, len(lengths))),
            ),
        )
