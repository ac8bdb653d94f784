"""Recorded sequences at a glance: a contact sheet and a GIF."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from foreframe.data.recording import Recording
from foreframe.system.files import whole_file
from foreframe.visuals.frames import (
    CANVAS,
    GIVEN,
    INK,
    PREDICTED,
    QUIET,
    RECORDED,
    label_font,
    shared_palette,
    write_gif,
)

#: Each split's colour; bluish green is the third of Okabe and Ito's that is told apart.
SPLIT_COLOURS = {"train": GIVEN, "validate": PREDICTED, "test": (0, 190, 140)}

SHEET_NAME, GIF_NAME = "contact-sheet.png", "sequences.gif"

_CELL = 112
_LARGEST_WHOLE = 128  # pixels of a frame up to which it is not made smaller
_GAP = 6
_MARGIN = 16
_LABEL = 190
_BARS = 26
_MOST_BARS = 14
_MOST_STEPS = 60
_GIF_COLUMNS = 4


@dataclass(frozen=True)
class Shown:
    """A sequence to be shown.

    Attributes:
        split: that it belongs to.
        name: of the sequence.
        recording: its frames, and its actions if it has any.
    """

    split: str
    name: str
    recording: Recording

    @property
    def short_name(self) -> str:
        """The name without the split, which is shown beside it."""
        return self.name.removeprefix(f"{self.split}/")


def contact_sheet(path: Path, shown: Sequence[Shown], *, columns: int = 8) -> None:
    """Write a PNG: a row for each sequence, frames at even distances in time from left to right.

    Under each frame stands its action, a bar for each number: upwards if it is above 0. Each is
    drawn in relation to the largest of its column among the sequences shown.

    Args:
        path: of the PNG.
        shown: at least one sequence.
        columns: frames in a row, fewer if all sequences are shorter.

    Raises:
        ForeframeError: the file could not be written.
    """
    columns = min(columns, max(len(one.recording.frames) for one in shown))
    width, height = _cell_size(shown)
    largest = _largest_actions(shown)
    bars = _BARS if largest is not None else 0
    row = height + bars + 3 * _GAP + 10
    legend = 22 if bars else 0
    size = (
        2 * _MARGIN + _LABEL + columns * (width + _GAP) - _GAP,
        2 * _MARGIN + len(shown) * row - 2 * _GAP + legend,
    )
    picture = Image.new("RGB", size, CANVAS)
    draw = ImageDraw.Draw(picture)
    for k, one in enumerate(shown):
        y = _MARGIN + k * row
        frames = one.recording.frames
        _label(draw, one, (_MARGIN, y), len(frames))
        steps = np.unique(np.linspace(0, len(frames) - 1, columns).round().astype(int))
        for column, t in enumerate(steps):
            x = _MARGIN + _LABEL + column * (width + _GAP)
            draw.text((x, y), str(t), QUIET, label_font(10), "lt")
            picture.paste(_enlarged(frames[t], width, height), (x, y + 12))
            if largest is not None and one.recording.actions is not None:
                top = y + 12 + height + 3
                _draw_bars(draw, one.recording.actions[t] / largest, (x, top), width)
    if bars:
        width_of_actions = len(largest) if largest is not None else 0
        which = f"the first {_MOST_BARS} of {width_of_actions}"
        text = (
            f"under each frame: {which if width_of_actions > _MOST_BARS else 'the'} numbers of "
            "its action, each in relation to the largest of its column here"
        )
        draw.text((_MARGIN + _LABEL, size[1] - _MARGIN), text, QUIET, label_font(11), "ls")
    with whole_file(path) as aside:
        picture.save(aside, "PNG", optimize=True)


def contact_gif(
    path: Path, shown: Sequence[Shown], *, fps: float = 5.0, arrows: bool = False
) -> None:
    """Write an endless GIF in which all sequences run side by side; shorter ones wait at their end.

    Args:
        path: of the GIF.
        shown: at least one sequence.
        fps: time steps shown in a second. Of sequences of more than 60 frames, every second, third
            ... frame is shown.
        arrows: draw the first two columns of each action, to the right and upwards, in relation to
            the largest of their column.

    Raises:
        ForeframeError: the file could not be written.
    """
    longest = max(len(one.recording.frames) for one in shown)
    stride = -(-longest // _MOST_STEPS)
    width, height = _cell_size(shown)
    videos = [
        [_enlarged(frame, width, height) for frame in one.recording.frames[::stride]]
        for one in shown
    ]
    pixels = np.concatenate([np.stack([np.asarray(f) for f in video[::3]]) for video in videos])
    palette = shared_palette(np.concatenate([pixels, _swatches(pixels.shape[1:])]))
    pictures = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in _gif_pictures(shown, videos, stride, longest, arrows)
    ]
    write_gif(path, pictures, fps / stride)


def _gif_pictures(
    shown: Sequence[Shown],
    videos: list[list[Image.Image]],
    stride: int,
    longest: int,
    arrows: bool,
) -> Iterator[Image.Image]:
    width, height = videos[0][0].size
    largest = _largest_actions(shown) if arrows else None
    columns = min(_GIF_COLUMNS, len(shown))
    pitch = (width + 2 * _GAP, height + 26 + _GAP)
    rows = -(-len(shown) // columns)
    size = (
        2 * _MARGIN + columns * pitch[0] - 2 * _GAP,
        2 * _MARGIN + rows * pitch[1] - _GAP + 18,
    )
    for step in range(max(map(len, videos))):
        picture = Image.new("RGB", size, CANVAS)
        draw = ImageDraw.Draw(picture)
        text = f"frame {step * stride} of {longest - 1}"
        draw.text((size[0] - _MARGIN, size[1] - _MARGIN), text, QUIET, label_font(11), "rs")
        for k, (one, video) in enumerate(zip(shown, videos, strict=True)):
            x, y = _MARGIN + k % columns * pitch[0], _MARGIN + k // columns * pitch[1]
            colour = SPLIT_COLOURS.get(one.split, INK)
            draw.text((x, y + 2), one.split, colour, label_font(11), "lt")
            left = x + draw.textlength(one.split, label_font(11)) + 5
            name = _shortened(draw, one.short_name, x + width - left, 11)
            draw.text((left, y + 2), name, QUIET, label_font(11), "lt")
            picture.paste(video[min(step, len(video) - 1)], (x, y + 20))
            actions = one.recording.actions
            if largest is not None and actions is not None and step < len(video):
                centre = (x + width // 2, y + 20 + height // 2)
                _draw_arrow(draw, actions[step * stride] / largest, centre, min(width, height) / 2)
            if step >= len(video) and len(video) < max(map(len, videos)):
                edges = (x, y + 20 + height, x + width - 1, y + 21 + height)
                draw.rectangle(edges, RECORDED)
        yield picture


def _swatches(shape: tuple[int, ...]) -> np.ndarray:
    """A frame in the splits' colours, so that the palette has them."""
    frame = np.empty((1, *shape), np.uint8)
    for k, colour in enumerate(SPLIT_COLOURS.values()):
        frame[:, :, k :: len(SPLIT_COLOURS)] = colour
    return frame


