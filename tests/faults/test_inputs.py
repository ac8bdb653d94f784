"""Mutated inputs: refused in words, or read as what they may well be; never a traceback or a hang.

Few here, drawn anew by the same seed each time; ``benchmarks/faults.py`` draws ten thousand.
"""

import pytest

from tests.faults.campaign import kept, mutate
from tests.faults.inputs import INPUTS, Tried

pytest.importorskip("av")
pytest.importorskip("pyarrow")
pytest.importorskip("zarr")
pytest.importorskip("h5py")
pytest.importorskip("mcap_ros2")


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("default")
def test_a_mutated_input_is_refused_or_read(name, tmp_path):
    counts = mutate(name, tmp_path, 30, 0)
    assert counts["refused"] + counts["taken"] > 10


CORPUS = [(name, *case) for name in INPUTS for case in kept(name)]


@pytest.mark.parametrize(("name", "file", "relative", "exact"), CORPUS)
@pytest.mark.filterwarnings("default")
def test_what_was_once_a_fault_is_none(name, file, relative, exact, tmp_path):
    """``Tried.read`` raises what is no refusal, and if what was never written is taken."""
    tried = Tried(name, tmp_path)
    tried.read(tmp_path / relative, file.read_bytes(), exact)
    assert tried.kind.read(tmp_path) == tried.written  # the sound file is back in its place
