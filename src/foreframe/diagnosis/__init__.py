"""The KL doctor: what the latent of a run carries, what it is worth, and what would help."""

from foreframe.diagnosis.diagnose import DIAGNOSIS, FIGURE, diagnose

__all__ = ["DIAGNOSIS", "FIGURE", "diagnose"]
