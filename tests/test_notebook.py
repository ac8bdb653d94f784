"""The notebook runs as Jupyter runs it, from its own folder, and a reader sees its pictures."""

import base64
import io
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "examples" / "imagine.ipynb"

SMALL = {
    # 8 recordings and a tiny model in place of 600 and a good one.
    'simulate("../data/push")': "from foreframe.simulator.simulate import SimulateOptions\n"
    'simulate("../data/push", SimulateOptions(sequences=8))',
    'foreframe.fit(frames, actions, recipe="svg-small")': "foreframe.fit(frames, actions, "
    "recipe='svg-small', device='cpu', width=0.125, g_dim=16, z_dim=4, rnn_size=16, epochs=1, "
    "steps_per_epoch=2, batch_size=2, kl_schedule='constant', teacher_forcing='always')",
}


def gifs(notebook):
    return [
        base64.b64decode(output["data"]["image/gif"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] in ("display_data", "execute_result")
        and "image/gif" in output["data"]
    ]


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def check_outputs(notebook):
    pictures = gifs(notebook)
    assert len(pictures) == 3
    for data in pictures:
        with Image.open(io.BytesIO(data)) as gif:
            assert gif.n_frames == 12
    assert "best validation PSNR" in printed(notebook)
    assert "copy last" in printed(notebook)


# The kernel is a process of its own; what its libraries warn of is not ours.
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_from_its_own_folder(tmp_path):
    (tmp_path / "examples").mkdir()
    path = shutil.copy(NOTEBOOK, tmp_path / "examples")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    for usual, small in SMALL.items():
        (cell,) = (cell for cell in notebook.cells if usual in cell.source)
        cell.source = cell.source.replace(usual, small)
    where = {"metadata": {"path": str(tmp_path / "examples")}}
    NotebookClient(notebook, timeout=300, resources=where).execute()
    check_outputs(notebook)
    assert (tmp_path / "examples" / "runs" / "fit" / "model.safetensors").is_file()


def test_the_notebook_is_kept_with_its_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    check_outputs(notebook)
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert "/home/" not in printed(notebook)
    assert "/tmp/" not in printed(notebook)
