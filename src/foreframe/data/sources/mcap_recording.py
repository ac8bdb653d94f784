"""One recording of MCAP: the times of its frames, and its rows of numbers at those of one topic."""

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int

from foreframe.data.sources.feature import ColumnChoice, all_columns, joined
from foreframe.data.sources.listing import shown
from foreframe.data.sources.mcap_file import messages
from foreframe.data.sources.mcap_messages import (
    Decoders,
    joints_of,
    numbers_at,
    picture_of,
    stamp_of,
)
from foreframe.data.sources.row_times import MatchedRows, match_rows
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

CLOCKS = ("auto", "header", "log")


@dataclass(frozen=True)
class Address:
    """Where numbers are: ``/arm/command.position`` is the field "position" of a topic."""

    topic: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, name: str, topics: Collection[str], option: str) -> "Address":
        """What a name means among the topics that are there: the longest one that it begins with.

        Raises:
            UnusableError: it begins with none of them.
        """
        fits = [topic for topic in topics if name == topic or name.startswith(f"{topic}.")]
        if not fits:
            listed = ", ".join(map(shown, topics)) or "none"
            raise UnusableError(f"{option} {name}: there is no such topic; there are: {listed}")
        topic = max(fits, key=len)
        return cls(topic, tuple(name[len(topic) + 1 :].split(".")) if name != topic else ())


@dataclass
class _Track:
    """What was read of a topic so far.

    Attributes:
        logged: when each message was logged, in nanoseconds.
        stamped: the times in their headers; 0 where there is none.
        numbers: those of each address, one message after the other.
        widths: how many there are in a message.
        joints: the joints that they belong to, where messages say it.
    """

    logged: "array[int]" = field(default_factory=lambda: array("q"))
    stamped: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "dict[Address, array[float]]" = field(
        default_factory=lambda: defaultdict(lambda: array("d"))
    )
    widths: dict[Address, int] = field(default_factory=dict)
    joints: dict[Address, tuple[str, ...]] = field(default_factory=dict)

    def add(self, message: object, addresses: Sequence[Address]) -> None:
        for address in addresses:
            found = numbers_at(message, address.path)
            joints = joints_of(message, address.path)
            width = self.widths.setdefault(address, len(found))
            if len(found) != width or joints != self.joints.setdefault(address, joints):
                raise UnusableError(
                    f"message {len(self.logged)} has "
                    + (f"{len(found)} numbers" if len(found) != width else "other joints")
                    + (f", and the first {width}" if len(found) != width else " than the first")
                )
            self.numbers[address].extend(found)


@dataclass(frozen=True)
class Film:
    """The frames of one camera.

    Attributes:
        times: [T], in seconds from the first of all messages on; they never fall.
        matched: the rows of the frames; None where there are no rows.
    """

    times: Float64[np.ndarray, " time"]
    matched: MatchedRows | None


@dataclass(frozen=True)
class Scanned:
    """A recording without its pictures.

    Attributes:
        films: by their topics.
        actions: [rows, A] or None.
        positions: [rows, P] or None.
        notes: how the times were understood.
    """

    films: dict[str, Film | UnusableError]
    actions: np.ndarray | None
    positions: np.ndarray | None
    notes: list[str]


def scan(
    files: Sequence[Place],
    topics: Collection[str],
    images: Sequence[str],
    choice: ColumnChoice,
    clock: str,
) -> Scanned:
    """Read a recording through, all but its pixels.

    The rows are at the times of the first topic of the actions (of the positions, if there are no
    actions). What comes from other topics is the latest that they had said by then.

    Args:
        files: those of the recording, in order.
        topics: that are there.
        images: topics of the cameras.
        choice: the columns that are actions and positions.
        clock: one of ``CLOCKS``.

    Raises:
        UnusableError: a file is damaged, a topic has no messages, or they do not fit together.
        ValueError: a column is not there, or a value is no finite number.
        ForeframeError: a file cannot be opened.
    """
    addresses = {name: Address.of(name, topics, option) for name, option in all_columns(choice)}
    tracks, notes = _read(files, images, list(dict.fromkeys(addresses.values())))
    times, said = _times(tracks, clock)
    notes.append(said)
    row_times = None
    features: dict[str, np.ndarray] = {}
    if addresses:
        own = {address.topic: np.sort(times[address.topic]) for address in addresses.values()}
        row_times, latest, held = _held(own)
        notes += held
        for name, address in addresses.items():
            track = tracks[address.topic]
            table = np.frombuffer(track.numbers[address], np.float64)
            table = table.reshape(-1, track.widths[address])
            in_time = np.argsort(times[address.topic], kind="stable")
            features[name] = table[in_time[latest[address.topic]]]
    films = {topic: _film(times[topic], row_times) for topic in images}
    return Scanned(films, *joined(choice, features), notes)


