"""MCAP files: their messages in the order of the file, with every checksum that is there compared.

The summary at the end of a file is only believed for what is shown or estimated. What is imported
is read from the beginning to the end, a chunk at a time.
"""

import io
import struct
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any

from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError, reason
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, open_binary

MAGIC = b"\x89MCAP0\r\n"

CONVERSION = "mcap convert IN.bag OUT.mcap (also IN.db3; the program is at https://mcap.dev)"
"""What makes MCAP of the older forms of ROS."""

_UNCHECKED = "without checksums, so damage may go unnoticed"
_LARGEST = 1 << 30
"""Bytes of a record, and of a chunk that is unpacked, at most: recorders write a few megabytes."""


@dataclass(frozen=True)
class Received:
    """A message as it lies in the file.

    Attributes:
        topic: where it was published.
        time: when it was logged, in nanoseconds.
        data: its bytes.
        encoding: how they are encoded: "cdr", "ros1", "json", "protobuf".
        schema: name, encoding and text of its definition; empty where there is none.
    """

    topic: str
    time: int
    data: bytes
    encoding: str
    schema: tuple[str, str, bytes] = ("", "", b"")


@dataclass(frozen=True)
class Topic:
    """What is published where.

    Attributes:
        kind: name of its messages' type, or how they are encoded where they have none.
        count: messages.
    """

    kind: str
    count: int

    @property
    def is_camera(self) -> bool:
        """Whether its messages are pictures, by the name of their type."""
        return self.kind.endswith("Image")


@dataclass(frozen=True)
class Overview:
    """The topics of a recording by their names, and how long it lasts by the log, in seconds."""

    topics: dict[str, Topic]
    seconds: float


def import_mcap() -> Any:
    """The package mcap.

    Raises:
        ForeframeError: it, or what goes with it, is not installed.
    """
    try:
        import mcap
        import mcap.reader
        import mcap.stream_reader
        import mcap_ros2.decoder  # noqa: F401
    except ImportError as error:
        raise ForeframeError(
            f"MCAP is read with the package mcap ({error}): pip install 'foreframe[mcap]'."
        ) from error
    return mcap


def messages(
    files: Sequence[Place], topics: Container[str] | None = None, notes: set[str] | None = None
) -> Iterator[Received]:
    """The messages of some topics (None: of all), one file after the other.

    Args:
        files: those of a recording, in order.
        topics: names of topics.
        notes: what should be known of the files is added to it.

    Raises:
        UnusableError: a file is cut off, damaged or of another form; the messages before are good.
        ForeframeError: a file cannot be opened.
    """
    mcap = import_mcap()
    for place in files:
        name = shown(place.name)
        with open_binary(place) as file:
            _require_magic(file, name)
            try:
                yield from _messages(mcap, file, topics, notes if notes is not None else set())
            except (mcap.exceptions.EndOfFile, struct.error) as error:
                raise UnusableError(
                    f"{name} is cut off or damaged, as where a recorder was stopped by force; "
                    "'mcap recover' saves what is whole"
                ) from error
            except UnusableError as error:
                raise UnusableError(f"{name}: {error}") from error
            except Exception as error:  # the unpackers' own ones among them
                raise UnusableError(f"{name} is damaged ({shown(reason(error))[:200]})") from error


def _require_magic(file: IO[bytes], name: str) -> None:
    try:
        head = file.read(len(MAGIC))
        file.seek(0)
    except OSError as error:
        raise UnusableError(f"{name} cannot be read ({reason(error)})") from error
    if head != MAGIC:
        raise UnusableError(f"{name} is no MCAP file" if head else f"{name} is empty")


def _messages(
    mcap: Any, file: IO[bytes], topics: Container[str] | None, notes: set[str]
) -> Iterator[Received]:
    records = mcap.records
    schemas: dict[int, tuple[str, str, bytes]] = {0: ("", "", b"")}
    channels: dict[int, Any] = {}
    counts: Counter[int] = Counter()
    for record in _records(mcap, file, notes):
        if isinstance(record, records.Schema):
            schemas.setdefault(record.id, (record.name, record.encoding, record.data))
        elif isinstance(record, records.Channel):
            channels.setdefault(record.id, record)
        elif isinstance(record, records.Message):
            counts[record.channel_id] += 1
            channel = channels.get(record.channel_id)
            if channel is None or channel.schema_id not in schemas:
                raise UnusableError("it is damaged: a message is of a channel that is not there")
            if topics is None or channel.topic in topics:
                yield Received(
                    channel.topic,
                    record.log_time,
                    record.data,
                    channel.message_encoding,
                    schemas[channel.schema_id],
                )
        elif isinstance(record, records.Statistics):
            _require_all(counts, record)


