"""What is said to a request that cannot be served."""

from collections.abc import Iterable, Mapping
from typing import Any

ENDING = "the service is ending."


class Refusal(Exception):
    """A request that is not served, with the HTTP status and the reason.

    Args:
        status: of HTTP, 4xx; 503 where the same may be served later.
        reason: what is wrong and what to do, in words.
        gone: the moment that a step was asked from has been forgotten; it can be replayed.
    """

    def __init__(self, status: int, reason: str, *, gone: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.gone = status, reason, gone


def in_words(errors: Iterable[Mapping[str, Any]], whole: str, *, skip: int = 0) -> str:
    """What pydantic says against a request: each place and its reason, five at most.

    Args:
        errors: of a ``ValidationError``.
        whole: name for the place of an error that concerns everything.
        skip: outermost parts of each place that are left out.
    """
    places = [
        f"{'.'.join(str(part) for part in error['loc'][skip:]) or whole}: {error['msg']}"
        for error in errors
    ]
    return "; ".join(places[:5])
