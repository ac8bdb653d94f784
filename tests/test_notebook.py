"""The notebook runs from its first cell to its last, and shows moving pictures."""

import base64
import io
import shutil
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from foreframe import ModelConfig, VideoCVAE
from foreframe.training.checkpoint import save_best

NOTEBOOK = Path(__file__).parents[1] / "examples" / "imagine.ipynb"


@pytest.fixture
def beside_a_demo(toy_data, tmp_path):
    """A folder as `make demo` leaves it, with a tiny model."""
    torch.manual_seed(0)
    small = {"net": "dcgan64", "width": 0.125, "g_dim": 16, "z_dim": 4, "rnn_size": 16}
    save_best(tmp_path / "runs" / "demo", VideoCVAE(ModelConfig(**small)))
    shutil.copytree(
        toy_data / "test" / "traj_0_to_255" / "0",
        tmp_path / "data" / "push" / "test" / "push_0_to_255" / "0",
    )
    return tmp_path


# The kernel is a process of its own; what its libraries warn of is not ours.
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_and_shows_gifs(beside_a_demo):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(beside_a_demo)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    gifs = [
        output["data"]["image/gif"]
        for output in outputs
        if output["output_type"] in ("display_data", "execute_result")
        and "image/gif" in output["data"]
    ]
    assert len(gifs) == 2
    for data in gifs:
        with Image.open(io.BytesIO(base64.b64decode(data))) as gif:
            assert gif.n_frames == 12
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert "copy last" in printed
