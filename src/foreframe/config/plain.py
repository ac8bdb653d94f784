"""Dataclass configurations to and from plain JSON values; unknown keys are errors."""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any, TypeVar

import dacite

from foreframe.errors import ForeframeError

Config = TypeVar("Config")

_STRICT = dacite.Config(strict=True, type_hooks={float: float})


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration (a dataclass, nested ones included) as plain values for JSON."""
    return asdict(config)


def from_dict(cls: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build the dataclass ``cls`` from plain values; fields left out keep their defaults.

    Args:
        cls: a dataclass.
        values: its fields, nested dataclasses as mappings.
        where: what the values were read from, for the message.

    Raises:
        ForeframeError: an unknown key, or a value of the wrong type.
    """
    try:
        return dacite.from_dict(cls, values, config=_STRICT)
    except dacite.UnexpectedDataError as error:
        keys = ", ".join(sorted(error.keys))
        raise ForeframeError(
            f"{where}: unknown field {keys} for {cls.__name__}. It may have been written by "
            "another version of foreframe: use that version, or remove the field."
        ) from error
    except (dacite.DaciteError, TypeError, ValueError, OverflowError) as error:
        raise ForeframeError(f"{where}: not a valid {cls.__name__}: {error}.") from error


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The plain values of a nested configuration by their paths: {"train.rate.lr": 0.002}."""
    paths: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            paths |= flat(value, f"{prefix}{key}.")
        else:
            paths[prefix + key] = value
    return paths


def option(path: str) -> str:
    """The option that sets the field at a path: "train.rate.lr_warmup" is --lr-warmup."""
    return f"--{path.rpartition('.')[2].replace('_', '-')}"


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two settings differ in, in words: "train.rate.lr is 0.002 there and 0.001 here".

    A field that is missing on one side counts as None; a long value (a checksum) is not spelled
    out.

    Args:
        theirs: settings that were used before, perhaps nested, as plain values.
        ours: settings that are asked for now.
    """

    def shown(value: Any) -> str:
        return str(value) if len(str(value)) < 60 else "another"

    there, here = flat(theirs), flat(ours)
    return [
        f"{path} is {shown(there.get(path))} there and {shown(here.get(path))} here"
        for path in {**here, **there}
        if there.get(path) != here.get(path)
    ]


def changed(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """``config`` with some fields of it, or of the dataclasses in it, set to other values.

    Args:
        config: a dataclass.
        values: by the field's own name: {"lr": 0.001} changes train.rate.lr.
        where: what the values were given to, for the message.

    Raises:
        ForeframeError: there is no such field, or the value is of the wrong type.
    """
    nested = to_dict(config)
    paths = {path.rpartition(".")[2]: path for path in flat(nested)}
    for name, value in values.items():
        if name not in paths:
            like = get_close_matches(name, paths, 1)
            raise ForeframeError(
                f"{where}: {name}: unknown setting. "
                + (f"Did you mean {like[0]}?" if like else f"Known: {', '.join(paths)}.")
            )
        *holders, last = paths[name].split(".")
        holder = nested
        for key in holders:
            holder = holder[key]
        holder[last] = value
    return from_dict(type(config), nested, where)


def as_flags(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The options of a command line that make ``values`` out of ``defaults``.

    Args:
        values: a configuration as plain values, perhaps nested; an option is called by its field's
            own name.
        defaults: the same fields; one that is missing has no default.
    """
    flags: list[str] = []
    usual = flat(defaults)
    for path, value in flat(values).items():
        if path in usual and value == usual[path]:
            continue
        flag = option(path)
        if isinstance(value, bool):
            flags.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:
            flags += [flag, str(value)]
    return flags
