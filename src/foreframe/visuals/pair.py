"""A recording beside its prediction as a small GIF without any text, which can be read back."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from foreframe.errors import ForeframeError
from foreframe.visuals.frames import shared_palette, write_gif

_RATE = 5.0  # frames a second
_LONGER = 1000  # milliseconds that the last frame stays longer, see write_gif


def write_pair(path: Path, truth: np.ndarray, prediction: np.ndarray) -> None:
    """Write an endless GIF: the truth on the left, the prediction on the right.

    Args:
        path: of the GIF.
        truth: uint8 [T, H, W, 3].
        prediction: uint8 [T, H, W, 3].

    Raises:
        ForeframeError: the file could not be written.
    """
    frames = np.concatenate([truth, prediction], 2)
    palette = shared_palette(frames)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    write_gif(path, pictures, _RATE)


def read_pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of such a GIF, uint8 [T, H, W, 3] each, in the GIF's 256 colours.

    Raises:
        ForeframeError: the file is missing or is no such GIF.
    """
    step = 1000 / _RATE
    frames: list[np.ndarray] = []
    try:
        with Image.open(path) as gif:
            ends = 0.0
            for picture in ImageSequence.Iterator(gif):
                ends += picture.info["duration"]
                # Equal frames one after another are stored as one that lasts longer.
                last = gif.tell() + 1 == getattr(gif, "n_frames", 1)
                count = round((ends - (_LONGER if last else 0)) / step) - len(frames)
                frames += [np.asarray(picture.convert("RGB"))] * count
    except (OSError, KeyError, ValueError) as error:
        raise ForeframeError(f"{path}: cannot be read as a GIF ({error}). Remove it.") from error
    truth, prediction = np.split(np.stack(frames), 2, axis=2)
    return truth, prediction
