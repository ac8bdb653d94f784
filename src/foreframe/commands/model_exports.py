"""Commands that write a trained model in another form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from foreframe.commands.console import say
from foreframe.errors import ForeframeError
from foreframe.system.places import place


@dataclass(frozen=True)
class ExportOnnx:
    """Write a model as ONNX graphs, which onnxruntime runs without foreframe."""

    run_folder: Annotated[
        Positional[Path],
        arg(metavar="RUN", help="The run folder, or push, the model of the package."),
    ]
    out: Annotated[Positional[Path], arg(metavar="OUT", help="New folder of the graphs.")]
    precision: Literal["float32", "float16"] = "float32"
    """Of the large weights in the files; what is computed is float32 in any case."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.runs.onnx_export import export_onnx

        sizes = export_onnx(self.run_folder, self.out, precision=self.precision)
        for name, size in sizes.items():
            say(f"{self.out / name}: {size / 1e6:.2f} MB")


@dataclass(frozen=True)
class ExportPage:
    """Write the playground as a folder for any web server: the model runs in the browser."""

    run_folder: Annotated[
        Positional[Path],
        arg(metavar="RUN", help="The run folder, or push, the model of the package."),
    ]
    out: Annotated[Positional[Path], arg(metavar="OUT", help="New folder of the page.")]
    data: str | None = None
    """Root of the dataset whose test sequences are offered; by default the run's own, or scenes of
    the simulator."""
    sequences: int = 12
    """How many of them."""
    runtime: Path | None = None
    """The folder dist of onnxruntime-web, which runs the model; by default npm fetches it."""

    def run(self, words: Sequence[str]) -> None:
        try:
            from foreframe.serve.static_page import export_page
        except ImportError as error:
            if (error.name or "").startswith("foreframe"):
                raise
            raise ForeframeError(
                f"The page needs the package {error.name}: pip install 'foreframe[web,onnx]'."
            ) from error
        size = export_page(
            self.run_folder,
            self.out,
            data=None if self.data is None else place(self.data),
            sequences=self.sequences,
            runtime=self.runtime,
            log=say,
        )
        say(
            f"{self.out}: {size / 1e6:.1f} MB before the first frame. To look at it: "
            f"python -m http.server --directory {self.out}"
        )
