"""Edits of bytes and of what is wrapped in them: how an input is mutated, driven by Hypothesis.

A file with a checksum over it hardly ever lets a changed byte through. An edit is therefore made in
one of two depths: to the bytes as they lie there, or inside, with the checksum made new, so that
what reads the content itself is tried as well.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from foreframe.data.sources.tfrecord import Record, frame_record, read_records

Change = Callable[[bytes], bytes]

ODD_NUMBERS = [
    value.to_bytes(width, order, signed=value < 0)
    for value in (0, 1, -1, 255, 1 << 15, 1 << 20, (1 << 31) - 1)
    for width in (2, 4, 8)
    for order in ("little", "big")
    if -(1 << (8 * width - 1)) <= value < 1 << (8 * width - 1)
]
ODD_TEXT = [b"", b"nan", b"-1", b"1e308", b"inf", b"\xff\xfe", b"\0", b"[", b"{}", b'"', b"../../x"]
ODD_VALUES: list[object] = [
    None, True, -1, 0, 1, 1e308, float("nan"), 10**30, -0.5, 1 << 62, "", "x", "..", "\0", [], {},
    [[]], {"a": 1}, [1, 2, 3], "NaN", "9" * 5000,
]  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change.

    Attributes:
        kind: a key of ``KINDS``.
        place: where, as a share of what is changed.
        value: what is put there; only its length counts where something is taken away.
    """

    kind: str
    place: float
    value: bytes

    def apply(self, content: bytes) -> bytes:
        return KINDS[self.kind](content, int(self.place * len(content)), self.value)


def _bit(content: bytes, at: int, value: bytes) -> bytes:
    if not content:
        return value
    return content[:at] + bytes([content[at] ^ 1 << value[0] % 8]) + content[at + 1 :]


def _repeated(content: bytes, at: int, value: bytes) -> bytes:
    stretch = content[at : at + 1 + 16 * value[0]]
    return content[:at] + stretch * (1 + value[0] % 3) + content[at:]


def _json(content: bytes, at: int, value: bytes) -> bytes:
    """Replace the value at a path through the JSON, or take it away."""
    try:
        values = json.loads(content)
    except ValueError:
        return _bit(content, at, value)
    slots = list(_slots(values))
    if not slots:
        return value
    holder, key = slots[at * len(slots) // max(len(content), 1)]
    number = value[0] % (len(ODD_VALUES) + 1)
    if number < len(ODD_VALUES):
        holder[key] = ODD_VALUES[number]
    else:
        del holder[key]
    return json.dumps(values).encode()


def _slots(values: object):
    if isinstance(values, dict | list):
        for key in list(values) if isinstance(values, dict) else range(len(values)):
            yield values, key
            yield from _slots(values[key])


def _cell(content: bytes, at: int, value: bytes) -> bytes:
    """Replace what stands between two separators."""
    begin = max(content.rfind(mark, 0, at) for mark in (b",", b"\n")) + 1
    ends = [end for end in (content.find(mark, at) for mark in (b",", b"\n")) if end >= 0]
    return content[:begin] + value + content[min(ends, default=len(content)) :]


KINDS: dict[str, Callable[[bytes, int, bytes], bytes]] = {
    "bit": _bit,
    "put": lambda content, at, value: content[:at] + value + content[at + len(value) :],
    "insert": lambda content, at, value: content[:at] + value + content[at:],
    "zeros": lambda content, at, value: (
        content[:at] + bytes(min(16 * value[0], len(content) - at)) + content[at + 16 * value[0] :]
    ),
    "remove": lambda content, at, value: content[:at] + content[at + 1 + 16 * value[0] :],
    "repeat": _repeated,
    "cut": lambda content, at, value: content[:at],
    "json": _json,
    "cell": _cell,
}
_TEXT = {".json": ["json", "bit", "cut"], ".jsonl": ["json", "bit", "cut"], ".csv": ["cell", "bit"]}
_VALUES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXT[1:]),
)


def edits_of(suffix: str) -> st.SearchStrategy[list[Edit]]:
    """One to three edits; of text mostly such as leave it text."""
    kinds = st.sampled_from([kind for kind in KINDS if kind not in ("json", "cell")])
    if suffix in _TEXT:
        kinds = st.one_of(st.sampled_from(_TEXT[suffix]), kinds)
    places = st.floats(0, 1, exclude_max=True)
    return st.lists(st.builds(Edit, kinds, places, _VALUES), min_size=1, max_size=3)


def applied(content: bytes, edits: list[Edit]) -> bytes:
    """``content`` after all edits, in order."""
    for edit in edits:
        content = edit.apply(content)
    return content


# -- what is wrapped ----------------------------------------------------------------------------


def inside(suffix: str, content: bytes, place: float, change: Change) -> bytes:
    """``content`` with one of the things that it wraps changed, and its checksums made new.

    Args:
        suffix: of the file's name.
        content: of the file, whole.
        place: which of the things, as a share of all.
        change: from the thing to what it becomes.
    """
    wrapped = WRAPPERS.get(suffix)
    return change(content) if wrapped is None else wrapped(content, place, change)


def _tfrecord(content: bytes, place: float, change: Change) -> bytes:
    found = read_records(io.BytesIO(content), 0, len(content))
    payloads = [item.payload for item in found if isinstance(item, Record)]
    number = int(place * len(payloads))
    payloads[number] = change(payloads[number])
    return b"".join(map(frame_record, payloads))


def _zip(content: bytes, place: float, change: Change) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        for number, name in enumerate(names):
            member = old.read(name)
            chosen = number == int(place * len(names))
            new.writestr(name, change(member) if chosen else member)
    return out.getvalue()


def _png(content: bytes, place: float, change: Change) -> bytes:
    """The content of a chunk, or the picture's rows before they were packed."""
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    number = int(place * (len(chunks) + 1))
    if number == len(chunks):
        number = next(i for i, (kind, _) in enumerate(chunks) if kind == b"IDAT")
        packed = zlib.compress(change(zlib.decompress(chunks[number][1])))
        chunks[number] = (b"IDAT", packed)
    else:
        chunks[number] = (chunks[number][0], change(chunks[number][1]))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


WRAPPERS: dict[str, Callable[[bytes, float, Change], bytes]] = {
    ".tfrecords": _tfrecord,
    ".tfrecord-00000-of-00001": _tfrecord,
    ".npz": _zip,
    ".zip": _zip,
    ".png": _png,
}


def wraps(path: Path) -> bool:
    """Whether there is something inside that file which ``inside`` reaches."""
    return path.suffix in WRAPPERS
