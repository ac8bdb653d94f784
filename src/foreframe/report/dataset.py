"""Where the data of a run come from, as their dataset.json says: in words and in commands."""

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from foreframe.config.plain import as_flags
from foreframe.data.imports.options import ImportOptions
from foreframe.data.sources import SOURCES
from foreframe.errors import ForeframeError
from foreframe.report.numbers import is_number, number
from foreframe.simulator.simulate import DESCRIPTION
from foreframe.system.files import read_json

_DEEPEST = 3
"""Imports of imports that are followed."""


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from.

    Attributes:
        name: what it shows; empty if nothing is known.
        commands: that make it again, the first one first.
        versions: of the programs that made it, by their names.
    """

    name: str = ""
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def origin(data: str, kept: str = "", *, depth: int = _DEEPEST) -> Origin:
    """What a dataset says of itself; for the report only, so it may be gone or say nothing.

    Args:
        data: root of the dataset, as it was named.
        kept: its absolute path, where that is known.
        depth: how many imports are followed back to what they read.
    """
    said = _description(data) or (_description(kept) if kept else {})
    if "generator" in said:
        return _simulated(said, data)
    if isinstance(said.get("importer"), str):
        return _imported(said, data, depth)
    return Origin()


def _description(root: str) -> dict[str, Any]:
    try:
        said = read_json(Path(root) / DESCRIPTION)
    except ForeframeError:
        return {}
    return said if isinstance(said, dict) else {}


def _simulated(said: Mapping[str, Any], data: str) -> Origin:
    counts = said.get("sequences")
    command: tuple[str, ...] = ()
    if isinstance(counts, dict):
        total = sum(count for count in counts.values() if is_number(count))
        size = said.get("size")
        edge = size[0] if isinstance(size, list) and size else None
        words = f"foreframe simulate {shlex.quote(data)} --sequences {total}"
        words += f" --seed {said.get('seed', 0)}"
        words += " --world pusht" if said.get("world") == "pusht" else ""
        command = (
            words if edge == 64 or not is_number(edge) else f"{words} --size {number(edge)}",
        )
    versions = {"MuJoCo (dataset)": str(said["mujoco"])} if said.get("mujoco") else {}
    if said.get("world") == "pusht":
        versions = {"gym-pusht (dataset)": str(said.get("gym-pusht", ""))}
        return Origin("simulated PushT", command, versions)
    return Origin("simulated robot pushing", command, versions)


def _imported(said: Mapping[str, Any], data: str, depth: int) -> Origin:
    source = str(said.get("input", ""))
    before = origin(source, depth=depth - 1) if source and depth else Origin()
    name = before.name or str(said.get("dataset") or Path(source).name)
    return Origin(name, (*before.commands, *_import_command(said, source, data)), before.versions)


def _import_command(said: Mapping[str, Any], source: str, data: str) -> tuple[str, ...]:
    """The import's command, none if this version does not know its importer."""
    known = (
        (name, kind)
        for name, kind in SOURCES.items()
        if kind.__name__.removesuffix("Source").lower() == said["importer"]
    )
    name, kind = next(known, ("", None))
    if kind is None:
        return ()
    defaults = {item.name: item.default for item in fields(kind) if item.default is not MISSING}  # type: ignore[arg-type]
    flags = [
        *as_flags(said.get("settings") or {}, defaults),
        *as_flags(said.get("options") or {}, asdict(ImportOptions())),
    ]
    return (shlex.join(["foreframe", "import", name, source, data, *flags]),)