def _require_all(counts: Counter[int], told: Any) -> None:
    """Refuse a file that lacks messages, as where a damaged chunk is taken for something else."""
    each = told.channel_message_counts
    if counts.total() != told.message_count or (each and Counter(each) != counts):
        raise UnusableError(
            f"it is damaged: it holds {counts.total()} messages, and its summary counts "
            f"{told.message_count}"
        )


def _records(mcap: Any, file: IO[bytes], notes: set[str]) -> Iterator[Any]:
    """The records of a file, those in chunks among them."""
    stream = mcap.stream_reader
    reader = stream.StreamReader(
        file, emit_chunks=True, validate_crcs=True, record_size_limit=_LARGEST
    )
    loose = False  # whether there are messages outside of chunks
    for record in reader.records:
        if not isinstance(record, mcap.records.Chunk):
            loose = loose or isinstance(record, mcap.records.Message)
            if loose and isinstance(record, mcap.records.DataEnd) and not record.data_section_crc:
                notes.add(_UNCHECKED)
            yield record
            continue
        if not record.uncompressed_crc:
            notes.add(_UNCHECKED)
        plain = replace(record, data=_unpacked(record), compression="")
        yield from stream.breakup_chunk(plain, validate_crc=True)


def _unpacked(chunk: Any) -> bytes:
    """The content of a chunk, which is never unpacked further than to the size that it names."""
    size = chunk.uncompressed_size
    if size > _LARGEST:
        raise UnusableError(f"a chunk of {size:,} bytes is larger than any recorder writes")
    if chunk.compression == "":
        content = chunk.data
    elif chunk.compression == "zstd":
        import zstandard

        content = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(chunk.data)).read(size + 1)
    elif chunk.compression == "lz4":
        import lz4.frame

        content = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    else:
        raise UnusableError(
            f"its chunks are compressed as {shown(chunk.compression)[:40]}, and only zstd and lz4 "
            "are read"
        )
    if len(content) != size:
        raise UnusableError("it is damaged: a chunk has another size than it says")
    return bytes(content)


def overview(files: Sequence[Place]) -> Overview:
    """What a recording holds, by the summaries of its files or, without one, by their messages.

    Raises:
        UnusableError: see ``messages``.
        ForeframeError: a file cannot be opened.
    """
    found: dict[str, Topic] = {}
    starts: list[int] = []
    ends: list[int] = []
    for place in files:
        topics, start, end = _summary(place) or _counted(place)
        for name, topic in topics.items():
            before = found[name].count if name in found else 0
            found[name] = Topic(topic.kind, before + topic.count)
        if topics:
            starts.append(start)
            ends.append(end)
    seconds = max(0, max(ends) - min(starts)) / 1e9 if starts else 0.0
    return Overview(dict(sorted(found.items())), seconds)


_Summary = tuple[dict[str, Topic], int, int]


def _summary(place: Place) -> _Summary | None:
    """Topics, begin and end by the summary of a file; None if it has none, or a damaged one."""
    mcap = import_mcap()
    with open_binary(place) as file:
        _require_magic(file, shown(place.name))
        with suppress(Exception):  # then the messages are counted, which says what is wrong
            told = mcap.reader.SeekingReader(file, record_size_limit=_LARGEST).get_summary()
            if told is None or told.statistics is None or not told.channels:
                return None
            counts = told.statistics.channel_message_counts
            if told.statistics.message_count and not counts:
                return None
            topics: dict[str, Topic] = {}
            for channel in told.channels.values():
                schema = told.schemas[channel.schema_id].name if channel.schema_id else ""
                before = topics[channel.topic].count if channel.topic in topics else 0
                count = before + counts.get(channel.id, 0)
                topics[channel.topic] = Topic(schema or channel.message_encoding, count)
            return topics, told.statistics.message_start_time, told.statistics.message_end_time
    return None


def _counted(place: Place) -> _Summary:
    """Topics, begin and end by the messages of a file."""
    topics: dict[str, Topic] = {}
    start = end = 0
    for message in messages([place]):
        start, end = (
            (min(start, message.time), max(end, message.time)) if topics else (message.time,) * 2
        )
        before = topics[message.topic].count if message.topic in topics else 0
        topics[message.topic] = Topic(message.schema[0] or message.encoding, before + 1)
    return topics, start, end
