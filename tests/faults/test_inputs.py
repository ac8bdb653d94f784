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


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("default")
def test_a_mutated_input_is_refused_or_read(name, tmp_path):
    counts = mutate(name, tmp_path, 30, 0)
    assert counts["refused"] + counts["taken"] > 10


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("default")
def test_what_was_once_a_fault_is_none(name, tmp_path):
    cases = kept(name)
    tried = Tried(name, tmp_path)
    for file, relative, exact in cases:
        tried.read(tmp_path / relative, file.read_bytes(), exact)
