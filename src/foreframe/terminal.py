"""What the commands show on a terminal: progress bars, epoch lines and tables."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from foreframe.data.importing import DESCRIPTION, Imported
from foreframe.listener import Listener
from foreframe.train_config import RunConfig

if TYPE_CHECKING:
    from foreframe.checkpoint import Progress as TrainingProgress

_MOST_SKIPS = 20

# In a pipe or a log there is no width to keep to.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def say(text: str) -> None:
    """Print a line, taken literally."""
    console.print(text, markup=False, soft_wrap=True)


def _progress(*columns: Any) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,  # a log gets the epochs' lines alone
    )


@contextmanager
def counting(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; yields a function of (done, total)."""
    with _progress(TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


class TerminalListener(Listener):
    """A bar over all steps of a training, with a line for every epoch above it.

    Args:
        config: of the run, for its length.
        bar: a started progress display.
    """

    def __init__(self, config: RunConfig, bar: Progress) -> None:
        self._config = config
        self._bar = bar
        train = config.train
        self._steps = train.epochs * train.steps_per_epoch
        self._task: TaskID | None = None
        self._packing: TaskID | None = None
        self._headed = False

    def message(self, text: str) -> None:
        say(text)

    def packing(self, done: int, total: int) -> None:
        if self._packing is None:
            self._packing = self._bar.add_task("packing")
        self._bar.update(self._packing, completed=done, total=total, visible=done < total)

    def step(self, progress: "TrainingProgress", values: dict[str, float]) -> None:
        # The bar begins at the first step that this process ran, so that its estimate of the time
        # left is not fooled by the steps before a resume.
        done = progress.epoch * self._config.train.steps_per_epoch + progress.step
        if self._task is None:
            self._task = self._bar.add_task("", total=self._steps, completed=done)
        text = (
            f"epoch {progress.epoch + 1}/{self._config.train.epochs} "
            f"loss {values['loss']:.4f} KL {values['kld']:.2f} beta {values['beta']:.1e} "
            f"tf {values['teacher_forcing_ratio']:.2f} PSNR {values['psnr']:.2f} "
            f"{values['frames_per_second']:.0f} frames/s"
        )
        self._bar.update(self._task, completed=done, description=text)

    def epoch(self, row: dict[str, Any]) -> None:
        if not self._headed:
            self._headed = True
            say(
                "epoch     loss      mse     KL     beta    tf  train dB  val dB  frames/s  seconds"
            )
        say(
            f"{row['epoch'] + 1:5d} {row['loss']:8.5f} {row['mse']:8.5f} {row['kld']:6.2f} "
            f"{row['beta']:8.1e} {row['teacher_forcing_ratio']:5.2f} {row['psnr']:9.2f} "
            f"{row['validation_psnr']:7.2f} {row['frames_per_second']:9.0f} {row['seconds']:8.0f}"
        )


@contextmanager
def training_display(config: RunConfig) -> Iterator[TerminalListener]:
    """The display of a training; yields its listener."""
    with _progress(TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        yield TerminalListener(config, bar)


def show_card(card: dict[str, Any]) -> None:
    """Print an evaluation as a table, each number with its condition and protocol."""
    from foreframe.evaluation import protocol_words

    protocol = card["protocol"]
    metrics = protocol["metrics"]
    table = Table(box=box.SIMPLE, title=f"{card['run']}: {protocol_words(protocol)}")
    table.add_column("prediction")
    table.add_column("condition")
    for metric in metrics.values():
        table.add_column(f"{metric['label']} {metric['unit']}".strip(), justify="right")
    fvd = any("fvd" in row for row in card["rows"])
    if fvd:
        table.add_column("FVD", justify="right")
    for row in card["rows"]:
        cells = [
            f"{row['scores'][name]['value']:.{metric['digits']}f}" if "scores" in row else "n/a"
            for name, metric in metrics.items()
        ]
        if fvd:
            cells.append(f"{row['fvd']:.1f}" if "fvd" in row else "n/a")
        table.add_row(row["label"], row["condition"], *cells)
    console.print(table)
    for metric in metrics.values():
        say(f"{metric['label']}: {metric['definition']}.")
    for change in protocol["changed"]:
        say(f"Not the protocol {protocol['name']} as it is named: {change}.")
    for doubt in protocol["doubts"]:
        say(f"Mind: {doubt}")


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print the paired differences of several runs."""
    metrics = comparison["protocol"]["metrics"]
    table = Table(box=box.SIMPLE, title="Paired over the same sequences, 95 % bootstrap interval")
    for name in ("metric", "difference"):
        table.add_column(name)
    for name in ("mean", "interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in comparison["differences"]:
        metric = metrics[one["metric"]]
        digits = metric["digits"]
        low, high = one["interval"]
        table.add_row(
            metric["label"],
            f"{one['b']} - {one['a']}",
            f"{one['difference']:+.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            "real" if one["separable"] else "not separable",
        )
    console.print(table)


def show_diagnosis(found: dict[str, Any]) -> None:
    """Print what the latent carries, and what it means."""
    table = Table(
        box=box.SIMPLE,
        title=f"{found['run']}: {found['n_past']} given, {found['n_future']} predicted frames, "
        f"{found['split']} sequences: {found['sequences']}, {found['prior']} prior",
    )
    table.add_column("")
    table.add_column("", justify="right")
    z_dim, psnr = len(found["kl_per_dimension"]), found["psnr"]
    rows = [
        ("KL", f"{found['kl']:.3f} nats a step"),
        ("largest of a dimension", f"{max(found['kl_per_dimension']):.3f} nats a step"),
        ("active units (variance of the mean above 0.01)", f"{found['active_units']} of {z_dim}"),
        ("active units (KL above 0.01 nats)", f"{found['active_by_kl']} of {z_dim}"),
        ("PSNR, z from the posterior", f"{psnr['posterior']:.2f} dB"),
        ("PSNR, z from the prior", f"{psnr['prior']:.2f} dB"),
        ("PSNR, z the prior's mean", f"{psnr['prior-mean']:.2f} dB"),
        ("PSNR, z zero", f"{psnr['zero']:.2f} dB"),
        ("one sample from the prior against another", f"{found['between_samples']:.2f} dB"),
        ("deviation of the posterior, 5 to 95 %", _span(found["sigma_q"])),
        ("deviation of the prior, 5 to 95 %", _span(found["sigma_p"])),
        ("size of the posterior's mean, 5 to 95 %", _span(found["mu_q"])),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for verdict in found["verdicts"]:
        say(f"{verdict['level']}: {verdict['text']}")


def _span(quantiles: list[float]) -> str:
    return f"{quantiles[1]:.3g} to {quantiles[3]:.3g}"


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


def show_schedules(rows: list[tuple[int, float, float, float]]) -> None:
    """Print (epoch, beta, teacher-forcing ratio, learning rate) for every epoch."""
    table = Table()
    for name in ("epoch", "beta", "teacher forcing", "learning rate"):
        table.add_column(name, justify="right")
    for epoch, beta, ratio, rate in rows:
        table.add_row(str(epoch), f"{beta:.6g}", f"{ratio:.4f}", f"{rate:.6g}")
    console.print(table)
