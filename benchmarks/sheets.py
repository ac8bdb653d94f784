"""Sheets of enlarged frames in rows and columns, still and moving: for pictures of predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from foreframe.system.files import whole_file
from foreframe.visuals.frames import CANVAS, INK, QUIET, label_font, shared_palette, write_gif

HEAT = matplotlib.colormaps["inferno"]
EDGE = 192  # pixels of a frame in a picture
PITCH = EDGE + 10


class Cell(NamedTuple):
    """A frame [H, W, 3] in a sheet, the colour around it, and a place in it that is ringed."""

    frame: np.ndarray
    edge: tuple[int, int, int]
    ring: np.ndarray | None = None


class Row(NamedTuple):
    """A row of a sheet, with words above its cells; without cells, a heading of those below."""

    label: str
    cells: Sequence[Cell] = ()
    heads: Sequence[str] = ()


def sheet(title: str, rows: Sequence[Row], *, ramp: str = "", left: int = 130) -> Image.Image:
    """Rows of frames, with a title, and below them what the colours of maps mean, if there are."""
    small, large = label_font(17), label_font(20)
    heights = [PITCH + 24 * bool(row.heads) if row.cells else 36 for row in rows]
    width = left + max(len(row.cells) for row in rows) * PITCH + 6
    picture = Image.new("RGB", (width, 48 + sum(heights) + 60), CANVAS)
    draw = ImageDraw.Draw(picture)
    draw.text((14, 12), title, INK, large)
    y = 48
    for row, height in zip(rows, heights, strict=True):
        bottom = y + height
        if not row.cells:
            draw.text((14, bottom - 10), row.label, INK, small, "ls")
        else:
            middle = left - 14, bottom - PITCH / 2
            draw.multiline_text(middle, row.label, INK, small, "rm", align="right")
        for column, head in enumerate(row.heads):
            draw.text((left + column * PITCH + EDGE / 2, y + 18), head, QUIET, small, "ms")
        for column, cell in enumerate(row.cells):
            _paste(picture, draw, cell, left + column * PITCH, bottom - PITCH + 4)
        y = bottom
    if not ramp:
        return picture.crop((0, 0, width, y + 6))
    colours = (HEAT(np.linspace(0, 1, 160))[None, :, :3] * 255).astype(np.uint8).repeat(14, 0)
    picture.paste(Image.fromarray(colours), (left, y + 23))
    draw.multiline_text((left + 172, y + 30), ramp, QUIET, small, "lm")
    return picture


def _paste(picture: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    scale = max(1, EDGE // len(cell.frame))
    large = cell.frame.repeat(scale, 0).repeat(scale, 1)
    height, width = large.shape[:2]
    draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), cell.edge)
    picture.paste(Image.fromarray(large), (x, y))
    if cell.ring is not None:
        (u, v), r = (x, y) + cell.ring * EDGE, 7 * EDGE / 64
        if x < u < x + width and y < v < y + height:
            draw.ellipse((u - r, v - r, u + r, v + r), outline=(255, 255, 255), width=2)


def save_png(path: Path, picture: Image.Image) -> None:
    """Write it whole."""
    with whole_file(path) as aside:
        picture.save(aside, "PNG", optimize=True)


def save_gif(path: Path, pictures: Sequence[Image.Image]) -> None:
    """Write sheets, one a time step, as a GIF with one palette."""
    palette = shared_palette(np.stack([np.asarray(one) for one in pictures[::7]]))
    none = Image.Dither.NONE
    write_gif(path, [one.quantize(palette=palette, dither=none) for one in pictures], 5.0)