def _read(
    files: Sequence[Place], images: Sequence[str], addresses: Sequence[Address]
) -> tuple[dict[str, _Track], list[str]]:
    """All that is needed of the messages, and what should be known of the files."""
    by_topic: dict[str, list[Address]] = {topic: [] for topic in images}
    for address in addresses:
        by_topic.setdefault(address.topic, []).append(address)
    tracks = {topic: _Track() for topic in by_topic}
    decoders, seen = Decoders(), set[str]()
    for received in messages(files, by_topic, seen):
        message, track = decoders(received), tracks[received.topic]
        try:
            track.add(message, by_topic[received.topic])
        except UnusableError as error:
            raise UnusableError(f"{shown(received.topic)}: {error}") from error
        track.logged.append(min(received.time, (1 << 63) - 1))
        track.stamped.append(stamp_of(message) or 0)
    for topic, track in tracks.items():
        if not track.logged:
            raise UnusableError(f"{shown(topic)} has no messages")
    return tracks, sorted(seen)


def _times(tracks: dict[str, _Track], clock: str) -> tuple[dict[str, np.ndarray], str]:
    """Seconds of the messages of each topic, in the order of the file, by one clock for all."""
    without = [topic for topic, track in tracks.items() if 0 in track.stamped]
    if clock == "header" and without:
        raise UnusableError(
            f"--clock header: {', '.join(map(shown, without))} has messages without a time in "
            "their header; --clock log takes the times when they were logged"
        )
    stamped = clock != "log" and not without
    all_times = {
        topic: np.frombuffer(track.stamped if stamped else track.logged, np.int64)
        for topic, track in tracks.items()
    }
    first = min(int(times.min()) for times in all_times.values())
    seconds = {topic: (times - first) / 1e9 for topic, times in all_times.items()}
    if stamped:
        return (
            seconds,
            f"times are those in the headers; by the log they came later: {_late(tracks)}",
        )
    why = f", as {shown(without[0])} has none in its headers" if without and clock != "log" else ""
    return seconds, f"times are those of the log{why}"


def _late(tracks: dict[str, _Track]) -> str:
    """How long after the time in their headers the messages of each topic were logged."""
    return ", ".join(
        f"{shown(topic)} {np.median(np.subtract(track.logged, track.stamped)) / 1e9:.3g} s"
        for topic, track in tracks.items()
    )


def _held(
    times: dict[str, np.ndarray],
) -> tuple[Float64[np.ndarray, " rows"], dict[str, Int[np.ndarray, " rows"]], list[str]]:
    """The times of the rows, the message of each topic that is in force at each, and notes.

    Rows begin when every topic has said something.

    Args:
        times: of the messages of each topic, sorted; the first one's are those of the rows.
    """
    ticks, *others = times
    begin = max(float(own[0]) for own in times.values())
    left_out = int(np.searchsorted(times[ticks], begin))
    rows = times[ticks][left_out:]
    if not len(rows):
        raise UnusableError(
            f"{shown(ticks)} ends before there is a message of {', '.join(map(shown, others))}"
        )
    latest = {topic: np.searchsorted(times[topic], rows, side="right") - 1 for topic in others}
    notes = [
        f"{shown(topic)} is taken at the times of {shown(ticks)}, as it was last said, up to "
        f"{(rows - times[topic][latest[topic]]).max():.3g} s before"
        for topic in others
    ]
    return rows, {ticks: np.arange(left_out, left_out + len(rows)), **latest}, notes


def _film(times: np.ndarray, rows: np.ndarray | None) -> Film | UnusableError:
    """The frames of a camera with their rows, or why there are none."""
    if (np.diff(times) < 0).any():
        frame = int(np.flatnonzero(np.diff(times) < 0)[0]) + 1
        return UnusableError(
            f"the time of frame {frame} is before that of the frame before it; --clock takes the "
            "times of the headers or those of the log"
        )
    if rows is None:
        return Film(times, None)
    try:
        return Film(times, match_rows(times, rows, same_clock=True))
    except UnusableError as error:
        return UnusableError(
            f"{error}, as where cameras and robots have clocks of their own; --clock log takes the "
            "times when messages were logged"
        )


def frames_of(files: Sequence[Place], topic: str, count: int, where: str) -> Iterator[np.ndarray]:
    """The frames [height, width, 3] of a camera, decoded one at a time.

    Args:
        files: those of the recording, in order.
        topic: of the camera.
        count: how many frames there are.
        where: the recording, for errors.

    Raises:
        ForeframeError: a frame is damaged or missing; those before it are good.
    """
    decoders, seen = Decoders(), 0
    try:
        for received in messages(files, {topic}):
            yield picture_of(decoders(received), f"message {seen}")
            seen += 1
    except (UnusableError, ForeframeError) as error:
        text = str(error).removeprefix(f"{topic}: ")
        raise ForeframeError(f"{where}: {shown(topic)}: {text}") from error
    if seen != count:
        raise ForeframeError(f"{where}: {shown(topic)} had {count} frames, and now has {seen}.")
