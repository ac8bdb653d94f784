"""Pictures that lie as bytes among other data, decoded one at a time."""

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
        ForeframeError: it is no picture, or damaged.
    """
    try:
        if verify:
            with Image.open(io.BytesIO(content), formats=formats) as image:
                image.verify()
        with Image.open(io.BytesIO(content), formats=formats) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:  # whose text holds an address in memory
        raise ForeframeError(f"{where} holds no picture that can be read") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ForeframeError(f"{where}: the picture is damaged ({error})") from error
