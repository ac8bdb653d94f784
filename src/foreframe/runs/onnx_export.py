"""A model as two ONNX graphs and a description, which need neither foreframe nor PyTorch."""

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import foreframe
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, RUN_CONFIG, saved_config
from foreframe.runs.graphs import Graphs, graphs_of
from foreframe.runs.hub import load_model
from foreframe.runs.kinematics import KINEMATICS
from foreframe.runs.shipped import run_folder
from foreframe.runs.training_data import Number, TrainingData, label
from foreframe.system.files import read_json, whole_file, write_json

Precision = Literal["float32", "float16"]

BEGIN, STEP, DESCRIPTION = "begin.onnx", "step.onnx", "model.json"
_OPSET = 18
_MOST = 64
_LARGE = 256
"""Numbers of a weight from which it is worth storing in half precision."""


def export_onnx(run: Path, out: Path, *, precision: Precision = "float32") -> dict[str, int]:
    """Write ``begin.onnx``, ``step.onnx`` and ``model.json``, which says what goes in and out.

    Args:
        run: the run folder, or the name of a model that comes with the package.
        out: new or empty folder, or one of an earlier export, which is replaced.
        precision: of the weights in the files; what is computed is float32 in any case.

    Returns:
        Bytes of each file.

    Raises:
        ForeframeError: the extra is missing, no trained run is there, or ``out`` holds other files.
    """
    _require()
    _check_out(out)
    folder = run_folder(run)
    model = load_model(folder)
    n_past = saved_config(folder).train.n_past if (folder / RUN_CONFIG).is_file() else 2
    graphs = graphs_of(model, n_past)
    known = len(graphs.step_inputs) - len(graphs.leaves)
    drawn = not model.config.latent_of_episode
    step = _graph(
        graphs.step,
        graphs.examples[1],
        graphs.step_inputs,
        ["frames", *(f"{leaf.name}.next" for leaf in graphs.leaves if leaf.changes)],
        [*[0 if drawn and k == known - 1 else None for k in range(known)]]
        + [leaf.axis for leaf in graphs.leaves],
        precision,
    )
    graphs = graphs.without(_unread(step, {leaf.name for leaf in graphs.leaves}))
    begin = _graph(
        graphs.begin,
        graphs.examples[0],
        graphs.begin_inputs,
        [leaf.name for leaf in graphs.leaves],
        [*[None] * (len(graphs.begin_inputs) - 1), 0],
        precision,
    )
    written = {BEGIN: begin.SerializeToString(), STEP: step.SerializeToString()}
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION).unlink(missing_ok=True)  # what it said is true no longer
    for name, content in written.items():
        with whole_file(out / name) as aside:
            aside.write_bytes(content)
    write_json(out / DESCRIPTION, _describe(folder, model, graphs, n_past, precision))
    return {name: (out / name).stat().st_size for name in (*written, DESCRIPTION)}


def _require() -> None:
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            raise ForeframeError(
                f"Exporting needs the package {package}: pip install 'foreframe[onnx]'."
            ) from error


def _check_out(out: Path) -> None:
    if out.is_file():
        raise ForeframeError(f"{out}: is a file. Name a folder for the export.")
    others = set() if not out.is_dir() else {one.name for one in out.iterdir()}
    others -= {BEGIN, STEP, DESCRIPTION}
    if others:
        raise ForeframeError(f"{out}: holds other files ({sorted(others)[0]}). Name a new folder.")


def _graph(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Sequence[int | None],
    precision: Precision,
) -> Any:
    """A function as an ONNX model; futures may be any number."""
    import onnx
    from onnxscript import optimizer

    futures = torch.export.Dim("futures", min=2, max=_MOST)
    shapes = tuple(None if axis is None else {axis: futures} for axis in axes)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as aside:
            warnings.simplefilter("ignore")
            traced = torch.export.export(
                module.eval(), example, dynamic_shapes=(shapes,), strict=False
            )
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=_OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                optimize=False,
                verbose=False,
            )
            assert program is not None
            # The exporter's own optimisation would merge norms into weights, which half precision
            # then no longer holds exactly; onnxruntime merges them when it loads a graph.
            optimizer.inline(program.model)
            optimizer.fold_constants(program.model)
            optimizer.remove_unused_nodes(program.model)
            program.save(f"{aside}/graph.onnx")
            graph = onnx.load(f"{aside}/graph.onnx")
    finally:
        logging.disable(before)
    _forget_where(graph)
    if precision == "float16":
        _halve(graph, {name for name, _ in module.named_parameters()})
    onnx.checker.check_model(graph)
    return graph


