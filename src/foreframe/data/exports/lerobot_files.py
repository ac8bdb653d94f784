"""The files of a LeRobotDataset v3.0 that hold a group of episodes: rows, pictures, metadata."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.sources.lerobot_layout import import_parquet
from foreframe.data.statistics import Statistics
from foreframe.data.store.store import Store
from foreframe.data.video_file import import_av
from foreframe.errors import ForeframeError
from foreframe.system.files import whole_file

TASK = "unknown"
"""Every episode of this format has a task, and foreframe's stores have none."""

CODEC, PIXELS = "libx264", "yuv444p"
_CODING = {
    "crf": "10",
    "preset": "medium",
    "g": "10",  # to read one frame, 10 at most are decoded
    "bf": "0",
    "forced-idr": "1",
}
_BT601, _LIMITED = 6, 1


@dataclass(frozen=True)
class RowColumns:
    """What the rows hold besides their numbers and times.

    Attributes:
        widths: numbers in the features "action" and "observation.state", as far as they exist.
    """

    widths: dict[str, int]

    @classmethod
    def of(cls, store: Store) -> "RowColumns":
        """The columns for the actions and positions of a store."""
        widths = {"action": store.action_dim, "observation.state": store.position_dim}
        return cls({name: width for name, width in widths.items() if width is not None})

    def schema(self) -> Any:
        """RowColumns and types of the parquet files."""
        pa = import_parquet()
        columns = [
            (name, pa.float32() if width == 1 else pa.list_(pa.float32(), width))
            for name, width in self.widths.items()
        ]
        columns.append(("timestamp", pa.float32()))
        columns += [
            (name, pa.int64()) for name in ("frame_index", "episode_index", "index", "task_index")
        ]
        return pa.schema(columns)

    def features(self) -> dict[str, Any]:
        """The columns as info.json describes them."""
        types = {name: ("float32", width) for name, width in self.widths.items()}
        types["timestamp"] = ("float32", 1)
        for name in ("frame_index", "episode_index", "index", "task_index"):
            types[name] = ("int64", 1)
        return {
            name: {"dtype": dtype, "shape": [width], "names": None}
            for name, (dtype, width) in types.items()
        }


