"""What ``VideoCVAE.generate`` returns: a tensor of frames that can show itself."""

import sys
import webbrowser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreframe.errors import ForeframeError


class Futures(Tensor):
    """Imagined frames, float32 [..., T, 3, H, W] in [0, 1]: a tensor with ``gif`` and ``show``.

    Whatever is computed from it or cut out of it can be shown, too, as long as it has frames in its
    last four axes. Pickled or saved it is a plain tensor.

    Attributes:
        past: the frames that were given, uint8 or float [..., n_past, 3, H, W], which a GIF begins
            with; None in what was computed from futures or cut out of them.
    """

    past: Tensor | None = None

    @classmethod
    def of(cls, frames: Tensor, past: Tensor) -> "Futures":
        """Futures, and the given frames that they go on from.

        Args:
            frames: [B, K, n_future, 3, H, W], or [K, n_future, 3, H, W] of one sequence.
            past: [B, n_past, 3, H, W], or [n_past, 3, H, W].
        """
        futures = frames.as_subclass(cls)
        futures.past = past
        return futures

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def gif(self, path: Path | str, *, fps: float = 5.0, scale: int = 3) -> Path:
        """Write an endless GIF of all futures side by side, after the given frames.

        Args:
            path: of the GIF.
            fps: frames shown in a second.
            scale: pixels on the screen for one of a frame of 64x64, fewer for larger frames.

        Returns:
            the path.

        Raises:
            ForeframeError: there are no frames in the last four axes, or the file could not be
                written.
        """
        # Charts take half a second to import, which a model that draws nothing is spared.
        from foreframe.visuals.frames import futures_gif

        if self.dim() < 4 or self.shape[-3] != 3 or self.numel() == 0:
            raise ForeframeError(
                f"{path}: a tensor of shape {list(self.shape)} holds no futures to be shown; "
                "expected [..., frames, 3, height, width]."
            )
        videos = _pixels(self.detach().reshape(-1, *self.shape[-4:]))
        given = 0
        if self.past is not None:
            past = _pixels(self.past.reshape(-1, *self.past.shape[-4:]))
            given = past.shape[1]
            videos = np.concatenate([past.repeat(len(videos) // len(past), 0), videos], 1)
        path = Path(path)
        futures_gif(path, videos, given, fps=fps, scale=scale)
        return path

    def show(self, *, fps: float = 5.0, scale: int = 3) -> None:
        """Show the GIF: in the notebook, or in the browser when there is none.

        Raises:
            ForeframeError: see ``gif``.
        """
        path = self.gif(Path(mkdtemp(prefix="foreframe-")) / "futures.gif", fps=fps, scale=scale)
        if "IPython" in sys.modules:
            from IPython import get_ipython
            from IPython.display import Image, display

            if get_ipython() is not None:
                display(Image(data=path.read_bytes(), format="gif"))
                return
        webbrowser.open(path.as_uri())


def _pixels(frames: Tensor) -> np.ndarray:
    """uint8 [N, T, H, W, 3] of [N, T, 3, H, W], on any device."""
    plain = frames.as_subclass(Tensor).cpu()
    if plain.is_floating_point():
        plain = plain.clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(plain.movedim(2, 4).numpy())
