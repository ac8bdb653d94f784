"""How the end effector goes on: a linear map from position and action to the next position.

A model that is conditioned on positions needs those of the future. Where only actions are chosen,
as by a person at the controls, they are rolled forward with this map, fitted on recordings.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foreframe.data.recording import Recording
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json

KINEMATICS = "kinematics.json"


@dataclass(frozen=True)
class Kinematics:
    """position[t + 1] = [position[t], action[t], 1] @ matrix, by least squares.

    Attributes:
        matrix: [P + A + 1, P].
        r2: share of the variance of position[t + 1] - position[t] that it explains, each column.
        residual: root mean square error of each column, in the units of the positions.
        rows: steps it was fitted on.
    """

    matrix: Float[np.ndarray, "inputs position"]
    r2: list[float]
    residual: list[float]
    rows: int

    def next(
        self,
        position: Float[np.ndarray, "*batch position"],
        action: Float[np.ndarray, "*batch action"],
    ) -> Float[np.ndarray, "*batch position"]:
        """The position after ``action`` from ``position``."""
        one = np.ones((*position.shape[:-1], 1))
        return np.asarray(np.concatenate([position, action, one], -1) @ self.matrix)

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {
            "map": "position[t+1] = [position[t], action[t], 1] @ matrix",
            "matrix": self.matrix.tolist(),
            "r2_of_the_change": self.r2,
            "residual_rms": self.residual,
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, values: Any, where: Path) -> "Kinematics":
        """The reverse of ``to_json``.

        Raises:
            ForeframeError: these are no kinematics.
        """
        try:
            matrix = np.array(values["matrix"], np.float64)
            if matrix.ndim != 2 or not np.isfinite(matrix).all():
                raise ValueError("the matrix is none")
            return cls(
                matrix,
                [float(value) for value in values["r2_of_the_change"]],
                [float(value) for value in values["residual_rms"]],
                int(values["rows"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ForeframeError(
                f"{where}: cannot be read ({error}). Delete it, and it is fitted anew."
            ) from error

    def write(self, run: Path) -> None:
        """Keep it in the run folder."""
        write_json(run / KINEMATICS, self.to_json())


def fit_kinematics(sequences: Iterable[Recording]) -> Kinematics | None:
    """The map that fits the recordings best; None if they have no actions or positions.

    The sums of the normal equations are gathered, not the rows: any number of recordings fits into
    memory.

    Args:
        sequences: of the training split.
    """
    count = 0
    inputs = outputs = changes = None
    for sequence in sequences:
        if sequence.actions is None or sequence.positions is None:
            return None
        position = sequence.positions[:-1].astype(np.float64)
        after = sequence.positions[1:].astype(np.float64)
        x = np.concatenate([position, sequence.actions[:-1], np.ones((len(position), 1))], 1)
        if inputs is None:
            inputs = np.zeros((x.shape[1], x.shape[1]))
            outputs = np.zeros((x.shape[1], after.shape[1]))
            changes = np.zeros((3, after.shape[1]))
        assert outputs is not None
        assert changes is not None
        inputs += x.T @ x
        outputs += x.T @ after
        difference = after - position
        changes += [difference.sum(0), (difference**2).sum(0), (after**2).sum(0)]
        count += len(x)
    if inputs is None or outputs is None or changes is None or count == 0:
        return None
    # Columns that never change make the system singular: least squares takes the smallest map.
    matrix = np.linalg.lstsq(inputs, outputs, rcond=1e-12)[0]
    squared = changes[2] - 2 * (matrix * outputs).sum(0) + (matrix * (inputs @ matrix)).sum(0)
    squared = np.maximum(squared, 0.0)
    spread = changes[1] - changes[0] ** 2 / count
    r2 = np.where(spread > 1e-12, 1 - squared / np.maximum(spread, 1e-12), 0.0)
    return Kinematics(matrix, r2.tolist(), np.sqrt(squared / count).tolist(), count)
