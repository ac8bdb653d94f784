"""What is in a message of MCAP, whatever it is encoded as: its fields, its time, its picture."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np

from foreframe.data.picture import decode_picture
from foreframe.data.sources.listing import shown
from foreframe.data.sources.mcap_file import Received
from foreframe.data.sources.ros1_message import Fields, ros1_decoder
from foreframe.data.sources.source import UnusableError, reason

Decoder = Callable[[bytes], Any]

_EMPTY_ARRAY = re.compile(rb"\[0+\]")
"""In a definition: a message could hold any number of things that take no bytes."""
_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
"""Encodings of sensor_msgs/Image that are read, and bytes of a pixel."""
_SECONDS = ("sec", "secs", "seconds")
_NANOSECONDS = ("nanosec", "nsecs", "nsec", "nanos")


class Decoders:
    """Decodes messages; what their definitions say is worked out once for each type."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, str, bytes]], Decoder] = {}

    def __call__(self, received: Received) -> Any:
        """The message: an object or a dictionary of its fields.

        Raises:
            UnusableError: it is damaged, or of an encoding that is not read.
        """
        key = (received.encoding, received.schema)
        try:
            if key not in self._known:
                self._known[key] = _decoder(*key)
            return self._known[key](received.data)
        except UnusableError as error:
            raise UnusableError(f"{shown(received.topic)}: {error}") from error
        except Exception as error:  # definitions and messages are anybody's, and so are the errors
            raise UnusableError(
                f"{shown(received.topic)}: a message cannot be decoded "
                f"({shown(reason(error))[:200]})"
            ) from error


def _decoder(encoding: str, schema: tuple[str, str, bytes]) -> Decoder:
    name, form, definition = schema
    if encoding == "json":
        return json.loads
    if encoding == "ros1" and form == "ros1msg":
        return ros1_decoder(name, definition)
    if encoding == "cdr" and form == "ros2msg":
        return _ros2(name, definition)
    if encoding == "protobuf" and form == "protobuf":
        return _protobuf(name, definition)
    raise UnusableError(
        f"its messages are encoded as {shown(encoding)}{f' by {shown(form)}' if form else ''}; cdr "
        "by ros2msg, ros1, json and protobuf are read"
    )


def _ros2(name: str, definition: bytes) -> Decoder:
    from mcap.records import Schema
    from mcap_ros2.decoder import DecoderFactory

    if _EMPTY_ARRAY.search(definition):
        raise UnusableError("its definition has an array of nothing")
    # The parser prints lines that it does not understand, whatever is in them.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        decode = DecoderFactory().decoder_for("cdr", Schema(1, definition, "ros2msg", name))
    assert decode is not None
    return decode


def _protobuf(name: str, definition: bytes) -> Decoder:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    files = {one.name: one for one in descriptor_pb2.FileDescriptorSet.FromString(definition).file}
    pool = descriptor_pool.DescriptorPool()

    def add(file: str) -> None:
        if file in files:  # what a file is built on comes before it
            one = files.pop(file)
            for needed in one.dependency:
                add(needed)
            pool.AddSerializedFile(one.SerializeToString())

    for file in list(files):
        add(file)
    found = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return found.FromString


# -- fields -------------------------------------------------------------------------------------


def fields_of(message: Any) -> list[str]:
    """Names of the fields of a message, in the order of its definition; none of a value."""
    if isinstance(message, dict):
        return [str(name) for name in message]
    if hasattr(message, "DESCRIPTOR"):
        return [field.name for field in message.DESCRIPTOR.fields]
    if hasattr(message, "_full_text"):
        return list(message.__slots__)
    return []


def child(message: Any, name: str) -> Any:
    """A field of a message, or the value of this number in an array; None if there is none."""
    if isinstance(message, dict):
        return message.get(name)
    if name in fields_of(message):
        return getattr(message, name)
    if name.isdecimal() and _is_array(message) and int(name) < len(message):
        return message[int(name)]
    return None


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def value_at(message: Any, path: Sequence[str]) -> Any:
    """What a path of names leads to.

    Raises:
        UnusableError: names what is there instead.
    """
    for name in path:
        found = child(message, name)
        if found is None:
            there = ", ".join(map(shown, fields_of(message))) or "no fields"
            raise UnusableError(f"there is no field {name}; there are: {there}")
        message = found
    return message


