"""The run-time checks of annotations that tests/conftest.py switches on are really on."""

import pytest
import torch
from jaxtyping import TypeCheckError

from foreframe.model.nets.recurrent import LSTM


def test_a_shape_that_contradicts_its_annotation_is_refused() -> None:
    predictor = LSTM(input_size=3, output_size=2, rnn_size=4, layers=1)
    with pytest.raises(TypeCheckError):
        predictor(torch.zeros(5, 3))  # [batch, input]: the time axis is missing
