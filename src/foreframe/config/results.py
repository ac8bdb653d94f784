"""Results (cards, probes, diagnoses) as dataclasses to and from plain JSON values."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import dacite

from foreframe.errors import ForeframeError
from foreframe.system.files import read_json

Kept = TypeVar("Kept")

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


def result_from_json(cls: type[Kept], values: Any, where: str, what: str) -> Kept:
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


class Result:
    """A result that is kept as JSON; a dataclass derives from it.

    Attributes:
        WHAT: the result is, for messages: "an evaluation".
        OPTIONAL: names of fields that are left out of the JSON where they are None or empty.
    """

    WHAT: ClassVar[str]
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return result_to_json(self, self.OPTIONAL)

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """Build the result of plain values, as this or an earlier version wrote them.

        Args:
            values: as ``to_json`` gives them.
            where: what they were read from, for the message.

        Raises:
            ForeframeError: these are not the values of such a result.
        """
        return result_from_json(cls, values, where, cls.WHAT)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The result in a file.

        Raises:
            ForeframeError: the file is missing or damaged.
        """
        return cls.from_json(read_json(path), str(path))
