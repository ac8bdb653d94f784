"""What a study trains: cells, each a set of settings, and the comparisons among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import product
from typing import Any, get_args, get_type_hints

from foreframe.config.plain import changed
from foreframe.config.training import RunConfig, check_config
from foreframe.errors import ForeframeError

Settings = tuple[tuple[str, Any], ...]
"""Fields of the configuration and their values, by the field's own name."""


@dataclass(frozen=True)
class Cell:
    """Settings under a name; with each seed a run of its own.

    Attributes:
        name: short, for folders.
        label: for the page.
        settings: what is set otherwise than in the base.
    """

    name: str
    label: str
    settings: Settings


@dataclass(frozen=True)
class Comparison:
    """Cells that are drawn and discussed together; the others are held against the first.

    Attributes:
        name: of the factor.
        title: for the page.
        cells: their names.
    """

    name: str
    title: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A study.

    Attributes:
        name: what was asked for.
        cells: all that are trained.
        comparisons: among them.
    """

    name: str
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]

    def cell(self, name: str) -> Cell:
        """The cell called ``name``."""
        return next(cell for cell in self.cells if cell.name == name)


def _system(name: str, label: str, prior: str, kl_schedule: str) -> Cell:
    kl = (("kl_schedule", kl_schedule), ("beta_max", 1.0), ("kl_cycles", 3), ("kl_ratio", 0.5))
    return Cell(name, label, (("prior", prior), *kl))


_FP_CYCLICAL = _system("fp-cyclical", "FP cyclical", "fixed", "cyclical")


def _with(name: str, label: str, **settings: Any) -> Cell:
    """The report's first system with one factor changed."""
    return Cell(name, label, (*_FP_CYCLICAL.settings, *settings.items()))


_CELLS = {
    cell.name: cell
    for cell in (
        _FP_CYCLICAL,
        _system("fp-monotonic", "FP monotonic", "fixed", "monotonic"),
        _system("lp-cyclical", "LP cyclical", "learned", "cyclical"),
        _system("fp-constant", "FP constant", "fixed", "constant"),
        _with("forcing-always", "always forced", teacher_forcing="always"),
        _with("forcing-never", "never forced", teacher_forcing="never"),
        _with(
            "forcing-floor", "linear to 0.5", teacher_forcing="linear", teacher_forcing_floor=0.5
        ),
        _with("beta-1e-2", "beta 0.01", beta_max=1e-2),
        _with("beta-1e-4", "beta 0.0001", beta_max=1e-4),
        _with("lr-2e-2", "lr 0.02", lr=2e-2),
        _with("lr-2e-4", "lr 0.0002", lr=2e-4),
    )
}

_REFERENCES = {
    "teacher-forcing": _with(
        "forcing-linear", "linear to 0", teacher_forcing="linear", teacher_forcing_floor=0.0
    ),
    "learning-rate": _with("lr-2e-3", "lr 0.002", lr=2e-3),
}
"""What the others are held against where the base has other settings."""

_COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison(
            "kl-schedules",
            "The report's systems and constant KL",
            ("fp-cyclical", "fp-monotonic", "lp-cyclical", "fp-constant"),
        ),
        Comparison(
            "teacher-forcing",
            "Teacher forcing",
            ("fp-cyclical", "forcing-always", "forcing-never", "forcing-floor"),
        ),
        Comparison("kl-weight", "Weight of the KL", ("fp-cyclical", "beta-1e-2", "beta-1e-4")),
        Comparison("learning-rate", "Learning rate", ("fp-cyclical", "lr-2e-2", "lr-2e-4")),
    )
}

STUDIES = (*_COMPARISONS, "report", "grid")
"""What can be asked for: one of the report's factors, all of them, or a grid of one's own."""


