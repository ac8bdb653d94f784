"""What a path is likely to be, by names and first bytes alone, and the command that imports it."""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from foreframe.data.container import container_of
from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.sources.listing import counted, shown
from foreframe.data.sources.mcap_file import CONVERSION, MAGIC
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, natural_key, open_binary

TABLE = (
    ("HDF5 (.hdf5, .h5): robomimic, LIBERO, ManiSkill, ALOHA, RoboNet, others", "hdf5"),
    ("a folder with meta/info.json: LeRobotDataset v2.0, v2.1, v3.0", "lerobot"),
    ("a folder of .tfrecord files: Bridge, Open X-Embodiment (RLDS)", "rlds"),
    ("softmotion30_44k, its tar or .tfrecords: BAIR", "bair"),
    ("a folder with annotation/ and videos/: DROID", "droid"),
    (".zarr or .zarr.zip: a replay buffer of diffusion policy", "zarr"),
    ("MCAP (.mcap): what ROS and Foxglove record", "mcap"),
    ("videos (mp4, avi, gif, mov, mkv, webm), perhaps with a CSV each", "video"),
    (".npz: arrays", "npz"),
    ("train-images-idx3-ubyte: MNIST", "mmnist"),
    ("train/SHARD/N/0.png, 1.png, ...: the lab's layout", "lab"),
    ("a dataset that foreframe has made: other views, another size or rate", "store"),
)
"""Forms that can be imported, and the source that reads each."""

_HEAD = 4096
_MOST = 2000
"""Entries of a folder and of those below it that are looked at, at most."""
_DEEPEST = 4
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLED = ("policy_out.pkl", "obs_dict.pkl")


@dataclass(frozen=True)
class Recognised:
    """Something that was recognised.

    Attributes:
        place: where it is.
        form: what it looks like: "a LeRobotDataset v2.1".
        source: the source that reads it; empty if none does.
        options: options that the command needs besides.
        advice: what to do instead, where no source reads it.
    """

    place: Place
    form: str
    source: str = ""
    options: str = ""
    advice: str = ""

    def __str__(self) -> str:
        path = shown(str(self.place))
        if not self.source:
            return f"{path} looks like {self.form}. {self.advice}"
        command = f"foreframe import {self.source} {shown(shlex.quote(str(self.place)))} OUT"
        return f"{path} looks like {self.form}: {command}{self.options}"


def suggestion(place: Place) -> str:
    """What to type to import what is at a place that exists."""
    found = recognise(place)
    if not found:
        known = "".join(f"\n  {form}: foreframe import {name} IN OUT" for form, name in TABLE)
        return f"{place}: nothing in it is recognised. What can be imported:{known}"
    hint = "" if not any(one.source for one in found) else " (--list first shows what it holds)"
    if len(found) == 1:
        return f"{found[0]}{hint}"
    return f"{place}: holds several datasets{hint}:" + "".join(f"\n  {one}" for one in found)


def recognise(place: Place) -> list[Recognised]:
    """What is at a place: one dataset, or those in the folder; nothing if it is not recognised."""
    try:
        if not place.is_dir():
            return _file(place)
        own = _dataset(place)
        if own is not None:
            return [own]
        below = [(folder, _within(folder, 2)) for folder in _folders(place)]
        if not any(found for _, found in below):
            return _loose(place)
        # Beside datasets, a folder of files is likely to be one of its own.
        return [one for folder, found in below for one in found or _readable(folder)]
    except OSError as error:
        raise ForeframeError(f"{place}: cannot be read ({error.strerror or error}).") from error


def _within(folder: Place, depth: int) -> list[Recognised]:
    """The dataset that a folder is, or those in it."""
    own = _dataset(folder)
    if own is not None:
        return [own]
    return [one for path in _folders(folder) for one in _within(path, depth - 1)] if depth else []


def _entries(folder: Place) -> list[Place]:
    """What is in a folder, hidden things left out."""
    with suppress(OSError):
        there = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(islice(there, _MOST), key=lambda path: natural_key(path.name))
    return []


def _folders(folder: Place) -> list[Place]:
    return [path for path in _entries(folder)[:200] if path.is_dir()]


