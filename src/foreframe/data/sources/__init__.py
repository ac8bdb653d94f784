"""Sources: each module knows one form of data in the outside world."""

from foreframe.data.sources.bair import BairSource
from foreframe.data.sources.droid import DroidSource
from foreframe.data.sources.hdf5 import Hdf5Source
from foreframe.data.sources.lab_folders import LabSource
from foreframe.data.sources.lerobot import LerobotSource
from foreframe.data.sources.mcap import McapSource
from foreframe.data.sources.moving_mnist import MovingMnistSource
from foreframe.data.sources.npz import NpzSource
from foreframe.data.sources.rlds import RldsSource
from foreframe.data.sources.source import Source
from foreframe.data.sources.stores import StoreSource
from foreframe.data.sources.video import VideoSource
from foreframe.data.sources.zarr_buffer import ZarrSource

SOURCES: dict[str, type[Source]] = {
    "bair": BairSource,
    "rlds": RldsSource,
    "lerobot": LerobotSource,
    "zarr": ZarrSource,
    "hdf5": Hdf5Source,
    "droid": DroidSource,
    "mcap": McapSource,
    "video": VideoSource,
    "npz": NpzSource,
    "mmnist": MovingMnistSource,
    "lab": LabSource,
    "store": StoreSource,
}
"""By their names on the command line."""

__all__ = ["SOURCES", "Source"]
