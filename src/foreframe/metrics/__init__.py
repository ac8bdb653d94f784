"""Metrics of frames and videos, each with its definition in words."""

from foreframe.metrics.images import PSNR_CAP, psnr, ssim
from foreframe.metrics.measures import (
    METRICS,
    PSNR_MOVING,
    PSNR_PROTOCOL,
    SSIM_PROTOCOL,
    Metric,
)

__all__ = [
    "METRICS",
    "PSNR_CAP",
    "PSNR_MOVING",
    "PSNR_PROTOCOL",
    "SSIM_PROTOCOL",
    "Metric",
    "psnr",
    "ssim",
]
