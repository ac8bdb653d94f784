"""The command that looks into the latent of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import console, counting, say
from foreframe.system.device import DeviceName
from foreframe.system.places import place


@dataclass(frozen=True)
class Diagnose:
    """Look into the latent of a run: what it carries, what it is worth, what would help."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    data: str
    """Root of the dataset."""
    split: Literal["test", "validate", "train"] = "validate"
    """Split whose sequences are looked at."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    limit: int | None = None
    """Look at the first sequences only."""
    seed: int = 0
    """Seed of z."""
    device: DeviceName = "auto"
    """Where to compute."""
    out: Path | None = None
    """Folder of what is written, by default the run's."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.diagnosis import DIAGNOSIS, FIGURE, diagnose

        with counting("diagnosing") as progress:
            found = diagnose(
                self.run_folder,
                place(self.data),
                split=self.split,
                n_past=self.n_past,
                n_future=self.n_future,
                limit=self.limit,
                seed=self.seed,
                device=self.device,
                out=self.out,
                log=say,
                progress=progress,
            )
        show_diagnosis(found)
        folder = self.out or self.run_folder
        say(f"{folder / DIAGNOSIS}, {folder / FIGURE}")


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
