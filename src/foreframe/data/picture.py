"""Pictures as bytes, decoded one at a time."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from foreframe.data.container import PICTURES
from foreframe.errors import ForeframeError


def decode_picture(
    content: bytes, where: str, *, formats: tuple[str, ...] = PICTURES, verify: bool = False
) -> np.ndarray:
    """The pixels [height, width, 3], RGB uint8, of a PNG, JPEG or the like.

    Args:
        content: bytes of the file.
        where: the recording and the place in it, for messages: "episode-3: row 7".
        formats: names of the formats that may be read, as Pillow calls them.
        verify: compare the checksums of a PNG, which reading its pixels passes over.

    Raises:
        ForeframeError: it is no picture, or damaged, or has more than 8 bits a channel, as images
            of depth have.
    """
    try:
        if verify:
            with Image.open(io.BytesIO(content), formats=formats) as image:
                image.verify()
        with Image.open(io.BytesIO(content), formats=formats) as image:
            # Pillow would clip such values to 255, an image of depth to white.
            deep = image.mode.startswith(("I", "F"))
            if not deep:
                return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:  # whose text holds an address in memory
        raise ForeframeError(f"{where}: cannot be read: it holds no picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ForeframeError(
            f"{where}: cannot be read: the picture is damaged ({error})"
        ) from error
    raise ForeframeError(
        f"{where}: the picture has 16 or 32 bits a pixel, but frames have 8 bits a channel. "
        "Scale its values to 0..255"
    )
