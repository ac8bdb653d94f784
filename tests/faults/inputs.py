"""A small, sound input for every reader, and what reading it gives.

``INPUTS[name].write(place)`` writes the files of one below ``place``; ``read(place)`` goes through
all that a command would do with them and returns what was taken, as digests that can be compared.
It may refuse with ``ForeframeError``; anything else that it raises is a fault.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.lab import write_sequence
from foreframe.data.sources import (
    BairSource,
    DroidSource,
    Hdf5Source,
    LabSource,
    LerobotSource,
    McapSource,
    MovingMnistSource,
    NpzSource,
    RldsSource,
    Source,
    VideoSource,
    ZarrSource,
)
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.data.store.opened import open_stores
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, LAST, RUN_CONFIG, saved_config
from foreframe.runs.weights import read_tensors, write_tensors
from foreframe.system.workers import Execution
from foreframe.training.checkpoint import Checkpoint
from tests.bags import arm, in_time, write_ros2
from tests.bags import film as film_of

OLD = Path(__file__).parents[1] / "data" / "v0.1"
SIZE, FRAMES, RECORDINGS = 64, 4, 3
OUT = "out"


@dataclass(frozen=True)
class Input:
    """One kind of input.

    Attributes:
        write: writes it below a folder.
        read: what is taken of it: one digest for each recording or tensor.
        exact: files (by the end of their names) over which there is a checksum: whatever is done to
            their bytes, nothing may be read of them that was not written.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], frozenset[str]]
    exact: tuple[str, ...] = ()


def digest(*arrays: np.ndarray | None) -> str:
    made = hashlib.sha256()
    for array in arrays:
        if array is not None:
            made.update(f"{array.dtype}{array.shape}".encode())
            made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def recordings(store: Store) -> set[str]:
    return {digest(one.frames, one.actions, one.positions) for one in store}


def imported(source: Callable[[Path], Source]) -> Callable[[Path], frozenset[str]]:
    """Reads a folder by importing it, and the store that comes of it."""

    def read(place: Path) -> frozenset[str]:
        out = place / OUT
        options = ImportOptions(size=16, split="train", resample_actions="last")
        one = Execution(workers=1)
        try:
            import_dataset(source(place), out, options, execution=one, log=lambda line: None)
            return frozenset().union(*map(recordings, open_stores(out).values()))
        finally:
            shutil.rmtree(out, ignore_errors=True)

    return read


def frames_of(seed: int) -> np.ndarray:
    """Frames that compress well and are all different."""
    values = np.random.default_rng(seed).integers(1, 256, (FRAMES, 4, 4, 3)).astype(np.uint8)
    return values.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)


def numbers_of(seed: int, width: int) -> np.ndarray:
    return np.random.default_rng((seed, width)).normal(size=(FRAMES, width)).astype(np.float32)


def png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


# -- one after the other ------------------------------------------------------------------------


def bair(place: Path) -> None:
    examples = []
    for seed in range(RECORDINGS):
        features = {}
        for t, frame in enumerate(frames_of(seed)):
            features[f"{t}/image_aux1/encoded"] = frame.tobytes()
            features[f"{t}/action"] = numbers_of(seed, 4)[t]
            features[f"{t}/endeffector_pos"] = numbers_of(seed, 3)[t]
        examples.append(frame_record(encode_example(features)))
    (place / "train").mkdir()
    (place / "train/traj_0_to_255.tfrecords").write_bytes(b"".join(examples))


def rlds(place: Path) -> None:
    examples = [
        frame_record(
            encode_example(
                {
                    "steps/observation/image": [png(frame) for frame in frames_of(seed)],
                    "steps/action": numbers_of(seed, 4).ravel(),
                    "steps/observation/state": numbers_of(seed, 3).ravel(),
                }
            )
        )
        for seed in range(RECORDINGS)
    ]
    (place / "toy-train.tfrecord-00000-of-00001").write_bytes(b"".join(examples))
    text(place / "dataset_info.json", json.dumps({"name": "toy", "version": "1.0.0"}))


