"""Recordings of a robot as MCAP, written by the packages of its makers."""

import io
import json

import numpy as np
from PIL import Image

LINE = "=" * 80
STAMP = {
    "ros2": f"""
{LINE}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{LINE}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
""",
    "ros1": f"\n{LINE}\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n",
}
TYPES = {
    "sensor_msgs/Image": """std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
""",
    "sensor_msgs/CompressedImage": "std_msgs/Header header\nstring format\nuint8[] data\n",
    "sensor_msgs/JointState": """std_msgs/Header header
string[] name
float64[] position
float64[] velocity
""",
    "example/Grip": "float64 data\nbool closed\nstring word\nfloat32[3] force\n",
}
SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND


def png(frame, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, form, **options)
    return file.getvalue()


def header(time, form="ros2"):
    names = ("sec", "nanosec") if form == "ros2" else ("secs", "nsecs")
    return {"stamp": dict(zip(names, divmod(time, SECOND), strict=True)), "frame_id": "base"}


def compressed(time, frame, form="png"):
    return {"header": header(time), "format": form, "data": png(frame)}


def raw(time, frame, encoding="rgb8", padding=0):
    """sensor_msgs/Image, its rows padded as drivers do."""
    rows = frame[:, :, ::-1] if encoding == "bgr8" else frame
    rows = rows[:, :, 0] if encoding == "mono8" else rows
    rows = rows.reshape(len(rows), -1)
    rows = np.hstack([rows, np.zeros((len(rows), padding), np.uint8)])
    return {
        "header": header(time),
        "height": frame.shape[0],
        "width": frame.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.shape[1],
        "data": rows.tobytes(),
    }


def joints(time, position, names=("a", "b", "c")):
    return {
        "header": header(time),
        "name": list(names),
        "position": list(map(float, position)),
        "velocity": [0.0] * len(position),
    }


def write_ros2(path, messages, **options):
    """Write messages (topic, type, time of the log, content) in the order they come."""
    from mcap_ros2.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, **options)
        schemas = {}
        for topic, kind, time, content in messages:
            package, name = kind.split("/")
            if kind not in schemas:
                text = TYPES[kind] + (STAMP["ros2"] if "Header" in TYPES[kind] else "")
                schemas[kind] = writer.register_msgdef(f"{package}/msg/{name}", text)
            writer.write_message(topic, schemas[kind], content, log_time=time)
        writer.finish()


def write_plain(path, messages, *, encoding="json", schema=None, **options):
    """Write messages (topic, time of the log, content), JSON unless they are bytes."""
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start()
        known = writer.register_schema(*schema) if schema else 0
        channels = {}
        for topic, time, content in messages:
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, encoding, known)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            writer.add_message(channels[topic], time, data, time)
        writer.finish()


def in_time(*topics):
    """Messages of several topics in the order of the log."""
    return sorted((one for topic in topics for one in topic), key=lambda one: one[2])


def film(frames, topic="/cam", rate=10, begin=BEGIN, kind="sensor_msgs/CompressedImage", **options):
    """A camera's messages; they are logged 3 ms after they were taken."""
    make = compressed if kind.endswith("CompressedImage") else raw
    for k, frame in enumerate(frames):
        time = begin + k * SECOND // rate
        yield topic, kind, time + 3_000_000, make(time, frame, **options)


def arm(rows, topic="/arm", rate=50, begin=BEGIN):
    for k, row in enumerate(rows):
        time = begin + k * SECOND // rate
        yield topic, "sensor_msgs/JointState", time + 1_000_000, joints(time, row)
