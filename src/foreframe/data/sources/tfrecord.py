"""TFRecord files of tf.train.Example messages, read without TensorFlow.

The framing is ours: the kept libraries that read it either need TensorFlow or leave the checksums
out. The rest is not: the checksums are computed by google-crc32c, the messages are parsed by
protobuf.

A record is the length of the payload (uint64, little-endian), the masked CRC-32C of those eight
bytes, the payload and its masked CRC-32C (uint32 each).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from foreframe.data.sources.source import UnusableError

HEADER = 12
FOOTER = 4
_RESUME_CHUNK = 1 << 22


@dataclass(frozen=True)
class Record:
    """A payload whose checksums hold.

    Attributes:
        offset: place of its first byte of framing in the file.
        payload: the bytes.
    """

    offset: int
    payload: bytes


@dataclass(frozen=True)
class Damage:
    """A stretch of the file that holds no readable record.

    Attributes:
        offset: where it begins.
        reason: what is wrong with it.
    """

    offset: int
    reason: str


def masked_crc(data: bytes) -> int:
    """CRC-32C rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(payload: bytes) -> bytes:
    """``payload`` as a record."""
    length = struct.pack("<Q", len(payload))
    crcs = (struct.pack("<I", masked_crc(part)) for part in (length, payload))
    return b"".join((length, next(crcs), payload, next(crcs)))


def read_records(file: IO[bytes], start: int, end: int) -> Iterator[Record | Damage]:
    """All records between two offsets of a file, in order.

    A payload whose checksum does not hold is passed over. Where a length cannot be trusted, the
    next place is looked for at which one can.

    Args:
        file: seekable.
        start: offset of the first record.
        end: offset after the last.
    """
    offset = start
    while offset < end:
        length = _payload_length(file, offset, end)
        if isinstance(length, str):
            yield Damage(offset, length)
            offset = _next_header(file, offset + 1, end)
            continue
        body = file.read(length + FOOTER)
        if len(body) < length + FOOTER:
            yield Damage(offset, "the file is cut within it")
            return
        payload = body[:length]
        if struct.unpack_from("<I", body, length)[0] == masked_crc(payload):
            yield Record(offset, payload)
        else:
            yield Damage(offset, "the checksum of its payload does not hold")
        offset += HEADER + length + FOOTER


def record_offsets(file: IO[bytes], start: int, end: int) -> Iterator[int]:
    """Offsets of the records and stretches of damage, reading their headers alone.

    The n-th is the n-th that ``read_records`` yields.
    """
    offset = start
    while offset < end:
        yield offset
        length = _payload_length(file, offset, end)
        if isinstance(length, str):
            offset = _next_header(file, offset + 1, end)
        else:
            offset += HEADER + length + FOOTER


def _payload_length(file: IO[bytes], offset: int, end: int) -> int | str:
    """Length of the payload at ``offset``, the file standing at it; or what is wrong."""
    if file.tell() != offset:
        file.seek(offset)
    header = file.read(min(HEADER, end - offset))
    if len(header) < HEADER:
        return "the file is cut within the record's header"
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        return "the checksum of the record's length does not hold"
    if length > end - offset - HEADER - FOOTER:
        return f"the file is cut: the record has {length} bytes and {end - offset} are left"
    return int(length)


def _next_header(file: IO[bytes], start: int, end: int) -> int:
    """The first offset from ``start`` on at which a length and its checksum agree, or ``end``."""
    overlap = HEADER - 1
    at = start
    while at + HEADER <= end:
        file.seek(at)
        chunk = file.read(min(_RESUME_CHUNK + overlap, end - at))
        if len(chunk) < HEADER:
            break
        # A length between 1 and 4 GiB has four zero bytes and four that are not all zero; few other
        # places have, so few CRCs are computed.
        n = len(chunk) - overlap
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(chunk, np.uint8), HEADER)
        zero = windows[:, :8] == 0
        likely = np.flatnonzero(zero[:, 4:].all(1) & ~zero[:, :4].all(1))
        for i in likely.tolist():
            length, crc = struct.unpack_from("<QI", chunk, i)
            fits = HEADER + length + FOOTER <= end - at - i
            if fits and masked_crc(chunk[i : i + 8]) == crc:
                return int(at + i)
        at += n
    return end


