"""A moving average of the weights, which predicts better than those of the last step alone."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Begin an exponential moving average of a model's weights and running statistics.

    After step t (from 1) each tensor a becomes d a + (1 - d) w, with d = min(decay, t / (9 + t)),
    so that the first steps are soon forgotten. Source: Polyak & Juditsky 1992; the warm-up is that
    of the TensorFlow documentation. ``update_parameters(model)`` is one step, and ``module`` is a
    model with the averages for its weights. ``n_averaged`` is t: a resumed training sets it.

    Args:
        model: whose weights are averaged.
        decay: above 0 and below 1; 1 / (1 - decay) steps count.
    """

    def update(averages: Tensors, weights: Tensors, _: Tensor | int) -> None:
        if averages[0].is_floating_point():
            step = int(average.n_averaged)  # on the CPU: a GPU is not waited for
            get_ema_multi_avg_fn(min(decay, step / (9 + step)))(averages, weights, step)
        else:  # counters of batch normalisation
            for ours, theirs in zip(averages, weights, strict=True):
                ours.copy_(theirs)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    average.n_averaged.fill_(1)  # The weights before the first step are averaged, too.
    return average


def averages(average: AveragedModel) -> dict[str, Tensor]:
    """The averaged tensors by the names of the weights, for a checkpoint and from one."""
    tensors: dict[str, Tensor] = average.module.state_dict()
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
