"""What goes over the pipes between the service and a process aside: a header in JSON, then bytes.

Nothing is pickled: the service believes no more of what comes back than that it is bytes.
"""

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

_LENGTH = struct.Struct("<I")
HEADER_MOST = 2**20
"""Bytes of a header at most."""


def write_header(stream: IO[bytes], header: Mapping[str, Any]) -> None:
    """Write a header; the bytes that it announces follow it.

    Raises:
        OSError: nobody reads any more.
    """
    content = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(content)) + content)


def read_header(stream: IO[bytes]) -> dict[str, Any]:
    """Read a header.

    Raises:
        EOFError: the stream has ended.
        ValueError: it is longer than a header, or none.
    """
    (length,) = _LENGTH.unpack(read_exactly(stream, _LENGTH.size))
    if length > HEADER_MOST:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(read_exactly(stream, length))
    if not isinstance(header, dict):
        raise ValueError("a header that is none")
    return header


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: the stream has ended before.
    """
    content = stream.read(count)
    if len(content) < count:
        raise EOFError(f"{len(content)} of {count} bytes")
    return content
