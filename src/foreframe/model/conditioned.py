"""The condition of a model: actions and positions turned into what each step is told."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.config.model import ModelConfig, check_model_config
from foreframe.errors import ForeframeError


class Conditioned(nn.Module):
    """A module that is told rows of actions and positions, brought to mean 0 and deviation 1.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    condition_mean: Tensor
    condition_deviation: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_model_config(config)
        self.config = config

    def _register_statistics(self) -> None:
        """The training split's statistics, which ``standardise_condition`` sets once."""
        self.register_buffer("condition_mean", torch.zeros(self.config.condition_dim))
        self.register_buffer("condition_deviation", torch.ones(self.config.condition_dim))

    def standardise_condition(
        self,
        actions: tuple[Float[Tensor, " action"], Float[Tensor, " action"]] | None,
        positions: tuple[Float[Tensor, " position"], Float[Tensor, " position"]] | None,
    ) -> None:
        """Take the mean and deviation of the training split's condition.

        A number that never changes keeps deviation 1. Does nothing when the configuration says that
        conditions are fed raw.

        Args:
            actions: mean and standard deviation [action_dim] of the split's actions; None if it
                has none.
            positions: [position_dim], likewise.
        """
        config = self.config
        used = ((actions, config.uses_actions), (positions, config.uses_positions))
        parts = [part for part, on in used if on and part is not None]
        if not config.standardise or not parts:
            return
        mean, deviation = (torch.cat(columns) for columns in zip(*parts, strict=True))
        self.condition_mean.copy_(mean)
        self.condition_deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def teach_kinematics(self, matrix: Float[Tensor, "inputs position"]) -> None:
        """Begin with how positions follow from actions; a model that learns it all does nothing.

        Args:
            matrix: [P + A + 1, P], [position, action, 1] to the next position.
        """

    def condition(
        self,
        actions: Float[Tensor, "batch rows action"] | None,
        positions: Float[Tensor, "batch rows position"] | None,
        n_frames: int,
    ) -> Float[Tensor, "steps batch condition"] | None:
        """The condition of frames 1 .. n_frames-1, time first; None for an unconditional model.

        Args:
            actions: [B, rows, action_dim]; row t acts between frame t and t + 1.
            positions: [B, rows, position_dim]; row t is the end effector at frame t.
            n_frames: number of frames T, given ones included. Source-time needs T - 1 rows,
                target-time T.

        Raises:
            ForeframeError: a part that the model is conditioned on is missing, too short or of
                another width.
        """
        source = self.config.timing == "source"
        rows = n_frames - 1 if source else n_frames
        for name, part in self._condition_parts(actions, positions):
            if part.shape[1] < rows:
                raise ForeframeError(
                    f"{name}: {n_frames} frames in {self.config.timing}-time need {rows} rows, "
                    f"and {part.shape[1]} were given."
                )
        first = 0 if source else 1
        condition = self.condition_rows(
            None if actions is None else actions[:, first:rows],
            None if positions is None else positions[:, first:rows],
        )
        return None if condition is None else condition.transpose(0, 1)

    def condition_rows(
        self,
        actions: Float[Tensor, "*some action"] | None,
        positions: Float[Tensor, "*some position"] | None,
    ) -> Float[Tensor, "*some condition"] | None:
        """Rows of actions and positions as the networks take them; None without a condition.

        Raises:
            ForeframeError: a part that the model is conditioned on is missing or of another width.
        """
        parts = self._condition_parts(actions, positions)
        if not parts:
            return None
        rows = torch.cat([part.to(self.condition_mean.dtype) for _, part in parts], -1)
        return (rows - self.condition_mean) / self.condition_deviation

    def _condition_parts(
        self, actions: Tensor | None, positions: Tensor | None
    ) -> list[tuple[str, Tensor]]:
        """Those that the model is conditioned on, by name."""
        config = self.config
        parts: list[tuple[str, Tensor]] = []
        given = {"actions": actions, "positions": positions}
        for name, width in config.needs.items():
            if width is None:
                continue
            part = given[name]
            if part is None:
                raise ForeframeError(
                    f"{name}: the model is conditioned on {config.condition_name}, and none were "
                    f"given. Use data that has {name}, or a model trained without them."
                )
            if part.shape[-1] != width:
                raise ForeframeError(
                    f"{name}: {part.shape[-1]} numbers a step, but the model was built for {width}."
                )
            parts.append((name, part))
        return parts
