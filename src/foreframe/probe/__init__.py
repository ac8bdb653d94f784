"""Does a run listen to its actions, and do its samples spread as the hidden physics does."""

from foreframe.probe.probe import FIGURE, MAPS, PROBE, probe

__all__ = ["FIGURE", "MAPS", "PROBE", "probe"]
