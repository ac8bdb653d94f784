"""Pictures: predictions beside the truth, and charts. NumPy arrays in, files and SVG out."""

from foreframe.visuals.charts import SERIES, Chart, schedule_plot, step_charts, training_charts
from foreframe.visuals.frames import (
    StripGrid,
    frames_to_png,
    prediction_gif,
    prediction_strip,
    samples_gif,
    save_strip,
)
from foreframe.visuals.landscape import landscape_figure
from foreframe.visuals.latent import latent_figure
from foreframe.visuals.overlay import overlaid_chart
from foreframe.visuals.probe import SpreadMap, probe_figure, spread_maps

__all__ = [
    "SERIES",
    "Chart",
    "SpreadMap",
    "StripGrid",
    "frames_to_png",
    "landscape_figure",
    "latent_figure",
    "overlaid_chart",
    "prediction_gif",
    "prediction_strip",
    "probe_figure",
    "samples_gif",
    "save_strip",
    "schedule_plot",
    "spread_maps",
    "step_charts",
    "training_charts",
]
