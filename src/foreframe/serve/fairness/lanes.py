"""Lanes for all that is no step: few places, clients take turns, and the queue has an end."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from foreframe.serve.refusal import ENDING, Refusal


class Lane:
    """Work of one sort: at most ``places`` pieces at a time, and one of each client.

    Args:
        places: pieces that are done at a time.
        per_client: pieces of one client that may wait.
        most: pieces of all clients that may wait.
    """

    def __init__(self, places: int, per_client: int, most: int) -> None:
        self._free, self._per_client, self._most = places, per_client, most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._served: set[str] = set()
        self._closed = False

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it.

        Args:
            client: that asks.

        Raises:
            Refusal: it, or all together, have too much waiting (503).
        """
        if self._closed:
            raise Refusal(503, ENDING)
        own = self._waiting.get(client, deque())
        if len(own) >= self._per_client or sum(map(len, self._waiting.values())) >= self._most:
            whose = "you have" if len(own) >= self._per_client else "others have"
            raise Refusal(503, f"the service is busy, and {whose} much waiting; try again soon.")
        place = asyncio.get_running_loop().create_future()
        own.append(place)
        self._waiting.setdefault(client, own)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            self._give_up(client, place)
            raise
        try:
            yield
        finally:
            self._leave(client)

    def close(self) -> None:
        """Refuse all that waits and all that comes."""
        self._closed = True
        for places in self._waiting.values():
            for place in places:
                if not place.done():
                    place.set_exception(Refusal(503, ENDING))
        self._waiting.clear()

    def _serve(self) -> None:
        """Give the free places to those whose turn it is."""
        for client in list(self._waiting):
            if not self._free:
                return
            if client in self._served:
                continue
            place = self._waiting[client].popleft()
            if self._waiting[client]:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            self._free -= 1
            self._served.add(client)
            place.set_result(None)

    def _leave(self, client: str) -> None:
        self._free += 1
        self._served.discard(client)
        if client in self._waiting:
            self._waiting.move_to_end(client)  # it has had its turn
        self._serve()

    def _give_up(self, client: str, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled() and place.exception() is None:
            self._leave(client)
        elif client in self._waiting and place in self._waiting[client]:
            self._waiting[client].remove(place)
            if not self._waiting[client]:
                del self._waiting[client]
