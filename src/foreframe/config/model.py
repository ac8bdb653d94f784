"""What a model is: its nets, its prior, its sizes and its condition."""

from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal, get_args

from foreframe.errors import ForeframeError

NetName = Literal["vgg64", "dcgan64", "vgg128", "dcgan128", "vgg64x128", "dcgan64x128", "places64"]


Size = tuple[int, int]
"""Height and width of frames in pixels."""


def frame_size(net: str) -> Size:
    """Height and width in pixels of the frames that a net takes: the numbers in its name.

    Raises:
        ForeframeError: there is no such net.
    """
    if net not in get_args(NetName):
        raise ForeframeError(f"--net {net}: unknown; known nets: {', '.join(get_args(NetName))}.")
    height, _, width = net.lstrip(ascii_lowercase).partition("x")
    return int(height), int(width or height)


FRAME_SIZES = tuple(sorted({frame_size(net) for net in get_args(NetName)}))
"""Heights and widths in pixels of frames that some net takes."""


def nets_for(size: Size) -> tuple[str, ...]:
    """Names of the nets that take frames of this height and width; none if no net does."""
    return tuple(net for net in get_args(NetName) if size == frame_size(net))


def size_options(size: Size) -> str:
    """The options of an import whose frames have this size."""
    height, width = size
    return f"--size {height}" + (f" --width {width}" if width != height else "")


@dataclass(frozen=True)
class ModelConfig:
    """The model: its nets, its prior and what it is conditioned on."""

    net: NetName = "vgg64"
    """Encoder and decoder of SVG (vgg, dcgan), or a state with places (places64: an arm, a scene
    that it touches, one latent an episode); the number is the height and width of the frames;
    64x128 is a frame as wide as two, for two cameras side by side."""
    width: float = 1.0
    """Multiplier of every convolution's channel count; less than 1 for small machines."""
    prior: Literal["fixed", "learned"] = "fixed"
    """Prior of z: N(0, I) (SVG-FP) or an LSTM over the past frames (SVG-LP)."""
    g_dim: int = 128
    """Width of the encoded frame h."""
    z_dim: int = 64
    """Width of the latent z."""
    rnn_size: int = 256
    """Width of every LSTM cell."""
    predictor_layers: int = 2
    """LSTM cells of the frame predictor."""
    posterior_layers: int = 1
    """LSTM cells of the posterior."""
    prior_layers: int = 1
    """LSTM cells of the learned prior."""
    condition: Literal["actions", "positions", "both", "none"] = "actions"
    """What the frame predictor is told beside the frames. Positions after the last given frame are
    privileged knowledge: at run time a robot knows its actions, not where it will be."""
    timing: Literal["source", "target"] = "source"
    """Row of the condition fed when frame i is predicted: i - 1 (source, leak-free with actions) or
    i (target, as the lab report does)."""
    action_dim: int = 4
    """Numbers in an action."""
    position_dim: int = 3
    """Numbers in an end-effector position."""
    standardise: bool = True
    """Bring each number of the condition to mean 0 and deviation 1 over the training split (the
    statistics are part of the checkpoint); off, they are fed raw as the lab does."""
    skips_from: Literal["last-past", "svg"] = "last-past"
    """Frame whose skips serve all later ones: the last given frame, or the one before it, where
    SVG's public code freezes them (to reproduce its numbers)."""
    recurrence: Literal["pixels", "latent"] = "pixels"
    """What is fed back after the given frames: each prediction, encoded again (SVG, the report), or
    the predicted features themselves, whose frames are then decoded together."""
    output: Literal["frame", "blend"] = "frame"
    """What the decoder draws: the frame (SVG), or new content and how it is blended, pixel by
    pixel, with the frame before and the last given one, so that still background stays sharp."""
    things: int = 0
    """Objects that are imagined one by one (places64): found in the given frame, pushed, and drawn
    where they go. They are learnt from recordings with tracks; 0: none."""

    @property
    def frame_size(self) -> Size:
        """Height and width of the frames in pixels."""
        return frame_size(self.net)

    @property
    def latent_of_episode(self) -> bool:
        """Whether z is drawn once for a whole episode, and not at each step."""
        return self.net == "places64"

    @property
    def prior_name(self) -> str:
        """The prior as results name it; that of a whole episode is always learned."""
        return "learned" if self.latent_of_episode else self.prior

    @property
    def uses_actions(self) -> bool:
        """Whether the condition includes the actions."""
        return self.condition in ("actions", "both")

    @property
    def uses_positions(self) -> bool:
        """Whether the condition includes the end-effector positions."""
        return self.condition in ("positions", "both")

    @property
    def condition_dim(self) -> int:
        """Width of the condition c."""
        return self.uses_actions * self.action_dim + self.uses_positions * self.position_dim

    @property
    def needs(self) -> dict[str, int | None]:
        """Numbers in each action and position that the condition takes; None where none."""
        return {
            "actions": self.action_dim if self.uses_actions else None,
            "positions": self.position_dim if self.uses_positions else None,
        }

    @property
    def condition_name(self) -> str:
        """The condition in words, as every published number states it."""
        words = {"both": "actions + positions", "none": "no condition"}
        name = words.get(self.condition, self.condition)
        return name if self.condition == "none" else f"{name}, {self.timing}-time"


def check_model_config(config: ModelConfig) -> None:
    """Refuse a model that has no meaning.

    Raises:
        ForeframeError: names the option, its value and what it must be.
    """
    for name in ("g_dim", "z_dim", "rnn_size", "predictor_layers", "posterior_layers"):
        if getattr(config, name) < 1:
            flag = name.replace("_", "-")
            raise ForeframeError(f"--{flag} {getattr(config, name)}: must be at least 1.")
    if not config.width > 0:
        raise ForeframeError(f"--width {config.width}: must be above 0.")
    frame_size(config.net)  # refuses a net that there is not
    if config.condition_dim == 0 and config.condition != "none":
        raise ForeframeError(f"--condition {config.condition}: its width is 0.")
    if config.net == "places64":
        _check_places(config)
    elif config.things:
        raise ForeframeError(
            f"--things {config.things}: only --net places64 has things. For SVG's nets begin with "
            "the recipe svg-small, or give --things 0."
        )


def _check_places(config: ModelConfig) -> None:
    if config.condition == "none":
        raise ForeframeError("--net places64: is driven by actions; --condition none leaves none.")
    if not 0 <= config.things <= 64:
        raise ForeframeError(f"--things {config.things}: must be from 0 to 64.")
    if config.z_dim % 64:
        raise ForeframeError(
            f"--z-dim {config.z_dim}: the latent of places64 is a map of 8x8; it must be a "
            "multiple of 64."
        )
