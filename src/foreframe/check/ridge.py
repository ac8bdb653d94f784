"""How well one thing predicts another in recordings that the fit has not seen."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FOLDS = 5
RIDGE = 1e-6
"""Part of the inputs' variance that is added to it. It only keeps the equations solvable: a larger
one shrinks small differences of large inputs, such as a target and the position before it, and
then a lag that does without them is the best."""

STEADIER = 1e-2
"""The same for many inputs and few rows."""

_TAIL = 0.01
"""Share of the values of a column at either end that do not count for how far it reaches: a single
fault of recording must not decide."""


@dataclass(frozen=True)
class Errors:
    """Squared errors of predictions on held-out recordings, in standardised units.

    Attributes:
        left: [variants, groups, columns], summed over the rows of each group.
        whole: [groups, columns], the same if the mean is predicted.
    """

    left: Float[np.ndarray, "variants groups columns"]
    whole: Float[np.ndarray, "groups columns"]

    def explained(self) -> Float[np.ndarray, "variants columns"]:
        """R squared of each column: 1 predicted exactly, 0 no better than the mean."""
        return 1 - self.left.sum(1) / np.maximum(self.whole.sum(0), 1e-12)

    def pooled(self, columns: np.ndarray) -> Float[np.ndarray, " variants"]:
        """R squared of some columns together."""
        whole = self.whole[:, columns].sum()
        return 1 - self.left[:, :, columns].sum((1, 2)) / max(float(whole), 1e-12)


def standardised(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Every column to mean 0 and deviation 1 (0 where it is constant), outliers brought nearer."""
    exact = values.astype(np.float64)
    low = np.quantile(exact, _TAIL, axis=0, method="higher")
    high = np.quantile(exact, 1 - _TAIL, axis=0, method="lower")
    reach = high - low
    # A gripper that is rarely closed reaches nowhere, and stays as it is.
    reach = np.where(reach > 0, reach, np.inf)
    near = exact.clip(low - reach, high + reach)
    deviation = near.std(0)
    still = deviation <= 1e-6 * np.abs(near).max(0, initial=1e-30)
    return np.asarray(np.where(still, 0.0, (near - near.mean(0)) / np.where(still, 1.0, deviation)))


def held_out_errors(
    x: Float[np.ndarray, "variants rows inputs"],
    y: Float[np.ndarray, "rows columns"],
    groups: Int[np.ndarray, " rows"],
    ridge: float = RIDGE,
) -> Errors:
    """Ridge regression of ``y`` on each variant of ``x``, cross-validated by groups.

    Args:
        x: standardised inputs.
        y: standardised outputs, the same for all variants so that their errors compare.
        groups: the recording of each row, in ascending order from 0 on; a recording is never
            fitted and predicted by the same coefficients.
        ridge: part of the inputs' variance that is added to it.
    """
    count = int(groups[-1]) + 1
    fold = np.random.default_rng(0).permutation(count) % FOLDS
    left = np.zeros((len(x), count, y.shape[1]))
    fold_of_row = fold[groups]
    starts = np.searchsorted(groups, np.arange(count))
    for v, inputs in enumerate(x):
        parts = [inputs[fold_of_row == f] for f in range(FOLDS)]
        targets = [y[fold_of_row == f] for f in range(FOLDS)]
        squares = [part.T @ part for part in parts]
        products = [part.T @ target for part, target in zip(parts, targets, strict=True)]
        residual = np.empty_like(y)
        for f in range(FOLDS):
            rows = len(inputs) - len(parts[f])
            square = sum(squares) - squares[f] + ridge * rows * np.eye(inputs.shape[1])
            weights = np.linalg.solve(square, sum(products) - products[f])
            residual[fold_of_row == f] = targets[f] - parts[f] @ weights
        left[v] = np.add.reduceat(np.square(residual), starts)
    return Errors(left, np.add.reduceat(np.square(y), starts))
