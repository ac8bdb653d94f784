"""The commands that bring data in, take them out and look them over."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from foreframe.check import CheckOptions
from foreframe.commands.console import counting, say
from foreframe.commands.model_exports import ExportOnnx, ExportPage
from foreframe.data.imports.description import DESCRIPTION
from foreframe.data.imports.importing import Imported, ImportOptions
from foreframe.data.sources import SOURCES, Source
from foreframe.data.sources.listing import tree
from foreframe.data.sources.recognise import suggestion
from foreframe.errors import ForeframeError
from foreframe.system.places import place
from foreframe.system.workers import Execution


@dataclass(frozen=True)
class _ImportExecution(Execution):
    """Who does the work, and what happens to bad recordings."""

    strict: bool = False
    """End at the first recording that cannot be read; by default it is named and skipped."""
    append: bool = False
    """Take into OUT, a finished import with the same options, the recordings that have come to IN,
    or those of another IN of the same form. What is in OUT stays as it is, in its split; new
    recordings are divided so that the shares are kept."""


def _import_command(source: type[Source]) -> type:
    """The command that imports from ``source``: its fields, the input in the first place."""

    def run(self: Any, words: Sequence[str]) -> None:
        from foreframe.data.imports.importing import import_dataset

        given = {item.name: getattr(self, item.name) for item in fields(source)}  # type: ignore[arg-type]
        given["input"] = place(given["input"])
        if self.list_only:
            for line in tree(source(**given).listing()):
                say(line)
            return
        if self.preview is not None:
            _preview(source(**given), self.dataset, self.preview)
            return
        if self.out is None:
            raise ForeframeError(
                "OUT: name the new folder of the dataset, after IN. (Without one, --list says what "
                "IN holds.)"
            )
        with counting("importing") as progress:
            done = import_dataset(
                source(**given),
                self.out,
                self.dataset,
                execution=self.execution,
                strict=self.execution.strict,
                append=self.execution.append,
                log=say,
                progress=progress,
            )
        _tell(done)

    given = Annotated[Positional[str], arg(metavar="IN")]
    new = "New folder of the dataset; needed without --list."
    out = Annotated[Positional[Path | None], arg(metavar="OUT", help=new)]
    shown = "Only print what IN holds: features, shapes, recordings. Nothing is imported."
    list_only = Annotated[bool, arg(name="list", help=shown), FlagCreatePairsOff]
    seen = (
        "New folder: the first sequences as they would be, contact-sheet.png and sequences.gif, "
        "with arrows for the first two columns of the actions (right and up). Nothing is imported."
    )
    preview = Annotated[Path | None, arg(help=seen)]
    command = make_dataclass(
        "Import",
        [
            # In the place that it has in the source: first.
            ("input", given, field()),
            ("out", out, field(default=None, kw_only=True)),
            ("list_only", list_only, field(default=False, kw_only=True)),
            ("preview", preview, field(default=None, kw_only=True)),
            # The names of these two are titles in the help.
            ("dataset", ImportOptions, field(default_factory=ImportOptions)),
            ("execution", _ImportExecution, field(default_factory=_ImportExecution)),
        ],
        bases=(source,),
        namespace={"run": run},
        frozen=True,
    )
    command.__doc__ = source.__doc__
    return command


def _preview(source: Source, options: ImportOptions, out: Path) -> None:
    """Draw the first sequences as they would be imported."""
    from foreframe.data.imports.preview import preview
    from foreframe.visuals.contact import GIF_NAME, SHEET_NAME, Shown, contact_gif, contact_sheet

    shown = [Shown("", name, recording) for name, recording in preview(source, options)]
    contact_sheet(out / SHEET_NAME, shown)
    contact_gif(out / GIF_NAME, shown, arrows=True)
    say(f"{out}: {SHEET_NAME} and {GIF_NAME} of the first {len(shown)} sequences")


def suggest_import(word: str) -> None:
    """Refuse a path where the name of a source should be, with the command that imports it.

    Raises:
        ForeframeError: there is something at this path, or it can be nothing but a path.
    """
    there = place(word)
    if there.exists():
        raise ForeframeError(suggestion(there))
    if "/" in word:
        raise ForeframeError(f"{word}: no such file or folder.")


def _tell(done: Imported) -> None:
    show_import(done)
    if done.skipped:
        raise SystemExit(1)
    say(f"Next: foreframe check {done.out}")


@dataclass(frozen=True)
class Check:
    """Look a dataset through; exit status 1 if it cannot be used."""

    data: Annotated[Positional[str], arg(metavar="DATA", help="Root of the dataset.")]
    out: Path | None = None
    """Folder for check.json, contact-sheet.png and sequences.gif; by default DATA-check in
    the current one."""
    check: CheckOptions = field(default_factory=CheckOptions)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.check import check_dataset, lines

        root = place(self.data)
        out = self.out or Path(
            f"{Path(root).resolve().name if isinstance(root, Path) else root.name}-check"
        )
        with counting("looking") as progress:
            findings = check_dataset(root, self.check, out=out, log=say, progress=progress)
        for line in lines(findings):
            say(line)
        say(f"{out}: contact-sheet.png, sequences.gif, check.json")
        if not findings.ok:
            raise SystemExit(1)


@dataclass(frozen=True)
class ExportLab:
    """Write a dataset in the lab's layout: a folder of PNG frames and CSV files a sequence."""

    data: Annotated[Positional[str], arg(metavar="STORE", help="Root of the dataset.")]
    out: Annotated[Positional[Path], arg(metavar="OUT", help="New folder of the dataset.")]
    execution: Execution = field(default_factory=Execution)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.data.exports.lab import export_lab

        with counting("exporting") as progress:
            counts = export_lab(
                place(self.data),
                self.out,
                execution=self.execution,
                progress=progress,
            )
        _tell_exported(self.out, counts)


