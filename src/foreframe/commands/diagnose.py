"""The command that looks into the latent of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import console, counting, say
from foreframe.diagnosis.options import DiagnoseOptions
from foreframe.diagnosis.result import each
from foreframe.runs.folder import DIAGNOSIS, DIAGNOSIS_FIGURE
from foreframe.system.places import place

if TYPE_CHECKING:
    from foreframe.diagnosis.result import Diagnosis


@dataclass(frozen=True)
class Diagnose:
    """Say what the latent of a run carries, and what would help."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    data: str
    """Root of the dataset."""
    out: Path | None = None
    """Folder of what is written, by default the run's."""
    prediction: DiagnoseOptions = field(default_factory=DiagnoseOptions)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.diagnosis.diagnose import diagnose

        with counting("diagnosing") as progress:
            diagnosis = diagnose(
                self.run_folder,
                place(self.data),
                self.prediction,
                out=self.out,
                log=say,
                progress=progress,
            )
        show_diagnosis(diagnosis)
        folder = self.out or self.run_folder
        say(f"{folder / DIAGNOSIS}, {folder / DIAGNOSIS_FIGURE}")


def show_diagnosis(diagnosis: "Diagnosis") -> None:
    """Print what the latent carries, and what it means."""
    table = Table(
        box=box.SIMPLE,
        title=f"{diagnosis.run}: {diagnosis.n_past} given, {diagnosis.n_future} predicted frames, "
        f"{diagnosis.split} sequences: {diagnosis.sequences}, {diagnosis.prior} prior",
    )
    table.add_column("")
    table.add_column("", justify="right")
    counted = each(diagnosis.kl_per_step)
    z_dim, psnr = len(diagnosis.kl_per_dimension), diagnosis.psnr
    rows = {
        "KL": f"{diagnosis.kl:.3f} nats {counted}",
        "largest of a dimension": f"{max(diagnosis.kl_per_dimension):.3f} nats {counted}",
        "active units (variance of the mean above 0.01)": f"{diagnosis.active_units} of {z_dim}",
        "active units (KL above 0.01 nats)": f"{diagnosis.active_by_kl} of {z_dim}",
        "PSNR, z from the posterior": f"{psnr['posterior']:.2f} dB",
        "PSNR, z from the prior": f"{psnr['prior']:.2f} dB",
        "PSNR, z the prior's mean": f"{psnr['prior-mean']:.2f} dB",
        "PSNR, z zero": f"{psnr['zero']:.2f} dB",
        "one sample from the prior against another": f"{diagnosis.between_samples:.2f} dB",
        "deviation of the posterior, 5 to 95 %": _span(diagnosis.sigma_q),
        "deviation of the prior, 5 to 95 %": _span(diagnosis.sigma_p),
        "size of the posterior's mean, 5 to 95 %": _span(diagnosis.mu_q),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for verdict in diagnosis.verdicts:
        say(f"{verdict.level}: {verdict.text}")


def _span(quantiles: list[float]) -> str:
    return f"{quantiles[1]:.3g} to {quantiles[3]:.3g}"
