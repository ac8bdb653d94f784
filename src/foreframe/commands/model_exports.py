"""Commands that write a trained model in another form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from foreframe.commands.console import say


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