def numbers_at(message: Any, path: Sequence[str]) -> list[float]:
    """The numbers in a field: one, an array, or those of all fields below it in their order.

    Raises:
        UnusableError: it is not there, or holds something else.
    """
    return list(_numbers(value_at(message, path)))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        try:
            yield float(value)
        except OverflowError:  # JSON knows integers of any length
            yield float("inf")
    elif isinstance(value, bytes):
        yield from map(float, value)
    elif _is_array(value):
        for one in value:
            yield from _numbers(one)
    elif fields_of(value) and (isinstance(value, Fields) or not isinstance(value, dict)):
        for name in fields_of(value):
            yield from _numbers(child(value, name))
    elif fields_of(value):
        raise UnusableError(
            f"it has the fields {', '.join(map(shown, fields_of(value)))}; name one"
        )
    else:
        raise UnusableError("it holds something else than numbers")


def joints_of(message: Any, path: Sequence[str]) -> tuple[str, ...]:
    """The names of joints beside a field, as sensor_msgs/JointState has them; else none."""
    holder = value_at(message, path[:-1]) if path else None
    for name in ("name", "joint_names"):
        names = child(holder, name)
        if _is_array(names) and len(names) and all(isinstance(one, str) for one in names):
            return tuple(names)
    return ()


def numeric_fields(message: Any, depth: int = 4) -> Iterator[tuple[str, int]]:
    """Paths of the fields of numbers in a message, and how many numbers there are in each."""
    for name in fields_of(message):
        value = child(message, name)
        if fields_of(value) and depth:
            if name != "header":
                yield from ((f"{name}.{path}", n) for path, n in numeric_fields(value, depth - 1))
        elif not isinstance(value, bytes):
            try:
                numbers = list(_numbers(value))
            except UnusableError:
                continue
            if numbers:
                yield name, len(numbers)


def stamp_of(message: Any) -> int | None:
    """The time in the header of a message, in nanoseconds; None if there is none, or it is 0."""
    stamp = child(child(message, "header"), "stamp") or child(message, "timestamp")
    seconds, nanoseconds = (
        next((found for name in names if (found := child(stamp, name)) is not None), None)
        for names in (_SECONDS, _NANOSECONDS)
    )
    if type(seconds) is not int or type(nanoseconds) is not int:
        return None
    stamped = seconds * 1_000_000_000 + nanoseconds
    return stamped if 0 < stamped < 1 << 63 else None


# -- pictures -----------------------------------------------------------------------------------


def picture_of(message: Any, where: str) -> np.ndarray:
    """The pixels [height, width, 3], RGB uint8, of sensor_msgs/Image or CompressedImage.

    Args:
        message: those types', or another with the same fields, as Foxglove's have.
        where: the topic and the message, for errors.

    Raises:
        UnusableError: it is no picture, or of an encoding that is not read, or lacks bytes.
        ForeframeError: its JPEG or PNG is damaged.
    """
    names = fields_of(message)
    if "data" not in names or not {"encoding", "format"} & set(names):
        raise UnusableError(f"{where}: it is no picture, but has {', '.join(map(shown, names))}")
    content = _bytes(child(message, "data"), where)
    if "encoding" in names:
        return _raw(message, content, where)
    form = shown(str(child(message, "format")))[:60]
    if "compressedDepth" in form or form.startswith(("16", "32")):
        raise UnusableError(f"{where}: its format is {form}, and depth is not read")
    return decode_picture(
        content, f"{where} of the format {form}", formats=("PNG", "JPEG"), verify=True
    )


def _bytes(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else bytes(value)
    except (ValueError, TypeError) as error:
        raise UnusableError(f"{where}: its data are no bytes ({reason(error)})") from error


def _raw(message: Any, content: bytes, where: str) -> np.ndarray:
    encoding = str(child(message, "encoding"))
    if encoding not in _CHANNELS:
        raise UnusableError(
            f"{where}: its pixels are {shown(encoding)[:40]}, and {', '.join(_CHANNELS)} are read"
        )
    channels = _CHANNELS[encoding]
    height, width, step = (child(message, name) for name in ("height", "width", "step"))
    if not all(type(one) is int and one > 0 for one in (height, width, step)):
        raise UnusableError(f"{where}: its size is {width}x{height}, with {step} bytes a row")
    if step < width * channels or len(content) != step * height:
        raise UnusableError(
            f"{where}: it has {len(content):,} bytes, which is not {width}x{height} as {encoding} "
            f"with {step} bytes a row"
        )
    rows = np.frombuffer(content, np.uint8).reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    if encoding == "bgr8":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))
