"""Messages of ROS 1, decoded by the definition that comes with them.

The usual library makes a Python program of the definition and imports it. A definition is part of a
file that may come from anybody, so here it is only looked up.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NUMBERS = {
    "bool": "?",
    "int8": "b",
    "byte": "b",
    "uint8": "B",
    "char": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_FIELD = re.compile(r"([\w/]+)(?:(\[)(\d*)\])?\s+(\w+)")
_CONSTANT = re.compile(r"[\w/]+\s+\w+\s*=")


class Fields(dict[str, Any]):
    """A message: its fields in the order of its definition."""


@dataclass(frozen=True)
class _Field:
    """A field of a message.

    Attributes:
        name: its name.
        kind: a number, "string", "time", "duration", or the full name of a message.
        count: of an array: its length, -1 where each message says it; None for a single value.
    """

    name: str
    kind: str
    count: int | None


def ros1_decoder(name: str, definition: bytes) -> Callable[[bytes], Fields]:
    """What decodes the messages of a type.

    Args:
        name: of the type: "sensor_msgs/Image".
        definition: its text, and behind it those of the types in it.

    Raises:
        ValueError: the definition, or later a message, cannot be understood.
    """
    kinds: dict[str, list[_Field]] = {}
    for section in re.split(r"^={3,}\s*$", definition.decode(), flags=re.MULTILINE):
        first, _, rest = section.strip().partition("\n")
        named = re.fullmatch(r"MSG:\s*(\S+)", first.strip())
        own = named[1] if named else name
        kinds[own] = _fields(rest if named else section, own.partition("/")[0])

    def decode(data: bytes) -> Fields:
        message, end = _message(kinds, name, data, 0)
        if end != len(data):
            raise ValueError(f"it has {len(data)} bytes, and its definition {end}")
        return message

    return decode


def _fields(text: str, package: str) -> list[_Field]:
    found: list[_Field] = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#") or _CONSTANT.match(line):
            continue
        match = _FIELD.fullmatch(line.partition("#")[0].strip())
        if match is None:
            raise ValueError(f"its definition has the line {line[:60]}")
        kind, is_array, count, name = match.groups()
        if kind in ("Header", "roslib/Header"):
            kind = "std_msgs/Header"
        elif "/" not in kind and kind not in (*_NUMBERS, "string", "time", "duration"):
            kind = f"{package}/{kind}"
        found.append(_Field(name, kind, int(count or -1) if is_array else None))
    return found


def _message(kinds: dict[str, list[_Field]], name: str, data: bytes, at: int) -> tuple[Fields, int]:
    """A message that begins at a byte, and where it ends."""
    if name not in kinds:
        raise ValueError(f"its definition lacks that of {name}")
    message = Fields()
    for field in kinds[name]:
        message[field.name], at = _value(kinds, field, data, at)
    return message, at


def _value(kinds: dict[str, list[_Field]], field: _Field, data: bytes, at: int) -> tuple[Any, int]:
    count = 1 if field.count is None else field.count
    if count < 0:
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
    if count > len(data):
        raise ValueError(f"{field.name} has {count} values, and the message {len(data)} bytes")
    if field.kind in _NUMBERS:
        values, at = _numbers(_NUMBERS[field.kind], count, data, at)
        return (values if field.count is not None else values[0]), at
    single = []
    for _ in range(count):
        begin = at
        value, at = _one(kinds, field.kind, data, begin)
        if at == begin and count > 1:  # there might be any number of them
            raise ValueError(f"{field.name} is an array of nothing")
        single.append(value)
    return (single if field.count is not None else single[0]), at


def _numbers(code: str, count: int, data: bytes, at: int) -> tuple[Any, int]:
    end = at + count * struct.calcsize(code)
    if end > len(data):
        raise ValueError("it ends in the middle")
    return data[at:end] if code == "B" else struct.unpack_from(f"<{count}{code}", data, at), end


def _one(kinds: dict[str, list[_Field]], kind: str, data: bytes, at: int) -> tuple[Any, int]:
    """A value that is no number."""
    if kind in ("time", "duration"):
        (secs, nsecs), at = _numbers("I" if kind == "time" else "i", 2, data, at)
        return Fields(secs=secs, nsecs=nsecs), at
    if kind == "string":
        (length,), at = _numbers("I", 1, data, at)
        text, at = _numbers("B", length, data, at)
        return bytes(text).decode(errors="replace"), at
    return _message(kinds, kind, data, at)
