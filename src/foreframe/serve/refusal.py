"""What is said to a request that cannot be served."""


class Refusal(Exception):
    """A request that is not served, with the HTTP status and the reason.

    Args:
        status: of HTTP, 4xx.
        reason: what is wrong and what to do, in words.
        gone: the moment that a step was asked from has been forgotten; it can be replayed.
    """

    def __init__(self, status: int, reason: str, *, gone: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.gone = status, reason, gone
