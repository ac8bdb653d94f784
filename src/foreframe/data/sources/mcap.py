"""MCAP, what ROS and Foxglove record: topics of pictures and of numbers, each with its times."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from foreframe.data.sources.feature import ColumnChoice, all_columns, choose_columns
from foreframe.data.sources.listing import Node, shown
from foreframe.data.sources.mcap_bags import Bag, find_bags, place_of
from foreframe.data.sources.mcap_file import Overview, Topic, import_mcap, messages, overview
from foreframe.data.sources.mcap_messages import Decoders, numbers_at, picture_of
from foreframe.data.sources.mcap_recording import Address, Scanned, frames_of, scan
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_PER_PART = 32
_BYTES_PER_PART = 4_000_000_000
_TRIED = 8
"""Recordings that are looked at before the options are said to be wrong."""

_log = logging.getLogger("foreframe")


@dataclass(frozen=True)
class McapSource(Source):
    """MCAP of ROS 2, ROS 1 or Foxglove: cameras and numbers by their topics."""

    input: Place
    """An MCAP file, a bag of ROS 2 (a folder with metadata.yaml), or a folder of either; each file,
    or bag, is a recording."""
    image: str = ""
    """Topic of the pictures, sensor_msgs/Image or CompressedImage; needed if several. Several
    divided by commas: each camera's view of a recording is a sequence, all in the same split."""
    action: str = ""
    """Fields that are actions, as topic and field: /arm/command.position, or columns of them:
    /arm/command.position[:6]; several divided by commas. The rows are at the times of the first
    one's topic; other topics count as they were last said by then. By default there are none."""
    position: str = ""
    """Fields that are positions, such as /joint_states.position[:3]. By default there are none."""
    clock: Literal["auto", "header", "log"] = "auto"
    """The times that count: those in the headers of the messages, or those when they were logged;
    auto takes the headers' where every message has one."""

    def parts(self) -> list[Part]:
        bags = find_bags(self.input)
        images = self._looked_at(bags)[1]
        if not self.action:
            _log.info("%s: no actions are taken; --action names them.", self.input)
        parts: list[Part] = []
        own: list[Bag] = []
        size = 0
        for bag in bags:
            here = sum(place.stat().st_size for place in self._places(bag))
            if own and (len(own) == _PER_PART or size + here > _BYTES_PER_PART):
                parts.append(self._part(len(parts), own, images))
                own, size = [], 0
            own.append(bag)
            size += here
        return [*parts, self._part(len(parts), own, images)]

    def _part(self, number: int, bags: list[Bag], images: list[str]) -> Part:
        return Part(
            f"recordings-{number:06d}",
            self.input,
            select={"bags": [asdict(bag) for bag in bags], "images": images},
            others=tuple(place for bag in bags for place in self._places(bag)),
        )

    def _places(self, bag: Bag) -> list[Place]:
        return [place_of(self.input, name) for name in bag.files]

    def _choice(self) -> ColumnChoice:
        return choose_columns(self.action, self.position)

    # -- what the recordings are like -----------------------------------------------------------

    def _looked_at(self, bags: list[Bag]) -> tuple[Bag, list[str]]:
        """The first recording that the options fit, and the topics of the cameras.

        Raises:
            ForeframeError: they fit none of the first few.
        """
        import_mcap()
        self._choice()
        failures: list[str] = []
        for bag in bags[:_TRIED]:
            try:
                if bag.fault:
                    raise UnusableError(bag.fault)
                return bag, self._fitting(bag)
            except UnusableError as error:
                failures.append(f"{self.input}: {shown(bag.name)}: {error}.")
            except ForeframeError as error:
                failures.append(f"{self.input}: {shown(bag.name)}: {str(error).rstrip('.')}.")
        raise ForeframeError(failures[0])

    def _fitting(self, bag: Bag) -> list[str]:
        """The topics of the cameras, if the first messages of a recording fit the options."""
        topics = overview(self._places(bag)).topics
        images = self._images(topics)
        addresses = {
            name: Address.of(name, topics, option) for name, option in all_columns(self._choice())
        }
        waiting = {*images, *(address.topic for address in addresses.values())}
        decoders = Decoders()
        for received in messages(self._places(bag), frozenset(waiting)):
            if received.topic not in waiting:
                continue
            waiting.discard(received.topic)
            message = decoders(received)
            if received.topic in images:
                picture_of(message, f"{shown(received.topic)}: message 0")
            for name, address in addresses.items():
                if address.topic == received.topic:
                    _require_numbers(name, message, address)
            if not waiting:
                break
        if waiting:
            raise UnusableError(f"{', '.join(map(shown, sorted(waiting)))} has no messages")
        return images

    def _images(self, topics: dict[str, Topic]) -> list[str]:
        """The topics of the cameras."""
        cameras = [name for name, topic in topics.items() if topic.is_camera]
        if not self.image:
            if len(cameras) != 1:
                raise UnusableError(
                    f"name the camera with --image; topics of pictures: {_listed(cameras)} "
                    "(--list shows all)"
                )
            return cameras
        images = [word.strip() for word in self.image.split(",")]
        if "" in images or len(set(images)) < len(images):
            raise ForeframeError(f"--image {self.image}: give each camera once.")
        for image in images:
            if image not in topics:
                others = [name for name in topics if name not in cameras]
                raise UnusableError(
                    f"--image {image}: there is no such topic; topics of pictures: "
                    f"{_listed(cameras)}; others: {_listed(others)}"
                )
        return images

    # -- reading --------------------------------------------------------------------------------

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        lengths: list[tuple[str, int]] = []
        for bag in (Bag(**one) for one in part.select["bags"]):
            with suppress(UnusableError, ForeframeError, KeyError):  # read() says why
                found = self._overview(bag).topics[part.select["images"][0]].count
                if found and not bag.fault:
                    lengths.append((bag.name, found))
        return lengths

    def _overview(self, bag: Bag) -> Overview:
        return overview(self._places(bag))

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        images = part.select["images"]
        for bag in (Bag(**one) for one in part.select["bags"]):
            try:
                if bag.fault:
                    raise UnusableError(bag.fault)
                scanned = self._scanned(bag, images)
            except (UnusableError, ValueError) as error:
                yield Skip(bag.name, str(error))
                continue
            except ForeframeError as error:
                yield Skip(bag.name, str(error).removeprefix(f"{self.input}: ").rstrip("."))
                continue
            yield from self._views(bag, images, scanned)

    def _scanned(self, bag: Bag, images: list[str]) -> Scanned:
        topics = self._overview(bag).topics
        for image in images:
            if image not in topics:
                raise UnusableError(f"there is no {image}; there are: {_listed(list(topics))}")
        return scan(self._places(bag), topics, images, self._choice(), self.clock)

    def _views(
        self, bag: Bag, images: list[str], scanned: Scanned
    ) -> Iterator[RawRecording | Skip]:
        for image in images:
            film = scanned.films[image]
            view = image if len(images) > 1 else ""
            if isinstance(film, UnusableError):
                yield Skip(f"{bag.name}:{view}" if view else bag.name, f"{shown(image)}: {film}")
                continue
            yield RawRecording(
                bag.name,
                frames_of(self._places(bag), image, len(film.times), bag.name),
                scanned.actions,
                scanned.positions,
                view=view,
                times=film.times,
                row_of=None if film.matched is None else film.matched.row_of,
            )

    # -- what it is -----------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        bag, images = self._looked_at(find_bags(self.input))
        told: dict[str, Any] = {
            "dataset": self.input.name,
            "camera": ",".join(images),
            "action": self.action,
            "position": self.position,
            "units": "as recorded",
        }
        try:
            scanned = self._scanned(bag, images)
        except (UnusableError, ValueError, ForeframeError):
            return told  # read() says why
        notes = list(scanned.notes)
        for image in images:
            film = scanned.films[image]
            if isinstance(film, UnusableError):
                continue
            if film.matched is not None:
                notes.append(f"{shown(image)}: {film.matched.note}")
            if len(film.times) > 1 and film.times[-1] > film.times[0]:
                rate = float((len(film.times) - 1) / (film.times[-1] - film.times[0]))
                told.setdefault("frame_rate", round(rate, 6))
        return {**told, "notes": [f"{shown(bag.name)}: {note}" for note in notes]}

    def listing(self) -> Node:
        from foreframe.data.sources.mcap_listing import list_mcap

        return list_mcap(self.input, find_bags(self.input))


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names)) or "none"


def _require_numbers(name: str, message: Any, address: Address) -> None:
    try:
        numbers_at(message, address.path)
    except UnusableError as error:
        raise UnusableError(f"{name}: {error}") from error
