"""What a study is made of, in study.json: begun, or gone on with if the same is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import foreframe
from foreframe.config.plain import differences, from_dict, to_dict
from foreframe.config.training import RunConfig
from foreframe.errors import ForeframeError
from foreframe.study.plan import Cell, Comparison, Plan, configured
from foreframe.system.files import read_json, write_json

STUDY = "study.json"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A study without its runs.

    Attributes:
        base: the configuration that the cells change.
        data: root of the dataset.
        limit: test sequences that are scored; None: all.
        foreframe: version that wrote the file last.
        commands: that were given, the first one first.
        cells: all that are trained.
        comparisons: among them.
    """

    base: RunConfig
    data: str
    limit: int | None
    foreframe: str = foreframe.__version__
    commands: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def with_plan(self, plan: Plan, command: str) -> "Definition":
        """The same study with the cells and comparisons of a plan; a cell that is there stays."""
        cells = {cell.name: cell for cell in (*plan.cells, *self.cells)}
        names = dict.fromkeys(cell.name for cell in (*self.cells, *plan.cells))
        comparisons = {one.name: one for one in (*self.comparisons, *plan.comparisons)}
        return replace(
            self,
            foreframe=foreframe.__version__,
            commands=tuple(dict.fromkeys([*self.commands, *([command] if command else [])])),
            cells=tuple(cells[name] for name in names),
            comparisons=tuple(comparisons.values()),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return to_dict(self)

    @classmethod
    def read(cls, folder: Path) -> "Definition":
        """The definition in a study's folder.

        Raises:
            ForeframeError: there is none, or it is damaged.
        """
        path = folder / STUDY
        values = read_json(path)
        try:
            return cls(
                base=from_dict(RunConfig, values["base"], str(path)),
                data=values["data"],
                limit=values["limit"],
                foreframe=values["foreframe"],
                commands=tuple(values["commands"]),
                cells=tuple(
                    Cell(cell["name"], cell["label"], _settings(cell["settings"]))
                    for cell in values["cells"]
                ),
                comparisons=tuple(
                    Comparison(one["name"], one["title"], tuple(one["cells"]))
                    for one in values["comparisons"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ForeframeError(
                f"{path}: is not the definition of a study ({error}). Restore it from a copy."
            ) from error


def _settings(pairs: Sequence[Sequence[Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in pairs)


def begin(
    out: Path, plan: Plan, base: RunConfig, data: str, limit: int | None, command: str
) -> Definition:
    """Write study.json, or add this call's cells and comparisons to the one that is there.

    Raises:
        ForeframeError: ``out`` holds something else, or a study with other settings.
    """
    definition = Definition(base=base, data=data, limit=limit)
    if (out / STUDY).exists():
        there = Definition.read(out)
        _check_same(out, there, plan, definition)
        definition = there
    elif out.is_dir() and any(out.iterdir()):
        raise ForeframeError(
            f"{out}: the folder is not empty and holds no study. Give another --out."
        )
    elif out.exists() and not out.is_dir():
        raise ForeframeError(f"{out}: is a file. Give the name of a folder as --out.")
    definition = definition.with_plan(plan, command)
    write_json(out / STUDY, definition.to_json())
    return definition


def _check_same(out: Path, there: Definition, plan: Plan, wanted: Definition) -> None:
    """Refuse to mix: what is there and what is asked for must be of one base.

    Configurations are compared, not what was written of them: a study from before a field was added
    goes on, as that field's default is what it was trained with.
    """
    differing = differences(to_dict(there.base), to_dict(wanted.base))
    differing += differences(
        *({f"--{key}": getattr(one, key) for key in ("data", "limit")} for one in (there, wanted))
    )
    if differing:
        what = "another base" if there.base != wanted.base else "other settings"
        raise ForeframeError(
            f"{out}: holds a study with {what}; its runs would not compare: "
            f"{'; '.join(differing)}. Give another --out, or the same settings."
        )
    before = {cell.name: cell for cell in there.cells}
    for cell in plan.cells:
        same = before.get(cell.name, cell)
        if configured(there.base, same, 0) != configured(there.base, cell, 0):
            raise ForeframeError(
                f"{out}: its cell {cell.name} has other settings. Give another --out."
            )
