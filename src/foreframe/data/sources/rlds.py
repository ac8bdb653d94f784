"""Episodes as TensorFlow Datasets writes them: RLDS, the form of Bridge and Open X-Embodiment."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.picture import decode_picture
from foreframe.data.sources.feature import ColumnChoice, all_columns, choose_columns, joined
from foreframe.data.sources.listing import Node, counted, few, shown
from foreframe.data.sources.source import (
    Part,
    RawRecording,
    Skip,
    Source,
    UnusableError,
)
from foreframe.data.sources.tfrecord import (
    Damage,
    Example,
    Record,
    read_records,
    record_offsets,
)
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below, open_binary

_FILE = re.compile(r"(?P<dataset>.+)-(?P<split>[^-]+)\.tfrecord(-\d+-of-\d+)?$")
_STEPS = "steps/"
_INFO = "dataset_info.json"
_LISTED = 12
_FEW = 3
_TASKS = ("language_instruction", "natural_language_instruction", "instruction")
"""Features with what the robot was told to do."""


@dataclass(frozen=True)
class RldsSource(Source):
    """RLDS episodes as TFDS writes them: Bridge, Open X-Embodiment."""

    input: Place
    """Folder of the version with its .tfrecord files, or one such file."""
    image: str = ""
    """Feature of a step with the camera's pictures, such as image_0; needed if several. Several
    divided by commas: each camera's view of an episode is a sequence, all in the same split."""
    action: str = "action"
    """Feature with the action, or columns of it: action[:7]; several divided by commas are joined
    in that order, such as action/world_vector,action/rotation_delta of a dictionary."""
    position: str = ""
    """Feature with the end effector's position, such as state[:3]; by default none."""

    def _files(self) -> list[Place]:
        if self.input.is_dir():
            files = [path for path in files_below(self.input, ("",)) if ".tfrecord" in path.name]
        elif self.input.exists():
            files = [self.input]
        else:
            raise ForeframeError(f"{self.input}: no such file or folder. Give a TFDS dataset.")
        if not files:
            raise ForeframeError(
                f"{self.input}: holds no .tfrecord files. Give the folder of one version of a TFDS "
                "dataset, such as bridge_dataset/1.0.0."
            )
        return files

    def parts(self) -> list[Part]:
        files = self._files()
        self._require_one_dataset()
        self._look_at_one(files)
        parts: list[Part] = []
        for path in files:
            match = _FILE.fullmatch(path.name)
            split = None if match is None else SPLIT_NAMES.get(match["split"].lower())
            name = str(path)[len(str(self.input)) :].strip("/").replace("/", "-") or path.name
            select: dict[str, Any] = {"stop": path.stat().st_size}
            if len(self._views) == 1:
                parts.append(Part(name, path, split, select))
            for view in self._views if len(self._views) > 1 else ():
                label = f"{name}-{view.replace('/', '-')}"
                parts.append(Part(label, path, split, {**select, "view": view}))
        return parts

    def _require_one_dataset(self) -> None:
        """Refuse a folder of several datasets, or of several versions of one."""
        if not self.input.is_dir():
            return
        descriptions = [str(path.parent) for path in files_below(self.input, (_INFO,))]
        if len(descriptions) > 1:
            names = [name[len(str(self.input)) :].strip("/") or "." for name in descriptions]
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            raise ForeframeError(
                f"{self.input}: holds {len(names)} datasets: {', '.join(names[:_LISTED])}{more}. "
                "Import one at a time."
            )

    @property
    def _views(self) -> list[str]:
        views = [word.strip() for word in self.image.split(",")]
        if len(views) > 1 and ("" in views or len(set(views)) < len(views)):
            raise ForeframeError(f"--image {self.image}: give each camera once, as in image_0.")
        return views

    def _look_at_one(self, files: list[Place]) -> None:
        """Refuse features that the first readable episode does not have."""
        for path in files:
            with open_binary(path) as file:
                for record in read_records(file, 0, path.stat().st_size):
                    if isinstance(record, Record):
                        try:
                            for view in self._views:
                                self._features(Example(record.payload), view)
                        except UnusableError:
                            continue
                        return

    def _features(self, example: Example, view: str) -> tuple[str, dict[str, str]]:
        """The image's key, and the key of every numeric feature that an option names."""
        steps = [key for key in example if key.startswith(_STEPS)]
        if not steps:
            raise UnusableError("there are no features steps/...: it is no RLDS episode")
        pictures = [key for key in steps if self._pictures(example, key)]
        if view:
            image = _named(view, steps, "--image", pictures)
        elif len(pictures) == 1:
            image = pictures[0]
        elif len(colour := [key for key in pictures if not self._deep(example, key)]) == 1:
            image = colour[0]  # the others are of depth
        else:
            listed = ", ".join(key.removeprefix(_STEPS) for key in pictures) or "none"
            raise ForeframeError(
                f"{self.input}: name the camera with --image; features with pictures: {listed}."
            )
        numeric = [key for key in steps if not example.kind(key).startswith("bytes")]
        wanted = all_columns(self._wanted)
        return image, {name: _named(name, steps, option, numeric) for name, option in wanted}

    @property
    def _wanted(self) -> ColumnChoice:
        return choose_columns(self.action, self.position)

    @staticmethod
    def _pictures(example: Example, key: str) -> bool:
        if not example.kind(key).startswith("bytes"):
            return False
        return any(value[:2] in (b"\xff\xd8", b"\x89P") for value in example.bytes_list(key)[:1])

    @staticmethod
    def _deep(example: Example, key: str) -> bool:
        """Whether pictures have 16 bits a pixel, as those of depth have."""
        return any(
            value[:2] == b"\x89P" and value[24:25] == b"\x10"
            for value in example.bytes_list(key)[:1]
        )

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        stop = part.select["stop"]
        with open_binary(part.place) as file:
            count = sum(1 for _ in record_offsets(file, 0, stop))
            names = [f"{part.place.name}/{n}" for n in range(count)]
            if count >= _FEW:
                return [(name, 0) for name in names]
            # So few are divided by time, and their lengths stand in the records alone.
            lengths: list[tuple[str, int]] = []
            for name, record in zip(names, read_records(file, 0, stop), strict=True):
                try:
                    payload = record.payload if isinstance(record, Record) else b""
                    example = Example(payload)
                    image = self._features(example, self._views[0])[0]
                    lengths.append((name, len(example.bytes_list(image))))
                except UnusableError:
                    lengths.append((name, 0))
        return lengths

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        view = part.select.get("view", "")
        with open_binary(part.place) as file:
            for n, record in enumerate(read_records(file, 0, part.select["stop"])):
                name = f"{part.place.name}/{n}"
                where = f"{name} (episode {n} at byte {record.offset:,})"
                if isinstance(record, Damage):
                    yield Skip(where, record.reason)
                    continue
                try:
                    yield self._recording(name, where, Example(record.payload), view)
                except (UnusableError, ValueError) as error:
                    yield Skip(where, str(error))
                except ForeframeError as error:  # the features of this episode are others
                    yield Skip(where, str(error).rstrip("."))

    def _recording(self, name: str, where: str, example: Example, view: str) -> RawRecording:
        image, keys = self._features(example, view or self.image)
        pictures = list(example.bytes_list(image))
        n = len(pictures)
        if not n:
            raise UnusableError(f"the feature {image} is empty")
        features: dict[str, np.ndarray] = {}
        for feature, key in keys.items():
            values = example.numbers(key)
            if not len(values) or len(values) % n:
                raise UnusableError(
                    f"the feature {key} holds {len(values)} numbers, which cannot be divided over "
                    f"{n} steps"
                )
            features[feature] = values.reshape(n, -1)
        return RawRecording(
            name,
            _decoded(pictures, where),
            *joined(self._wanted, features),
            view=view,
            task=_task(example),
        )

    def describe(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "camera": self.image,
            "action": self.action,
            "position": self.position,
            "units": "as recorded",
        }
        info = self.input / _INFO if self.input.is_dir() else None
        if info is not None and info.is_file():
            try:
                values = json.loads(info.read_text(encoding="utf-8"))
                told |= {"dataset": str(values["name"]), "version": str(values["version"])}
            except (OSError, ValueError, KeyError, TypeError):
                pass  # it is not needed to read the episodes
        return told

    def listing(self) -> Node:
        files = self._files()
        first: tuple[Node, ...] = (Node("none: the first episode cannot be read"),)
        with suppress(UnusableError), open_binary(files[0]) as file:
            record = next(read_records(file, 0, files[0].stat().st_size), None)
            example = Example(record.payload if isinstance(record, Record) else b"")
            keys = [key for key in example if key.startswith(_STEPS)]
            first = (
                tuple(
                    Node(f"{shown(key.removeprefix(_STEPS))}: {self._kind(example, key)}")
                    for key in keys
                )
                or first
            )
        return Node(
            f"{self.input}: RLDS, {counted(len(files), 'file')}",
            (
                Node("features of a step", first),
                *few(map(_listed, files), len(files), "files"),
            ),
        )

    def _kind(self, example: Example, key: str) -> str:
        """What a feature holds in each step."""
        if self._pictures(example, key):
            return "pictures"
        kind, _, count = example.kind(key).rstrip("]").partition("[")
        steps = max(
            (len(example.bytes_list(k)) for k in example if self._pictures(example, k)), default=0
        )
        if steps and count and not int(count) % steps:
            return f"{kind} [{int(count) // steps}]"
        return example.kind(key)