def _unread(model: Any, leaves: set[str]) -> set[str]:
    """Leaves that no step reads, neither to draw nor to go on: taken out of the step's graph."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    unread = leaves - read
    for ends, names in (
        (graph.input, unread),
        (graph.output, {f"{name}.next" for name in unread}),
    ):
        kept = [end for end in ends if end.name not in names]
        del ends[:]
        ends.extend(kept)
    return unread


def _forget_where(graph: Any) -> None:
    """Leave out where in a program each node comes from: paths, and a third of the file."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del value.metadata_props[:]
    del graph.graph.value_info[:]
    for weight in graph.graph.initializer:
        weight.doc_string = ""
        del weight.metadata_props[:]


def _halve(graph: Any, weights: set[str]) -> None:
    """Store large weights in half precision; a node makes them float32 again.

    So are others that half precision holds exactly: weights that were turned beforehand. Buffers
    and constants stay what they are.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _LARGE:
            continue
        half = values.astype(np.float16)
        exact = np.array_equal(half.astype(np.float32), values)
        if not exact and (weight.name not in weights or not np.isfinite(half).all()):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for k, cast in enumerate(casts):
        graph.graph.node.insert(k, cast)


def _describe(
    folder: Path, model: Any, graphs: Graphs, n_past: int, precision: Precision
) -> dict[str, Any]:
    """What ``model.json`` says."""
    config = model.config
    told = TrainingData.saved(folder) if (folder / RUN_CONFIG).is_file() else None
    kinematics = folder / KINEMATICS
    return {
        "foreframe": foreframe.__version__,
        "weights": hashlib.sha256((folder / BEST).read_bytes()).hexdigest(),
        "precision": precision,
        "opset": _OPSET,
        "run": folder.name,
        "net": config.net,
        "condition": config.condition,
        "timing": config.timing,
        "prior": config.prior_name,
        "z_dim": config.z_dim,
        "latent_of_episode": config.latent_of_episode,
        "noise": "N(0, I); begin: [futures, n_past - 1, z_dim]"
        + ("" if config.latent_of_episode else "; step: [futures, z_dim]"),
        "n_past": n_past,
        "frame_size": list(config.frame_size),
        "frame_rate": None if told is None else told.frame_rate,
        "generator": "" if told is None else told.generator,
        **{
            part: [asdict(number) for number in _numbers(told, part, config.needs[part])]
            for part in ("actions", "positions")
        },
        "kinematics": read_json(kinematics) if kinematics.is_file() else None,
        "begin": {
            "file": BEGIN,
            "inputs": _tensors(graphs.begin_inputs, graphs.examples[0], graphs),
            "outputs": [leaf.name for leaf in graphs.leaves],
        },
        "step": {
            "file": STEP,
            "inputs": _tensors(graphs.step_inputs, graphs.examples[1], graphs),
            "outputs": ["frames", *(f"{one.name}.next" for one in graphs.leaves if one.changes)],
        },
        "state": [
            {"name": leaf.name, "futures_axis": leaf.axis, "changes": leaf.changes}
            for leaf in graphs.leaves
        ],
    }


def _tensors(
    names: Sequence[str],
    example: Sequence[torch.Tensor],
    graphs: Graphs,
) -> list[dict[str, Any]]:
    """Name and shape of each input; "futures" stands for their number."""
    axes = {leaf.name: leaf.axis for leaf in graphs.leaves}
    axes["noise"] = 0
    listed = []
    for name, tensor in zip(names, example, strict=True):
        shape: list[int | str] = list(tensor.shape)
        axis = axes.get(name)
        if axis is not None:
            shape[axis] = "futures"
        listed.append({"name": name, "shape": shape, "type": "float32"})
    return listed


def _numbers(told: TrainingData | None, part: str, width: int | None) -> list[Number]:
    known: tuple[Number, ...] = () if told is None else getattr(told, part)
    if len(known) == (width or 0):
        return list(known)
    return [Number(label("", part, i)) for i in range(width or 0)]