def _below(folder: Place, depth: int = _DEEPEST) -> Iterator[Place]:
    """Files in a folder and in those below it."""
    folders: list[Place] = []
    for path in _entries(folder):
        if path.is_dir():
            folders.append(path)
        else:
            yield path
    if depth:
        for path in folders:
            yield from _below(path, depth - 1)


# -- folders that are one dataset ---------------------------------------------------------------


def _dataset(folder: Place) -> Recognised | None:
    return next((one for look in _DATASETS if (one := look(folder)) is not None), None)


def _lerobot(folder: Place) -> Recognised | None:
    info = folder / "meta" / "info.json"
    if not info.is_file():
        return None
    version = ""
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        version = f" {json.loads(info.read_bytes())['codebase_version']}"
    return Recognised(folder, f"a LeRobotDataset{shown(version)[:20]}", "lerobot")


def _droid(folder: Place) -> Recognised | None:
    annotation = folder / "annotation"
    if not (annotation.is_dir() and (folder / "videos").is_dir()):
        return None
    if any(path.suffix == ".json" for path in islice(_below(annotation, 1), 20)):
        return Recognised(folder, "DROID with a video a camera", "droid")
    return None


def _foreframe(folder: Place) -> Recognised | None:
    splits = [folder / name for name in ("train", "validate", "test")]
    if (folder / "dataset.json").is_file() and any((s / "meta.json").is_file() for s in splits):
        path = shlex.quote(str(folder))
        advice = (
            f"There is nothing to import: foreframe check {path}. Other views of it, another size "
            f"or rate: foreframe import store {path} OUT"
        )
        return Recognised(folder, "a dataset of foreframe already", advice=advice)
    return None


def _zarr(folder: Place) -> Recognised | None:
    if not any((folder / name).is_file() for name in (".zgroup", "zarr.json", ".zarray")):
        return None
    if (folder / "meta" / "episode_ends").is_dir():
        return Recognised(folder, "a replay buffer in zarr", "zarr")
    return Recognised(
        folder,
        "a zarr without meta/episode_ends, which divides it into episodes",
        advice="Save the arrays of each episode as .npz, and import those.",
    )


def _bridge_raw(folder: Place) -> Recognised | None:
    """BridgeData's own form, whose numbers are pickled."""
    here = folder
    for _ in range(_DEEPEST + 2):
        if any((here / name).is_file() for name in _PICKLED):
            return Recognised(
                folder,
                "raw BridgeData (jpg, and numbers in .pkl)",
                advice="A pickle may run any program when it is opened, so it never is. Take the "
                "RLDS version of BridgeData, or convert it to .npz as "
                'docs/your-own-data.md says under "bridge: raw BridgeData".',
            )
        here_below = _folders(here)
        if not here_below:
            return None
        here = here_below[0]
    return None


def _tfrecords(folder: Place) -> Recognised | None:
    names = [path.name for path in islice(_below(folder, 0), _MOST)]
    if any(name.startswith("traj_") and name.endswith(".tfrecords") for name in names):
        return Recognised(folder, "BAIR robot pushing", "bair")
    if any(".tfrecord" in name for name in names):
        return Recognised(folder, "RLDS episodes as TFDS writes them", "rlds")
    inside = folder / "softmotion30_44k"
    inside = inside if inside.is_dir() else folder
    if (inside / "train").is_dir() and _has_traj(inside / "train"):
        return Recognised(folder, "BAIR robot pushing", "bair")
    return None


def _has_traj(folder: Place) -> bool:
    return any(path.name.endswith(".tfrecords") for path in _entries(folder)[:20])


def _lab(folder: Place) -> Recognised | None:
    for split in ("train", *SPLIT_NAMES):
        for shard in _folders(folder / split)[:2] if (folder / split).is_dir() else []:
            for sequence in _folders(shard)[:2]:
                if (sequence / "0.png").is_file():
                    return Recognised(folder, "the lab's layout of PNG and CSV", "lab")
    return None


