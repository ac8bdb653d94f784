"""All open sessions, within bounds on their number, their age and their memory."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from foreframe.serve.moments import Moment, Session
from foreframe.serve.options import Limits
from foreframe.serve.refusal import ENDING, Refusal

_QUIET_SECONDS = 2.0
"""A session that nobody is connected to makes room for a new one after as long."""


class Sessions:
    """The open sessions by their names.

    Args:
        limits: the bounds.
        clock: seconds, for tests.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._open: dict[str, Session] = {}
        # Memory of each state that is kept, by client, session and moment; of each client's, the
        # one used last comes last.
        self._states: dict[str, OrderedDict[tuple[str, int], int]] = {}
        self._bytes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def state_bytes(self) -> int:
        """Memory of the moments that can be gone back to at once."""
        return self._bytes.total()

    def get(self, name: str) -> Session:
        """An open session.

        Raises:
            Refusal: there is none of that name, or it has ended.
        """
        self.expire()
        session = self._open.get(name)
        if session is None:
            raise _ended()
        session.used = self._clock()
        return session

    def open(self, session: Session) -> None:
        """Take a new session; one that nobody has used for some time may end for it.

        Raises:
            Refusal: there are too many, in all or of its client, and all are in use.
        """
        if self._closed:
            raise Refusal(503, ENDING)
        self.expire()
        session.used = self._clock()
        with self._lock:
            own = [other for other in self._open.values() if other.client == session.client]
            if len(own) >= self.limits.sessions_per_client:
                self._make_room(own, f"{len(own)} sessions of yours")
            if len(self._open) >= self.limits.sessions_max:
                self._make_room(list(self._open.values()), f"{self.limits.sessions_max} sessions")
            self._open[session.id] = session

    def _make_room(self, sessions: list[Session], which: str) -> None:
        """End the one that has not been used for longest, of the client that has most."""
        now = self._clock()
        quiet = [s for s in sessions if not s.attached and now - s.used > _QUIET_SECONDS]
        if not quiet:
            raise Refusal(429, f"{which} are open, as many as there may be; try later.")
        held = Counter(session.client for session in sessions)
        self._forget(min(quiet, key=lambda session: (-held[session.client], session.used)).id)

    def expire(self) -> None:
        """End the sessions that nobody has used for long."""
        now = self._clock()
        with self._lock:
            for name, session in list(self._open.items()):
                if not session.attached and now - session.used > self.limits.session_seconds:
                    self._forget(name)

    def end(self, name: str) -> None:
        """End a session, if it has not ended already."""
        with self._lock:
            self._forget(name)

    def close(self) -> None:
        """End all sessions; none can be opened any more."""
        with self._lock:
            self._closed = True
            for name in list(self._open):
                self._forget(name)

    def _forget(self, name: str) -> None:
        session = self._open.pop(name, None)
        if session is None:
            return
        for number in session.moments:
            self._drop(session.client, (name, number))
        session.moments.clear()

    # -- moments --------------------------------------------------------------------------------

    def keep(self, session: Session, moment: Moment) -> int:
        """Add a moment to a session; states of others are forgotten where memory ends.

        Returns:
            The number of the moment.

        Raises:
            Refusal: the session has ended.
        """
        with self._lock:
            if session.id not in self._open:
                raise _ended()
            number = 1 + next(reversed(session.moments), -1)
            session.moments[number] = moment
            states = self._states.setdefault(session.client, OrderedDict())
            states[session.id, number] = moment.state_bytes
            self._bytes[session.client] += moment.state_bytes
            while self.state_bytes > self.limits.state_bytes and self._forget_a_state():
                pass
        return number

    def _forget_a_state(self) -> bool:
        """Forget a state of the client whose states take most; whether there was one.

        It is the one not used for longest. The first moment of each session stays: all others can
        be replayed from there.
        """
        for client, _ in self._bytes.most_common():
            states = self._states[client]
            oldest = next((key for key in states if key[1] != 0), None)
            if oldest is not None and oldest != next(reversed(states)):
                self._drop(client, oldest)
                name, number = oldest
                moment = self._open[name].moments[number]
                moment.state = moment.beside = None
                return True
        return False

    def _drop(self, client: str, key: tuple[str, int]) -> None:
        states = self._states.get(client, OrderedDict())
        self._bytes[client] -= states.pop(key, 0)
        if not states:
            self._states.pop(client, None)
            self._bytes.pop(client, None)

    def touch(self, session: Session, number: int) -> None:
        """Note that a moment was stepped from: its state is among the last to be forgotten."""
        with self._lock:
            states = self._states.get(session.client, OrderedDict())
            if (session.id, number) in states:
                states.move_to_end((session.id, number), last=True)


def _ended() -> Refusal:
    return Refusal(404, "the session has ended; begin another.", gone=True)