# -- Example ------------------------------------------------------------------------------------

_PACKAGE = "foreframe.tfrecord"


@cache
def _example_class() -> Any:
    """The message class of tf.train.Example, built from its published field numbers."""
    file = descriptor_pb2.FileDescriptorProto(
        name="foreframe/tfrecord/example.proto", package=_PACKAGE, syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(within: Any, name: str, *fields: tuple[str, int | str, bool]) -> Any:
        """A message whose fields have a name, a type (or a message's name), and may be repeated."""
        added = within.add(name=name)
        for number, (key, kind, repeated) in enumerate(fields, 1):
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = added.field.add(name=key, number=number, label=label)
            field.type = kinds.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                field.type_name = f".{_PACKAGE}.{kind}"
        return added

    message(file.message_type, "BytesList", ("value", kinds.TYPE_BYTES, True))
    message(file.message_type, "FloatList", ("value", kinds.TYPE_FLOAT, True))
    message(file.message_type, "Int64List", ("value", kinds.TYPE_INT64, True))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = message(file.message_type, "Feature", *((key, of, False) for key, of in lists))
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(file.message_type, "Features", ("feature", "Features.FeatureEntry", True))
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", kinds.TYPE_STRING, False),
        ("value", "Feature", False),
    )
    entry.options.map_entry = True
    message(file.message_type, "Example", ("features", "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


class Example:
    """The features of one record, by name.

    Args:
        payload: payload of the record.

    Raises:
        UnusableError: it is no Example message.
    """

    def __init__(self, payload: bytes) -> None:
        try:
            # Kept: its features are views into it.
            self._message = _example_class().FromString(payload)
        except DecodeError as error:
            raise UnusableError("the payload is no tf.train.Example message") from error
        self._features = self._message.features.feature

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._features))

    def __contains__(self, name: str) -> bool:
        # Looking a missing key up in a protobuf map would add it.
        return name in self._features

    def kind(self, name: str) -> str:
        """What a feature holds and how many: float[7]."""
        which = self._features[name].WhichOneof("kind")
        if which is None:
            return "empty"
        return f"{which.removesuffix('_list')}[{len(getattr(self._features[name], which).value)}]"

    def bytes_list(self, name: str) -> Any:
        """The byte strings of a feature.

        Raises:
            UnusableError: the feature is missing or holds something else.
        """
        return self._values(name, ("bytes_list",))

    def numbers(self, name: str) -> np.ndarray:
        """The numbers of a feature, float32 or int64.

        Raises:
            UnusableError: the feature is missing or holds something else.
        """
        kind = self._features[name].WhichOneof("kind") if name in self else None
        dtype = np.int64 if kind == "int64_list" else np.float32
        return np.array(self._values(name, ("float_list", "int64_list")), dtype)

    def _values(self, name: str, kinds: tuple[str, ...]) -> Any:
        if name not in self:
            raise UnusableError(f"there is no feature {name}")
        kind = self._features[name].WhichOneof("kind")
        if kind not in kinds:
            raise UnusableError(
                f"the feature {name} is {self.kind(name)}, "
                f"not {' or '.join(wanted.removesuffix('_list') for wanted in kinds)}"
            )
        return getattr(self._features[name], kind).value


def encode_example(features: dict[str, bytes | list[bytes] | np.ndarray]) -> bytes:
    """The payload of an Example with these features: byte strings, float32 or int64 arrays."""
    message = _example_class()()
    for name, value in features.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, list):
            feature.bytes_list.value.extend(value)
        elif np.issubdtype(value.dtype, np.integer):
            feature.int64_list.value.extend(value.ravel().tolist())
        else:
            feature.float_list.value.extend(value.ravel().tolist())
    return bytes(message.SerializeToString(deterministic=True))
