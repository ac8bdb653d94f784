"""What MCAP holds, as a tree: topics with their types, numbers of messages, rates and fields."""

from contextlib import suppress
from itertools import islice

from foreframe.data.sources.listing import Node, counted, few, shown
from foreframe.data.sources.mcap_bags import Bag, place_of
from foreframe.data.sources.mcap_file import Topic, messages, overview
from foreframe.data.sources.mcap_messages import Decoders, numeric_fields
from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_LOOKED_AT = 20_000
"""Messages in which the first of each topic is looked for."""
_MANY = 200
"""Topics that are listed."""
_FIELDS = 24


def list_mcap(root: Place, bags: list[Bag]) -> Node:
    """The recordings, with their topics; of the first one also the fields that hold numbers."""
    nodes = (_recording(root, bag, fields=k == 0) for k, bag in enumerate(bags))
    return Node(
        f"{root}: MCAP, {counted(len(bags), 'recording')}", few(nodes, len(bags), "recordings")
    )


def _recording(root: Place, bag: Bag, *, fields: bool) -> Node:
    places = [place_of(root, name) for name in bag.files]
    try:
        found = overview(places)
    except (UnusableError, ForeframeError) as error:
        return Node(f"{shown(bag.name)}: {str(error).rstrip('.')}")
    below = _fields(places, found.topics) if fields else {}
    files = f", {counted(len(places), 'file')}" if len(places) > 1 else ""
    fault = f"; {bag.fault}" if bag.fault else ""
    return Node(
        f"{shown(bag.name)}: {found.seconds:.4g} s{files}{fault}",
        tuple(
            Node(_line(name, topic, found.seconds), below.get(name, ()))
            for name, topic in islice(found.topics.items(), _MANY)
        ),
    )


def _line(name: str, topic: Topic, seconds: float) -> str:
    rate = (topic.count - 1) / seconds if seconds and topic.count > 1 else 0.0
    said = f", about {rate:.3g} a second" if rate else ""
    return f"{shown(name)}  {shown(topic.kind)}  {counted(topic.count, 'message')}{said}"


def _fields(places: list[Place], topics: dict[str, Topic]) -> dict[str, tuple[Node, ...]]:
    """The fields of numbers in the first message of each topic but the cameras'."""
    waiting = {name for name, topic in topics.items() if not topic.is_camera and topic.count}
    found: dict[str, tuple[Node, ...]] = {}
    decoders = Decoders()
    with suppress(UnusableError):  # what there is until then is shown
        for received in islice(messages(places), _LOOKED_AT):
            if received.topic not in waiting:
                continue
            waiting.discard(received.topic)
            try:
                fields = list(islice(numeric_fields(decoders(received)), _FIELDS))
            except UnusableError as error:
                found[received.topic] = (Node(str(error)),)
                continue
            found[received.topic] = tuple(
                Node(f"{shown(received.topic)}.{shown(path)}  [{n}]") for path, n in fields
            )
            if not waiting:
                break
    return found
