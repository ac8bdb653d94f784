"""The splits that a training needs: opened, and compared with the configuration."""

from dataclasses import replace

from foreframe.config.training import RunConfig
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.places import Place
from foreframe.training.listener import Listener


def open_splits(config: RunConfig, data: Place, listener: Listener) -> dict[str, Store]:
    """The training and the validation split, packed first where they are not packed yet.

    Raises:
        ForeframeError: a split is missing, damaged, or has frames of another size.
    """
    return {
        split: open_split(
            data,
            split,
            size=config.model.frame_size,
            log=listener.message,
            progress=listener.packing,
        )
        for split in ("train", "validate")
    }


def fitted(config: RunConfig, splits: dict[str, Store]) -> RunConfig:
    """``config`` with as many numbers in actions and positions as the training split has.

    Raises:
        ForeframeError: a split has sequences that are too short, or lacks what the model takes.
    """
    model, train = config.model, splits["train"]
    action_dim = model.action_dim if train.action_dim is None else train.action_dim
    position_dim = model.position_dim if train.position_dim is None else train.position_dim
    config = replace(config, model=replace(model, action_dim=action_dim, position_dim=position_dim))
    for store in splits.values():
        require(
            store,
            n_frames=config.train.n_past + config.train.n_future,
            needs=config.model.needs,
        )
    return config


def check_share(config: RunConfig, processes: int) -> None:
    """Refuse a batch that cannot be shared equally among the processes of a training.

    Raises:
        ForeframeError: names the option.
    """
    batch_size = config.train.batch_size
    if batch_size % processes:
        raise ForeframeError(
            f"--batch-size {batch_size}: is that of all {processes} processes together, and cannot "
            f"be shared equally. Give a multiple of {processes}."
        )