def picture_feature(size: tuple[int, int], fps: float) -> dict[str, Any]:
    """What info.json tells of the videos."""
    return {
        "dtype": "video",
        "shape": [*size, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": size[0],
            "video.width": size[1],
            "video.codec": "h264",
            "video.pix_fmt": PIXELS,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def write_rows(
    path: Path, columns: RowColumns, episodes: Iterable[dict[str, np.ndarray]]
) -> list[dict[str, Statistics]]:
    """A parquet file with a group of rows for each episode.

    Args:
        path: path of the file.
        columns: what is in it.
        episodes: rows of each, by the names of the columns: [T] or [T, width].

    Returns:
        Statistics of every column of each episode.
    """
    pa = import_parquet()
    schema = columns.schema()
    statistics: list[dict[str, Statistics]] = []
    with (
        whole_file(path) as aside,
        pa.parquet.ParquetWriter(aside, schema, write_page_checksum=True) as writer,
    ):
        for rows in episodes:
            arrays = []
            for field in schema:
                values = np.ascontiguousarray(rows[field.name]).ravel()
                if pa.types.is_fixed_size_list(field.type):
                    flat = pa.array(values, field.type.value_type)
                    arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
                else:
                    arrays.append(pa.array(values, field.type))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            statistics.append(
                {name: Statistics.of(r.reshape(len(r), -1)) for name, r in rows.items()}
            )
    return statistics


def write_video(
    path: Path, size: tuple[int, int], rate: Fraction, episodes: Iterable[Iterable[np.ndarray]]
) -> list[Statistics]:
    """An mp4 with all frames of all episodes, frame k at exactly k / rate seconds.

    H.264 with full resolution of colours (4:4:4), at a PSNR of about 39 dB. The usual 4:2:0 plays
    in more browsers, but halves the resolution of the colours: at 64 x 64 pixels that alone costs
    as much as the predictions of a model that are to be compared with these frames (a PSNR of
    30 dB on simulated scenes, whatever the bit rate). FFmpeg, PyAV, torchcodec, VLC and Chrome
    show 4:4:4. Each episode begins with a key frame.

    Args:
        path: path of the file.
        size: height and width.
        rate: frames in a second.
        episodes: the frames of each, uint8 RGB.

    Returns:
        Statistics of the three colours of each episode, from 0 to 1.

    Raises:
        ForeframeError: the installed FFmpeg has no encoder for it.
    """
    av = import_av()
    from av.video.reformatter import Colorspace, VideoReformatter

    converter = VideoReformatter()  # one for all: to make it takes ten times as long as to use it
    statistics: list[Statistics] = []
    with whole_file(path) as aside:
        try:
            options = {"movflags": "faststart"}
            with av.open(str(aside), "w", format="mp4", options=options) as container:
                stream = _stream(container, path, rate)
                stream.height, stream.width = size
                stream.pix_fmt = PIXELS
                context = stream.codec_context
                context.time_base = 1 / rate
                context.thread_count = 1  # the processes are what works side by side
                context.colorspace, context.color_range = _BT601, _LIMITED
                at = 0
                for frames in episodes:
                    counts = np.zeros((3, 256), np.int64)
                    for t, frame in enumerate(frames):
                        for c in range(3):
                            counts[c] += np.bincount(frame[..., c].ravel(), minlength=256)
                        given = np.ascontiguousarray(frame)
                        picture = converter.reformat(
                            av.VideoFrame.from_ndarray(given, format="rgb24"),
                            format=PIXELS,
                            dst_colorspace=Colorspace.ITU601,
                        )
                        picture.pts, picture.time_base = at, 1 / rate
                        picture.pict_type = 1 if t == 0 else 0  # I, or as the encoder likes
                        container.mux(stream.encode(picture))
                        at += 1
                    statistics.append(_of_histograms(counts))
                container.mux(stream.encode())
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):  # a full disk and the like, which whole_file names
                raise
            raise ForeframeError(f"{path}: the video could not be encoded ({error}).") from error
    return statistics


def _stream(container: Any, path: Path, rate: Fraction) -> Any:
    try:
        return container.add_stream(CODEC, rate=rate, options=_CODING)
    except ValueError as error:
        raise ForeframeError(
            f"{path}: the package av has no encoder {CODEC} ({error}): "
            "pip install 'foreframe[data]'."
        ) from error


def _of_histograms(counts: np.ndarray) -> Statistics:
    """Statistics of colours from histograms: [3, 256] counts of the values 0/255 to 255/255."""
    values = np.arange(256) / 255
    n = int(counts[0].sum())
    mean = counts @ values / n
    m2 = (counts * (values - mean[:, None]) ** 2).sum(1)
    low = np.array([values[np.flatnonzero(c)[0]] for c in counts])
    high = np.array([values[np.flatnonzero(c)[-1]] for c in counts])
    return Statistics(n, mean, m2, low, high)


def told(statistics: Statistics, frames: int, picture: bool) -> dict[str, list[Any]]:
    """Statistics as the format has them.

    Args:
        statistics: statistics of a column, or of three colours.
        frames: how many they are of; of colours they count the pixels.
        picture: whether they are of colours.
    """

    def shaped(values: np.ndarray) -> list[Any]:
        return (values.reshape(3, 1, 1) if picture else values).tolist()

    return {
        "min": shaped(statistics.low),
        "max": shaped(statistics.high),
        "mean": shaped(statistics.mean),
        "std": shaped(statistics.deviation),
        "count": [frames],
    }


def write_list(path: Path, rows: list[dict[str, Any]]) -> None:
    """A parquet file with a row for each of a group of episodes."""
    pa = import_parquet()
    with whole_file(path) as aside:
        pa.parquet.write_table(pa.Table.from_pylist(rows), aside, write_page_checksum=True)


def write_tasks(path: Path) -> None:
    """The list of tasks, of which there is one; as pandas writes a table whose index they are."""
    pa = import_parquet()

    def column(name: str | None, kind: str, values: str, metadata: Any = None) -> dict[str, Any]:
        return {
            "name": name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": values,
            "metadata": metadata,
        }

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [column(None, "unicode", "object", {"encoding": "UTF-8"})],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([TASK])})
    table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
    with whole_file(path) as aside:
        pa.parquet.write_table(table, aside, write_page_checksum=True)