def _listed(path: Place) -> Node:
    match = _FILE.fullmatch(path.name)
    with open_binary(path) as file:
        count = sum(1 for _ in record_offsets(file, 0, path.stat().st_size))
    split = "" if match is None else f", split {match['split']}"
    return Node(f"{path.name}: {counted(count, 'episode')}{split}")


def _task(example: Example) -> str:
    """What the robot was told to do; several things in one episode divided by semicolons."""
    for name in _TASKS:
        for key in example:
            if key.rpartition("/")[2] == name and example.kind(key).startswith("bytes"):
                said = (bytes(value) for value in example.bytes_list(key))
                words = [text.decode("utf-8", "replace").strip() for text in dict.fromkeys(said)]
                if any(words):
                    return "; ".join(word for word in words if word)
    return ""


def _named(name: str, keys: list[str], option: str, fitting: list[str]) -> str:
    """The one key that is ``name`` or ends with it."""
    matches = [key for key in keys if key == name or f"/{key}".endswith(f"/{name}")]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(key.removeprefix(_STEPS) for key in (matches or fitting)) or "none"
    inside = [key.removeprefix(_STEPS) for key in fitting if f"/{name}/" in f"/{key}"]
    if inside and not matches:
        raise ForeframeError(
            f"{option} {name}: is a dictionary of {', '.join(inside)}; name those that are to be "
            f"joined, as in {option} {','.join(inside)}."
        )
    what = "several features have this name" if matches else "no feature of a step has this name"
    raise ForeframeError(f"{option} {name}: {what}; there are: {listed}.")


def _decoded(pictures: list[bytes], where: str) -> Iterator[np.ndarray]:
    size: tuple[int, int] | None = None
    for t, picture in enumerate(pictures):
        frame = decode_picture(picture, f"{where}: step {t}")
        if size is not None and frame.shape[:2] != size:
            raise ForeframeError(
                f"{where}: the picture of step {t} has {frame.shape[1]}x{frame.shape[0]} pixels, "
                f"those before it {size[1]}x{size[0]}"
            )
        size = frame.shape[:2]
        yield frame
