"""Results (cards, probes, diagnoses) as dataclasses to and from plain JSON values."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any, TypeVar

import dacite

from foreframe.errors import ForeframeError

Result = TypeVar("Result")

Interval = tuple[float, float]

_HOOKS: Any = {float: float, Interval: tuple}
_LENIENT = dacite.Config(cast=[tuple], type_hooks=_HOOKS)


def result_to_json(result: Any, optional: Collection[str] = ()) -> dict[str, Any]:
    """A result (a dataclass, nested ones included) as plain values for JSON.

    Args:
        result: the dataclass.
        optional: names of fields that are left out where they are None or empty.
    """

    def without(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {k: v for k, v in pairs if k not in optional or (v is not None and v != {})}

    return asdict(result, dict_factory=without)


def result_from_json(cls: type[Result], values: Any, where: str, what: str) -> Result:
    """Build the dataclass ``cls`` of a result from plain values; unknown keys are passed over.

    A file of a later version may say more, and one of an earlier version less: fields that are not
    there take their defaults.

    Args:
        cls: a dataclass.
        values: its fields, nested dataclasses as mappings.
        where: what the values were read from, for the message.
        what: the values ought to be, for the message: "an evaluation".

    Raises:
        ForeframeError: a value is missing or of the wrong type.
    """
    try:
        if not isinstance(values, dict):
            raise TypeError(f"{type(values).__name__} instead of an object")
        return dacite.from_dict(cls, values, config=_LENIENT)
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ForeframeError(
            f"{where}: is not {what} ({error}). Restore it from a copy, or make it again."
        ) from error
