"""A queue in which clients take turns, however much each of them has waiting."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FullError(Exception):
    """A client has as much waiting as it may."""


class Turns(Generic[Item]):
    """Work of many clients: one piece of each in turn, and of one client's the first come first.

    A client's work is of two kinds, its steps and what is done aside (predictions, exports); these
    take turns, too, so that neither holds up the other.

    Args:
        most: pieces of one client that may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # The client whose turn is next comes first; of each, the kind whose turn is next.
        self._waiting: OrderedDict[str, OrderedDict[bool, deque[Item]]] = OrderedDict()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, client: str, item: Item, *, aside: bool = False) -> None:
        """Add a piece of work.

        Args:
            client: whose it is.
            item: the piece.
            aside: whether it is no step.

        Raises:
            FullError: the client has too many waiting, or the queue is closed.
        """
        with self._changed:
            kinds = self._waiting.get(client, OrderedDict())
            if self._closed or sum(map(len, kinds.values())) >= self._most:
                raise FullError
            kinds.setdefault(aside, deque()).append(item)
            self._waiting.setdefault(client, kinds)
            self._changed.notify()

    def next(self) -> Item | None:
        """The next piece; waits for one. None when the queue has been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            client, kinds = next(iter(self._waiting.items()))
            aside, items = next(iter(kinds.items()))
            item = items.popleft()
            kinds.move_to_end(aside)
            self._waiting.move_to_end(client)
            self._tidy(client, aside)
            return item

    def more(self, fits: Callable[[Item], bool], most: int) -> list[Item]:
        """Pieces that can be done together with the one before: one of each client, then again.

        Nobody's turn is changed by them: they would have been waiting at the same time.

        Args:
            fits: whether a piece is of the same sort.
            most: pieces at most.
        """
        taken: list[Item] = []
        with self._changed:
            while len(taken) < most:
                before = len(taken)
                for client in list(self._waiting):
                    if len(taken) < most:
                        taken += self._one_of(client, fits)
                if len(taken) == before:
                    break
        return taken

    def _one_of(self, client: str, fits: Callable[[Item], bool]) -> list[Item]:
        for aside, items in self._waiting[client].items():
            for place, item in enumerate(items):
                if fits(item):
                    del items[place]
                    self._tidy(client, aside)
                    return [item]
        return []

    def _tidy(self, client: str, aside: bool) -> None:
        kinds = self._waiting[client]
        if not kinds[aside]:
            del kinds[aside]
        if not kinds:
            del self._waiting[client]

    def close(self) -> list[Item]:
        """Take nothing any more; returns what was waiting."""
        with self._changed:
            self._closed = True
            left = [
                item
                for kinds in self._waiting.values()
                for items in kinds.values()
                for item in items
            ]
            self._waiting.clear()
            self._changed.notify_all()
        return left
