"""foreframe: action-conditioned stochastic video prediction."""

from foreframe.clip import Clip as Clip
from foreframe.errors import ForeframeError as ForeframeError
from foreframe.model import ModelConfig as ModelConfig
from foreframe.model import VideoCVAE as VideoCVAE

__version__ = "0.1.0"