def make_plan(name: str, base: RunConfig, vary: Sequence[str] = (), *, full: bool = False) -> Plan:
    """The cells and comparisons of a study.

    Args:
        name: one of ``STUDIES``.
        base: the configuration that cells change.
        vary: for a grid: FIELD=VALUE,VALUE,...
        full: a grid of all combinations, not one factor at a time.

    Raises:
        ForeframeError: unknown name, field or value, or a cell that cannot be trained.
    """
    if name not in STUDIES:
        raise ForeframeError(f"study {name}: unknown; known: {', '.join(STUDIES)}.")
    if (name == "grid") != bool(vary):
        raise ForeframeError(
            "study grid: say what to vary: --vary FIELD=VALUE,VALUE."
            if name == "grid"
            else f"study {name}: varies what its name says; --vary belongs to: study grid."
        )
    plan = _grid(base, vary, full) if name == "grid" else _report_plan(name, base)
    for cell in plan.cells:
        check_config(configured(base, cell, 0))
    return plan


def _report_plan(name: str, base: RunConfig) -> Plan:
    comparisons = tuple(_COMPARISONS.values()) if name == "report" else (_COMPARISONS[name],)
    cells = dict(_CELLS)
    adjusted = []
    for comparison in comparisons:
        first, *others = comparison.cells
        reference = _REFERENCES.get(comparison.name)
        if reference is not None and configured(base, reference, 0) != configured(
            base, cells[first], 0
        ):
            # The base itself is not what the report holds the others against.
            cells = {reference.name: reference, **cells}
            first = reference.name
        adjusted.append(replace(comparison, cells=(first, *others)))
    wanted = {cell for comparison in adjusted for cell in comparison.cells}
    return Plan(name, tuple(cell for key, cell in cells.items() if key in wanted), tuple(adjusted))


def configured(base: RunConfig, cell: Cell, seed: int) -> RunConfig:
    """The configuration of a cell with a seed.

    Raises:
        ForeframeError: a field that there is not.
    """
    return changed(base, {**dict(cell.settings), "seed": seed}, "--vary")


def _kinds(config: Any) -> dict[str, Any]:
    """The type of each plain field, by its name."""
    hints = get_type_hints(type(config))
    kinds: dict[str, Any] = {}
    for field in fields(config):
        inner = getattr(config, field.name)
        kinds |= _kinds(inner) if is_dataclass(inner) else {field.name: hints[field.name]}
    return kinds


def _grid(base: RunConfig, vary: Sequence[str], full: bool) -> Plan:
    kinds = _kinds(base)
    factors = dict(_factor(words, kinds) for words in vary)
    if len(factors) != len(vary):
        raise ForeframeError("--vary: names a field twice.")
    comparisons: list[Comparison] = []
    cells: dict[str, Cell] = {}

    def add(settings: Mapping[str, Any]) -> str:
        name = "_".join(f"{k.replace('_', '-')}-{v}" for k, v in settings.items())
        label = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in settings.items())
        cells.setdefault(name, Cell(name, label, tuple(settings.items())))
        return name

    if full:
        names = [
            add(dict(zip(factors, values, strict=True))) for values in product(*factors.values())
        ]
        comparisons.append(Comparison("grid", "All combinations", tuple(names)))
    else:
        for field, values in factors.items():
            names = [add({field: value}) for value in values]
            comparisons.append(Comparison(field, field.replace("_", " "), tuple(names)))
    return Plan("grid", tuple(cells.values()), tuple(comparisons))


def _factor(words: str, kinds: Mapping[str, Any]) -> tuple[str, list[Any]]:
    name, equals, listed = words.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not listed:
        raise ForeframeError(f"--vary {words}: give FIELD=VALUE,VALUE.")
    if name == "seed":
        raise ForeframeError("--vary seed: every cell is run with each of --seeds already.")
    if name not in kinds or name == "recipe":
        raise ForeframeError(f"--vary {name}: there is no such field; see foreframe train --help.")
    return name, [_value(words, text.strip(), kinds[name]) for text in listed.split(",")]


def _value(words: str, text: str, kind: Any) -> Any:
    choices = get_args(kind)
    try:
        if choices:
            if text not in choices:
                raise ValueError(f"one of {', '.join(map(str, choices))}")
            return text
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise ForeframeError(f"--vary {words}: {text} is no value of it ({error}).") from error
