"""Mean, deviation and range of the numbers of many sequences, gathered piece by piece."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Statistics:
    """Statistics of the rows of some actions or positions, column by column.

    Attributes:
        count: number of rows.
        mean: mean of each column.
        m2: sum of squared distances from the mean.
        low: smallest value of each column.
        high: largest value of each column.
    """

    count: int
    mean: Float64[np.ndarray, " width"]
    m2: Float64[np.ndarray, " width"]
    low: Float64[np.ndarray, " width"]
    high: Float64[np.ndarray, " width"]

    @classmethod
    def of(cls, rows: np.ndarray) -> "Statistics":
        """Statistics of ``rows`` [T, width], at least one row."""
        exact = rows.astype(np.float64)
        mean = exact.mean(0)
        return cls(len(rows), mean, ((exact - mean) ** 2).sum(0), exact.min(0), exact.max(0))

    def __add__(self, other: "Statistics") -> "Statistics":
        """Statistics of both sets of rows together (Chan, Golub and LeVeque 1979, equation 2.1)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        return Statistics(
            count,
            self.mean + delta * (other.count / count),
            self.m2 + other.m2 + delta**2 * (self.count * other.count / count),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def deviation(self) -> Float64[np.ndarray, " width"]:
        """Standard deviation of each column, of the rows as they are (not an estimate)."""
        return np.sqrt(self.m2 / self.count)

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists; ``from_json`` gives the same back exactly."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "m2", "low", "high")}
        return {"count": self.count, **arrays}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Statistics":
        """The reverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: these are no statistics.
        """
        arrays = [np.array(values[name], np.float64) for name in ("mean", "m2", "low", "high")]
        count = int(values["count"])
        if count < 1 or any(a.ndim != 1 or a.shape != arrays[0].shape for a in arrays):
            raise ValueError("statistics are not those of any rows")
        return cls(count, *arrays)