def _cell_size(shown: Sequence[Shown]) -> tuple[int, int]:
    """Width and height at which frames are drawn: whole multiples if they are small."""
    height, width = shown[0].recording.frames.shape[1:3]
    edge = max(height, width)
    if edge <= _LARGEST_WHOLE:
        factor = max(1, round(_CELL / edge))
        return width * factor, height * factor
    return max(1, round(width * _CELL / edge)), max(1, round(height * _CELL / edge))


def _enlarged(frame: np.ndarray, width: int, height: int) -> Image.Image:
    """Enlarged without smoothing, or made smaller by averaging."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    larger = width >= image.width
    how = Image.Resampling.NEAREST if larger else Image.Resampling.BOX
    return image if image.size == (width, height) else image.resize((width, height), how)


def _largest_actions(shown: Sequence[Shown]) -> np.ndarray | None:
    """The largest size of each action column, 1 where it is 0; None without actions."""
    rows = [one.recording.actions for one in shown if one.recording.actions is not None]
    if not rows or len({part.shape[1] for part in rows}) > 1:
        return None
    largest = np.max([np.nan_to_num(np.abs(part), posinf=0.0).max(0) for part in rows], 0)
    return np.where(largest > 0, largest, 1.0)


def _draw_bars(
    draw: ImageDraw.ImageDraw, values: np.ndarray, corner: tuple[int, int], width: int
) -> None:
    x, y = corner
    middle = y + _BARS // 2
    count = min(len(values), _MOST_BARS)
    pitch = min(12, width // count)
    draw.line((x, middle, x + count * pitch - 3, middle), RECORDED)
    for k, value in enumerate(np.nan_to_num(values[:_MOST_BARS]).clip(-1, 1)):
        length = round(float(value) * (_BARS // 2 - 1))
        if length:
            top, bottom = sorted((middle - length, middle))
            left = x + k * pitch
            draw.rectangle((left, top, left + max(1, pitch - 4), bottom), QUIET)


def _draw_arrow(
    draw: ImageDraw.ImageDraw, values: np.ndarray, centre: tuple[int, int], reach: float
) -> None:
    """An arrow from the centre to the right and upwards, as far as the first two values say."""
    way = np.zeros(2)
    way[: min(2, len(values))] = np.nan_to_num(values[:2]).clip(-1, 1)
    along = np.array([way[0], -way[1]]) * (reach - 4)
    length = float(np.hypot(*along))
    if length < 1:
        return
    start = np.array(centre, float)
    end, side = start + along, np.array([-along[1], along[0]]) / length
    back = end - along / length * min(6.0, length)
    lines = [(start, end), (end, back + 4 * side), (end, back - 4 * side)]
    for colour, thick in ((CANVAS, 4), (PREDICTED, 2)):
        for one, other in lines:
            draw.line((*one.tolist(), *other.tolist()), colour, thick)


def _label(draw: ImageDraw.ImageDraw, one: Shown, corner: tuple[int, int], frames: int) -> None:
    x, y = corner
    colour = SPLIT_COLOURS.get(one.split, INK)
    draw.rectangle((x, y + 12, x + 3, y + 12 + 54), colour)
    draw.text((x + 12, y + 12), one.split, colour, label_font(15), "lt")
    draw.text(
        (x + 12, y + 33),
        _shortened(draw, one.short_name, _LABEL - 24, 12),
        INK,
        label_font(12),
        "lt",
    )
    draw.text((x + 12, y + 52), f"{frames} frames", QUIET, label_font(12), "lt")


def _shortened(draw: ImageDraw.ImageDraw, name: str, room: float, size: int) -> str:
    """The end of a name, which tells sequences apart, as far as there is room for it."""
    # What the font lacks would be drawn as empty boxes.
    name = name.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(name, label_font(size)) <= room:
        return name
    for start in range(1, len(name)):
        if draw.textlength("..." + name[start:], label_font(size)) <= room:
            return "..." + name[start:]
    return ""