def _mnist(folder: Place) -> Recognised | None:
    if any("idx3-ubyte" in path.name for path in _entries(folder)):
        return Recognised(folder, "the digits of MNIST", "mmnist")
    return None


_DATASETS: tuple[Callable[[Place], Recognised | None], ...] = (
    _lerobot,
    _droid,
    _foreframe,
    _zarr,
    _bridge_raw,
    _tfrecords,
    _lab,
    _mnist,
)


# -- folders of files, and files ----------------------------------------------------------------


def _readable(folder: Place) -> list[Recognised]:
    return [one for one in _loose(folder) if one.source]


def _loose(folder: Place) -> list[Recognised]:
    """Files in a folder, by their kinds."""
    kinds: Counter[str] = Counter()
    first: dict[str, Recognised] = {}
    for path in islice(_below(folder), _MOST):
        for one in _file(path, ending=True):
            kinds[one.form] += 1
            first.setdefault(one.form, one)
    readable = [one for one in first.values() if one.source]
    return [
        Recognised(
            folder,
            f"a folder with {counted(kinds[one.form], 'file')}: {one.form}",
            one.source,
            one.options,
            one.advice,
        )
        for one in (readable or list(first.values())[:3])
    ]


_ENDINGS: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys((".hdf5", ".h5", ".hdf", ".he5"), ("HDF5", "hdf5", "")),
    ".npz": ("arrays in .npz", "npz", " --frames NAME"),
    **dict.fromkeys(
        (".mp4", ".avi", ".gif", ".mov", ".mkv", ".webm", ".m4v"), ("a video", "video", "")
    ),
    ".tfrecords": ("BAIR's .tfrecords", "bair", ""),
    ".mcap": ("MCAP", "mcap", ""),
}
_OTHERS = {
    (".npy",): ("an array in .npy", "Save it as .npz: numpy.savez('name.npz', frames=array)."),
    (".pkl", ".pickle"): (
        "a pickle",
        "It may run any program when it is opened, so it never is. Save its arrays as .npz.",
    ),
    (".bag", ".db3"): (
        "a recording of ROS",
        f"It is read as MCAP: {CONVERSION}",
    ),
    (".parquet",): ("a file of parquet", "Give the folder that has meta/info.json in it."),
    (".png", ".jpg", ".jpeg"): (
        "a folder of pictures",
        "Save the pictures of each recording as .npz, or in the lab's layout (docs/data.md).",
    ),
}


def _file(place: Place, *, ending: bool = False) -> list[Recognised]:
    """What a file is; ``ending``: by the end of its name alone."""
    if not ending and (one := _by_bytes(place)) is not None:
        return [one]
    suffix = place.suffix.lower()
    if suffix in _ENDINGS:
        form, source, options = _ENDINGS[suffix]
        return [Recognised(place, form, source, options)]
    if ".tfrecord" in place.name:
        return [Recognised(place, "RLDS episodes as TFDS writes them", "rlds")]
    for suffixes, (form, advice) in _OTHERS.items():
        if suffix in suffixes:
            return [Recognised(place, form, advice=advice)]
    return []


def _by_bytes(place: Place) -> Recognised | None:
    """What the first bytes of a file say, whatever its name is."""
    with open_binary(place) as file:
        head = file.read(_HEAD)
    name = place.name.lower()
    if any(head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048)):
        return Recognised(place, "HDF5", "hdf5")
    if head.startswith(MAGIC):
        return Recognised(place, "MCAP", "mcap")
    if head.startswith(b"PK\x03\x04"):
        if name.endswith(".zarr.zip") or b".zgroup" in head or b"zarr.json" in head:
            return Recognised(place, "a replay buffer in zarr", "zarr")
        return Recognised(place, "arrays in .npz", "npz", " --frames NAME")
    if head.startswith(b"\0\0\x08\x03") or "idx3-ubyte" in name:
        return Recognised(place, "the digits of MNIST", "mmnist")
    if head[257:262] == b"ustar" and name.endswith(".tar"):
        return Recognised(place, "a tar, as BAIR is downloaded", "bair")
    if container_of(head) is not None:
        return Recognised(place, "a video", "video")
    return None