@dataclass(frozen=True)
class ExportLerobot:
    """Write a dataset as a LeRobotDataset v3.0: parquet rows and mp4 videos."""

    data: Annotated[Positional[str], arg(metavar="STORE", help="Root of the dataset.")]
    out: Annotated[Positional[Path], arg(metavar="OUT", help="New folder of the dataset.")]
    frame_rate: float | None = None
    """Frames per second, if the store does not know it."""
    execution: Execution = field(default_factory=Execution)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.data.exports.lerobot import export_lerobot

        with counting("exporting") as progress:
            counts = export_lerobot(
                place(self.data),
                self.out,
                frame_rate=self.frame_rate,
                execution=self.execution,
                progress=progress,
            )
        _tell_exported(self.out, counts)


def _tell_exported(out: Path, counts: dict[str, int]) -> None:
    listed = ", ".join(f"{split} {count}" for split, count in counts.items())
    say(f"{out}: {listed} sequences")


IMPORTS = {name: _import_command(source) for name, source in SOURCES.items()}
EXPORTS = {"lab": ExportLab, "lerobot": ExportLerobot, "onnx": ExportOnnx, "page": ExportPage}
GROUPS: dict[str, dict[str, Any]] = {"import": IMPORTS, "export": EXPORTS}
"""Commands of two words."""


_MOST_SKIPS = 20


def show_import(done: Imported) -> None:
    """Print what an import has brought, and what it left out."""
    for split, count in done.sequences.items():
        say(f"{split}: {count} sequences, {done.frames[split]:,} frames")
    if done.divided_by_time:
        say(
            "There are so few recordings that each was divided by time: its beginning is for "
            "training, its end for validation and testing."
        )
    for part, statistics in done.statistics.items():
        if statistics is None:
            say(f"{part}: none")
            continue
        columns = zip(
            statistics.low, statistics.high, statistics.mean, statistics.deviation, strict=True
        )
        for k, (low, high, mean, deviation) in enumerate(columns):
            say(f"{part}[{k}]: {low:.4g} to {high:.4g}, mean {mean:.4g}, deviation {deviation:.4g}")
    for skip in done.skipped[:_MOST_SKIPS]:
        print(f"skipped: {skip.name}: {skip.reason}", file=sys.stderr)
    if len(done.skipped) > _MOST_SKIPS:
        more = len(done.skipped) - _MOST_SKIPS
        print(f"skipped: {more} more, listed in {done.out / DESCRIPTION}", file=sys.stderr)
    say(f"{done.out}: {sum(done.sequences.values())} sequences, {len(done.skipped)} skipped")
