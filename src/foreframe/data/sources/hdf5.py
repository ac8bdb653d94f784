"""HDF5 files: robomimic, LIBERO, ManiSkill, ALOHA, RoboNet, and others by the paths in them."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from foreframe.data.lab import SPLIT_NAMES
from foreframe.data.sources.feature import all_columns, choose_columns
from foreframe.data.sources.hdf5_aside import aside
from foreframe.data.sources.hdf5_file import SUFFIXES, Hdf5File, open_hdf5
from foreframe.data.sources.hdf5_form import (
    Form,
    form_of,
    given_form,
    rate_of,
    splits_of,
)
from foreframe.data.sources.hdf5_frames import film_at, films, frames_of, white_is_one
from foreframe.data.sources.hdf5_recording import film_and_rows, lengths_in
from foreframe.data.sources.listing import Node, shown
from foreframe.data.sources.source import (
    Part,
    RawRecording,
    Skip,
    Source,
    UnusableError,
)
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, files_below

_PER_PART = 64
_FRAMES_PER_PART = 8000
_TRIED = 8
"""Files and recordings that are looked at before the options are said to be wrong."""

_LEFT_OUT = "left-out"

_log = logging.getLogger("foreframe")


@dataclass(frozen=True)
class Like:
    """What the first usable recording is like, and all others have to be.

    Attributes:
        form: name of the form, for people.
        episodes: pattern of the recordings in a file.
        views: paths of the cameras in a recording.
        action: the columns that are actions, as --action names them.
        position: those that are positions.
        units: for each camera, whether its pixels run from 0 to 1.
        rate: steps a second, if the file says it.
        told: what was decided about the pictures and is worth saying.
        per_part: recordings that are read together: few if they are long.
    """

    form: str
    episodes: str
    views: list[str]
    action: str
    position: str
    units: list[bool]
    rate: float | None
    told: list[str]
    per_part: int


@dataclass(frozen=True)
class Hdf5Source(Source):
    """HDF5 files of robomimic, LIBERO, ManiSkill, ALOHA, RoboNet, and others by their paths."""

    input: Place
    """An HDF5 file (.hdf5, .h5), or a folder of them; the folders in it are searched too."""
    image: str = ""
    """Path of the frames in a recording: obs/agentview_image; needed if several. Several divided
    by commas: each camera's view of a recording is a sequence, all in the same split."""
    action: str = ""
    """Path of the actions, or columns of them: actions[:6]; several divided by commas; none if
    there are none. By default where the form has them."""
    position: str = ""
    """Path of the positions, or columns of them: obs/robot0_eef_pos, observations/qpos[:7]; none
    if there are none. By default where the form has them."""
    episodes: str = ""
    """Pattern of the groups that are a recording each: data/demo_*. By default that of the form; a
    file of no known form is one recording."""
    blue_first: bool = False
    """The pictures have blue before red, as OpenCV leaves them: exchange the two."""

    def parts(self) -> list[Part]:
        files = self._files()
        like = self._like(files)
        for text in like.told:
            _log.info("%s: %s.", self.input, text)
        several = bool(like.episodes)
        parts = self._parts_of_groups(files, like) if several else self._parts_of_files(files, like)
        return [
            Part(
                f"{part.name}-view-{k}" if len(like.views) > 1 else part.name,
                part.place,
                part.split,
                {**part.select, "like": asdict(like), "view": k},
                part.others,
            )
            for part in parts
            for k in range(len(like.views))
        ]

    def _files(self) -> list[str]:
        """The files by their paths in the folder."""
        if not self.input.exists():
            raise ForeframeError(
                f"{self.input}: no such file or folder. Give an HDF5 file, or a folder of them."
            )
        if not self.input.is_dir():
            return [self.input.name]
        root = str(self.input)
        files = [
            str(path)[len(root) :].replace("\\", "/").lstrip("/")
            for path in files_below(self.input, SUFFIXES)
        ]
        if not files:
            raise ForeframeError(
                f"{self.input}: holds no HDF5 files ({', '.join(SUFFIXES)}). "
                "Give the folder in which they are."
            )
        return files

    def _place(self, name: str) -> Place:
        return self.input / name if self.input.is_dir() else self.input

    def _parts_of_files(self, files: list[str], like: Like) -> list[Part]:
        """Parts of files that hold one recording each; they are not opened."""
        parts: list[Part] = []
        for split, group in groupby(files, key=_split_of):
            names = list(group)
            for k in range(0, len(names), like.per_part):
                own = names[k : k + like.per_part]
                label = f"{split or 'files'}-{len(parts):06d}"
                others = tuple(self._place(name) for name in own)
                items = [[name, ""] for name in own]
                parts.append(Part(label, self.input, split, {"episodes": items}, others))
        return parts

    def _parts_of_groups(self, files: list[str], like: Like) -> list[Part]:
        """Parts of files that hold several recordings each."""
        parts: list[Part] = []
        for number, name in enumerate(files):
            place = self._place(name)
            try:
                groups = aside(place, self._divided, place, like.episodes, name)
            except (UnusableError, ForeframeError) as error:
                groups = {}
                fault = str(error).removeprefix(f"{place}: ").rstrip(".")
                chosen = {"episodes": [[name, ""]], "fault": fault}
                parts.append(Part(f"file-{number:06d}", place, None, chosen))
            for split, paths in groups.items():
                for k in range(0, len(paths), like.per_part):
                    label = f"file-{number:06d}-{split or 'episodes'}-{k:06d}"
                    chosen = {"episodes": [[name, path] for path in paths[k : k + like.per_part]]}
                    if split == _LEFT_OUT:
                        chosen["fault"] = "no mask for training, validation or testing names it"
                    parts.append(Part(label, place, None if split == _LEFT_OUT else split, chosen))
        return parts

    @staticmethod
    def _divided(place: Place, pattern: str, name: str) -> dict[str | None, list[str]]:
        """The recordings of a file by the split that its masks, or its folder, name."""
        with open_hdf5(place) as file:
            paths = file.matching(pattern)
            if not paths:
                raise UnusableError(f"holds nothing that is called {pattern}")
            splits = splits_of(file)
        if not splits:
            return {_split_of(name): paths}
        known = {episode: split for split, own in splits.items() for episode in own}
        groups: dict[str | None, list[str]] = {}
        # Where a mask says what is for training, that is all there is for it.
        others = _LEFT_OUT if "train" in splits else None
        for path in paths:
            groups.setdefault(known.get(path.rpartition("/")[2], others), []).append(path)
        return groups

    # -- what the recordings are like -----------------------------------------------------------

    def _like(self, files: list[str]) -> Like:
        """What all recordings have to be like, from the first one that can be used.

        Raises:
            ForeframeError: none of the first few can be.
        """
        choose_columns(self.action, self.position)
        failures: list[str] = []
        for place in map(self._place, files[:_TRIED]):
            try:
                like = aside(place, self._like_in, place)
            except UnusableError as error:
                failures.append(f"{place}: {error}.")
                continue
            with suppress(UnusableError):  # apart from the rest, which can do without it
                return replace(like, rate=aside(place, rate_of, place))
            return like
        raise ForeframeError(failures[0])

    def _like_in(self, place: Place) -> Like:
        with open_hdf5(place) as file:
            return self._like_of_one(file)

    def _like_of_one(self, file: Hdf5File) -> Like:
        form = given_form(form_of(file), self.episodes)
        paths = file.matching(form.episodes)
        if not paths:
            raise UnusableError(f"--episodes {form.episodes}: there is nothing of this name")
        failures: list[UnusableError] = []
        for path in paths[:_TRIED]:
            try:
                return self._like_of(file, form, path)
            except UnusableError as error:
                failures.append(error)
        raise failures[0]

    def _like_of(self, file: Hdf5File, form: Form, path: str) -> Like:
        views = self._views(file, path)
        units, told = [], []
        for view in views:
            film = film_at(file, f"{path}/{view}")
            units.append(white_is_one(file, film))
            if units[-1]:
                told.append(f"{view} holds numbers from 0 to 1, which become 0 to 255")
            if film.channels_first:
                told.append(f"{view} is [time, channels, height, width], and is turned")
        action, position = self.action or form.action, self.position
        if not position:
            position = next(
                (p for p in form.positions if file.has(f"{path}/{p.partition('[')[0]}")), ""
            )
        for name, option in all_columns(choose_columns(action, position)):
            fault = file.fault(f"{path}/{name}")
            if fault is not None:
                listed = self._numbers(file, path)
                raise UnusableError(f"{option} {name}: {fault}; it holds {listed}")
        per_part = max(1, min(_PER_PART, _FRAMES_PER_PART // film.length))
        return Like(
            form.name,
            form.episodes,
            views,
            action,
            position,
            units,
            None,
            told,
            per_part,
        )

    def _views(self, file: Hdf5File, path: str) -> list[str]:
        """Paths of the cameras in a recording."""
        if self.image:
            views = [word.strip().strip("/") for word in self.image.split(",")]
            if "" in views or len(set(views)) < len(views):
                raise ForeframeError(f"--image {self.image}: give each camera once.")
            faults = [(view, file.fault(f"{path}/{view}")) for view in views]
            missing, fault = next((one for one in faults if one[1] is not None), ("", None))
            if not missing:
                return views
        there = films(file, path)
        listed = ", ".join(map(shown, there)) or "none"
        if self.image:
            raise UnusableError(f"--image {missing}: {fault}; datasets with frames: {listed}")
        if len(there) != 1:
            what = "name the camera with --image" if there else "no frames are recognised in it"
            raise UnusableError(f"{what} (--list shows all of it); datasets with frames: {listed}")
        return there

    @staticmethod
    def _numbers(file: Hdf5File, path: str) -> str:
        """Datasets that may be actions or positions, in words."""
        found: list[str] = []
        for name in file.below(path, most=100):
            with suppress(UnusableError):
                array = file.array(f"{path}/{name}")
                if array.dtype.kind in "iufb" and len(array.shape) in (1, 2):
                    found.append(f"{shown(name)} {list(array.shape)}")
        return ", ".join(found) or "no numbers"

    # -- reading --------------------------------------------------------------------------------

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        like = Like(**part.select["like"])
        view = like.views[part.select["view"]]
        lengths: list[tuple[str, int]] = []
        if "fault" in part.select:
            return lengths
        for name, paths in _by_file(part):
            place = self._place(name)
            with suppress(UnusableError, ForeframeError):  # read() says why
                found = aside(place, lengths_in, place, [f"{path}/{view}" for path in paths])
                lengths += [
                    (_label(name, path), length)
                    for path, length in zip(paths, found, strict=True)
                    if length
                ]
        return lengths

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        like = Like(**part.select["like"])
        for name, path in part.select["episodes"]:
            label = _label(name, path)
            if "fault" in part.select:
                yield Skip(label, part.select["fault"])
                continue
            try:
                yield self._recording(name, path, like, part.select["view"])
            except (UnusableError, ValueError) as error:
                yield Skip(label, str(error))
            except ForeframeError as error:
                yield Skip(label, str(error).removeprefix(f"{self._place(name)}: ").rstrip("."))

    def _recording(self, name: str, path: str, like: Like, view: int) -> RawRecording:
        place, label = self._place(name), _label(name, path)
        film, actions, positions = aside(
            place, film_and_rows, place, path, like.views[view], like.action, like.position
        )
        frames = frames_of(place, film, label, unit=like.units[view], blue_first=self.blue_first)
        camera = like.views[view] if len(like.views) > 1 else ""
        return RawRecording(label, frames, actions, positions, view=camera)

    def describe(self) -> dict[str, Any]:
        like = self._like(self._files())
        told: dict[str, Any] = {
            "dataset": self.input.name,
            "form": like.form,
            "camera": ",".join(like.views),
            "action": like.action,
            "position": like.position,
            "units": "as recorded",
        }
        return told | ({"frame_rate": like.rate} if like.rate else {})

    def listing(self) -> Node:
        from foreframe.data.sources.hdf5_listing import list_hdf5

        files = self._files()
        like: Like | str
        try:
            like = self._like(files)
        except ForeframeError as error:
            like = str(error)
        try:
            return aside(self.input, list_hdf5, self.input, files, like)
        except UnusableError as error:
            raise ForeframeError(f"{self.input}: {error}.") from error


def _split_of(name: str) -> str | None:
    """Our name of the split whose folder a file is in."""
    folder, slash, _ = name.partition("/")
    return SPLIT_NAMES.get(folder.lower()) if slash else None


def _label(name: str, path: str) -> str:
    return shown(f"{name}/{path}" if path else name)


def _by_file(part: Part) -> Iterator[tuple[str, list[str]]]:
    """The files of a part, and the recordings in each."""
    for name, items in groupby(part.select["episodes"], key=itemgetter(0)):
        yield name, [path for _, path in items]
