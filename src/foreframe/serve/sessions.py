"""All open sessions, within bounds on their number, their age and their memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from foreframe.serve.moments import Moment, Session
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal

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
        # Memory of each state that is kept, by session and moment; the one used last comes last.
        self._states: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def state_bytes(self) -> int:
        """Memory of the moments that can be gone back to at once."""
        return self._bytes

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
            Refusal: there are too many, and all are in use.
        """
        self.expire()
        session.used = self._clock()
        with self._lock:
            if len(self._open) >= self.limits.sessions_max:
                self._forget(self._quietest())
            self._open[session.id] = session

    def _quietest(self) -> str:
        now = self._clock()
        quiet = [s for s in self._open.values() if not s.attached and now - s.used > _QUIET_SECONDS]
        if not quiet:
            raise Refusal(
                429,
                f"{self.limits.sessions_max} sessions are open, as many as there may be; "
                "try later.",
            )
        return min(quiet, key=lambda session: session.used).id

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

    def _forget(self, name: str) -> None:
        session = self._open.pop(name, None)
        if session is None:
            return
        for number in session.moments:
            self._bytes -= self._states.pop((name, number), 0)
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
            self._states[session.id, number] = moment.state_bytes
            self._bytes += moment.state_bytes
            while self._bytes > self.limits.state_bytes and self._forget_a_state():
                pass
        return number

    def _forget_a_state(self) -> bool:
        """Forget the state not used for longest; whether there was one.

        The first moment of each session stays: all others can be replayed from there.
        """
        oldest = next((key for key in self._states if key[1] != 0), None)
        if oldest is None or oldest == next(reversed(self._states)):
            return False
        name, number = oldest
        self._bytes -= self._states.pop(oldest)
        self._open[name].moments[number].state = None
        return True

    def touch(self, session: Session, number: int) -> None:
        """Note that a moment was stepped from: its state is among the last to be forgotten."""
        with self._lock:
            if (session.id, number) in self._states:
                self._states.move_to_end((session.id, number), last=True)


def _ended() -> Refusal:
    return Refusal(404, "the session has ended; begin another.", gone=True)