def lerobot(version: str) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        camera, single = "observation.image", version == "v2.1"
        where = "{episode_index:06d}" if single else "chunk-{chunk_index:03d}/{file_index:03d}"
        kinds = {"action": 4, "observation.state": 3}
        features: dict[str, object] = {
            name: {"dtype": "float32", "shape": [width]} for name, width in kinds.items()
        }
        features[camera] = {"dtype": "image", "shape": [SIZE, SIZE, 3]}
        info = {
            "codebase_version": version,
            "total_episodes": RECORDINGS,
            "total_frames": RECORDINGS * FRAMES,
            "chunks_size": 1000,
            "fps": 10,
            "splits": {"train": f"0:{RECORDINGS}"},
            "data_path": f"data/{where}.parquet",
            "video_path": None,
            "features": features,
        }
        text(place / "meta/info.json", json.dumps(info))
        tables, rows = [], []
        for k in range(RECORDINGS):
            pictures = [{"bytes": png(frame), "path": None} for frame in frames_of(k)]
            columns = {
                camera: pa.array(pictures),
                "timestamp": pa.array(np.arange(FRAMES, dtype=np.float32) / 10),
                "frame_index": pa.array(np.arange(FRAMES)),
                "episode_index": pa.array(np.full(FRAMES, k)),
                "index": pa.array(k * FRAMES + np.arange(FRAMES)),
            }
            columns |= {name: pa.array(list(numbers_of(k, w))) for name, w in kinds.items()}
            tables.append(pa.table(columns))
            row = {"episode_index": k, "tasks": ["push"], "length": FRAMES}
            at = {"dataset_from_index": k * FRAMES, "dataset_to_index": (k + 1) * FRAMES}
            rows.append(
                row if single else {**row, **at, "data/chunk_index": 0, "data/file_index": 0}
            )
        (place / "data/chunk-000").mkdir(parents=True)
        if single:
            for k, table in enumerate(tables):
                pq.write_table(table, place / f"data/{k:06d}.parquet")
            text(place / "meta/episodes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.concat_tables(tables), place / "data/chunk-000/000.parquet")
            (place / "meta/episodes/chunk-000").mkdir(parents=True)
            listed = place / "meta/episodes/chunk-000/file-000.parquet"
            pq.write_table(pa.Table.from_pylist(rows), listed)

    return write


def zarr(name: str, version: int) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        import zarr

        path = place / name
        zipped = path.suffix == ".zip"
        target = zarr.storage.ZipStore(path, mode="w") if zipped else str(path)
        group = zarr.open_group(target, mode="w", zarr_format=version)
        arrays = {
            "data/img": np.concatenate([frames_of(k) for k in range(RECORDINGS)]),
            "data/action": np.concatenate([numbers_of(k, 4) for k in range(RECORDINGS)]),
            "data/state": np.concatenate([numbers_of(k, 3) for k in range(RECORDINGS)]),
            "meta/episode_ends": FRAMES * np.arange(1, RECORDINGS + 1),
        }
        for key, array in arrays.items():
            chunks = (min(5, len(array)), *array.shape[1:])
            made = group.create_array(key, shape=array.shape, dtype=array.dtype, chunks=chunks)
            made[...] = array
        if zipped:
            target.close()

    return write


def film(path: Path, seed: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.height = stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames_of(seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def video(place: Path) -> None:
    for k in range(2):
        film(place / f"{k}.mp4", k)
        rows = np.hstack([numbers_of(k, 2), numbers_of(k, 3)])
        lines = ["vx,vy,x,y,z", *(",".join(f"{value:.4f}" for value in row) for row in rows)]
        text(place / f"{k}.csv", "\n".join(lines) + "\n")


def hdf5(place: Path) -> None:
    import h5py

    with h5py.File(place / "a.hdf5", "w") as file:
        for k in range(RECORDINGS):
            demo = file.create_group(f"data/demo_{k}")
            demo.create_dataset("obs/agentview_image", data=frames_of(k), compression="gzip")
            demo["actions"] = numbers_of(k, 4)
            demo["obs/robot0_eef_pos"] = numbers_of(k, 3)


def droid(place: Path) -> None:
    for k in range(2):
        folder = place / "videos" / "train" / str(k)
        folder.mkdir(parents=True)
        film(folder / "0.mp4", k)
        rows = np.repeat(numbers_of(k, 4), 3, 0).tolist()
        values = {"video_length": FRAMES, "texts": ["push"], "action.joint_position": rows}
        text(place / "annotation" / "train" / f"{k}.json", json.dumps(values))


def mcap(place: Path) -> None:
    for k in range(2):
        messages = in_time(film_of(frames_of(k)), arm(numbers_of(k, 4), rate=10))
        write_ros2(place / f"{k}.mcap", messages, chunk_size=4000)


def npz(save: Callable[..., None], name: str) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        save(
            place / name,
            images=np.stack([frames_of(k) for k in range(RECORDINGS)]),
            actions=np.stack([numbers_of(k, 4) for k in range(RECORDINGS)]),
            states=np.stack([numbers_of(k, 3) for k in range(RECORDINGS)]),
        )

    return write


def idx(place: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28)).astype(np.uint8)
    head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (place / "train-images-idx3-ubyte").write_bytes(head + images.tobytes())


def lab(place: Path) -> None:
    for k in range(2):
        folder = place / "train" / "traj_0_to_255" / str(k)
        write_sequence(folder, frames_of(k), numbers_of(k, 4), numbers_of(k, 3))


def store(place: Path) -> None:
    shutil.copytree(OLD / "store" / "train", place / "train")


def read_store(place: Path) -> frozenset[str]:
    opened = Store(place / "train")
    opened.require_sound()
    opened.statistics()
    return frozenset(recordings(opened))


def weights(place: Path) -> None:
    """Those of a small run, written by this version, with their checksum."""
    for name in (LAST, BEST):
        write_tensors(place / name, *read_tensors(OLD / "run-stopped" / name))


def read_weights(place: Path) -> frozenset[str]:
    held = {LAST: Checkpoint.read(place).tensors, BEST: read_tensors(place / BEST)[0]}
    return frozenset(
        f"{file} {name} {digest(tensor.numpy())}"
        for file, tensors in held.items()
        for name, tensor in tensors.items()
    )


def settings(place: Path) -> None:
    shutil.copy(OLD / "run" / RUN_CONFIG, place / RUN_CONFIG)


def read_settings(place: Path) -> frozenset[str]:
    return frozenset([repr(saved_config(place))])


RECORDS = (".tfrecords", "00001")
INPUTS: dict[str, Input] = {
    "TFRecord (BAIR)": Input(bair, imported(BairSource), RECORDS),
    "TFRecord with PNG (RLDS)": Input(rlds, imported(RldsSource), RECORDS),
    "parquet, JSON, PNG (LeRobot v2.1)": Input(lerobot("v2.1"), imported(LerobotSource)),
    "parquet, JSON, PNG (LeRobot v3.0)": Input(lerobot("v3.0"), imported(LerobotSource)),
    "zarr 2": Input(zarr("a.zarr", 2), imported(lambda place: ZarrSource(place / "a.zarr"))),
    "zarr 3, zip": Input(
        zarr("a.zarr.zip", 3), imported(lambda place: ZarrSource(place / "a.zarr.zip")), (".zip",)
    ),
    "mp4, CSV": Input(
        video, imported(lambda place: VideoSource(place, actions="vx,vy", positions="x,y,z"))
    ),
    "HDF5": Input(
        hdf5,
        imported(
            lambda place: Hdf5Source(
                place / "a.hdf5",
                image="obs/agentview_image",
                action="actions",
                position="obs/robot0_eef_pos",
            )
        ),
    ),
    "mp4, JSON (DROID)": Input(
        droid,
        imported(lambda place: DroidSource(place, action="action.joint_position", position="none")),
    ),
    "MCAP": Input(
        mcap,
        imported(
            lambda place: McapSource(
                place, action="/arm.position[:3]", position="/arm.position[3]", clock="header"
            )
        ),
        (".mcap",),
    ),
    "npz, packed": Input(
        npz(np.savez_compressed, "a.npz"),
        imported(lambda place: NpzSource(place / "a.npz", "images", "actions", "states")),
        (".npz",),
    ),
    "npz, as it is": Input(
        npz(np.savez, "a.npz"),
        imported(lambda place: NpzSource(place / "a.npz", "images", "actions", "states")),
        (".npz",),
    ),
    "idx (Moving-MNIST)": Input(
        idx, imported(lambda place: MovingMnistSource(place, 2, 0, 0, frames=3))
    ),
    "PNG, CSV (lab)": Input(lab, imported(LabSource), (".png",)),
    "store": Input(store, read_store, ("",)),
    "safetensors": Input(weights, read_weights, ("",)),
    "run.json": Input(settings, read_settings),
}


def files_of(place: Path) -> list[Path]:
    """Those of an input, in a fixed order."""
    return sorted(path for path in place.rglob("*") if path.is_file())


class Faulty(AssertionError):
    """Something that was never written was taken from a file with a checksum."""


class Tried:
    """An input, written once, of which one file after the other is replaced.

    Args:
        name: of the input.
        place: an empty folder for it.
    """

    def __init__(self, name: str, place: Path) -> None:
        self.kind = INPUTS[name]
        self.place = place
        self.kind.write(place)
        self.contents = {path: path.read_bytes() for path in files_of(place)}
        self.written = self.kind.read(place)

    def read(self, path: Path, content: bytes, exact: bool) -> bool:
        """Read the input with ``content`` in place of one file.

        Args:
            path: of the file.
            content: what it holds now.
            exact: the checksum of the file was not made new.

        Returns:
            Whether something was taken.

        Raises:
            Faulty: something that was never written was taken, though there is a checksum.
        """
        path.write_bytes(content)
        try:
            taken = self.kind.read(self.place)
        except ForeframeError:
            return False
        finally:
            path.write_bytes(self.contents[path])
        if exact and path.name.endswith(self.kind.exact or "/") and not taken <= self.written:
            raise Faulty(f"{path.name}: other content was taken than was written")
        return True
