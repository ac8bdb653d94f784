"""Predicted frames beside the true ones: GIFs, strips and single frames.

Every picture says which frames were given and which were predicted twice over: by the colour of the
frame around them and in words.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreframe.system.files import whole_file

CANVAS = (22, 25, 31)
INK = (232, 234, 238)
QUIET = (160, 167, 178)
#: Sky blue and orange of Okabe and Ito's palette: told apart with any colour vision.
GIVEN = (86, 180, 233)
PREDICTED = (240, 160, 40)
RECORDED = (112, 119, 130)

_BORDER = 3
_GAP = 8
_MARGIN = 12
_MAX_WIDTH = 1400
_MAX_COLUMNS = 15  # steps side by side in a strip; a longer sequence goes on below
_USUAL_EDGE = 64  # pixels of a frame up to which a scale holds as it is


def prediction_gif(
    path: Path,
    truth: np.ndarray,
    predictions: np.ndarray,
    n_past: int,
    *,
    fps: float = 5.0,
    scale: int = 3,
    names: Sequence[str] = (),
    happened: str = "truth",
) -> None:
    """Write an endless GIF: the truth on the left, the predictions in a grid on the right.

    Args:
        path: of the GIF.
        truth: uint8 [T, H, W, 3].
        predictions: uint8 [K, T, H, W, 3]; the first ``n_past`` frames are the given ones.
        n_past: number of given frames.
        fps: time steps shown in a second; the last one stays for a second longer.
        scale: pixels on the screen for one of a frame of 64x64; fewer for larger frames, and where
            the grid would grow too wide.
        names: of the predictions, in place of numbers.
        happened: what the truth is called.

    Raises:
        ForeframeError: the file could not be written.
    """
    count = len(predictions)
    columns = count if count <= 4 else int(np.ceil(np.sqrt(1.5 * count)))
    cells = [(0, 0.0)] + [(k // columns, 1.0 + k % columns) for k in range(count)]
    videos = np.concatenate([truth[None], predictions])
    shown = [happened, *_names(count, names)]
    _write_gif(path, videos, cells, shown, [True] + [False] * count, n_past, fps, scale)


def futures_gif(
    path: Path | IO[bytes], futures: np.ndarray, n_past: int, *, fps: float = 5.0, scale: int = 4
) -> None:
    """Write futures of which no recording is known as a GIF, side by side in rows of four.

    Args:
        path: of the GIF, or a file that is open for writing.
        futures: uint8 [K, T, H, W, 3], the given frames included.
        n_past: given frames.
        fps: frames a second.
        scale: pixels for one of a frame.

    Raises:
        ForeframeError: the file could not be written.
    """
    count = len(futures)
    cells = [(k // 4, float(k % 4)) for k in range(count)]
    names = _names(count, ())
    _write_gif(path, futures, cells, names, [False] * count, n_past, fps, scale)


def samples_gif(
    path: Path,
    truth: np.ndarray,
    predictions: np.ndarray,
    n_past: int,
    *,
    fps: float = 5.0,
    scale: int = 2,
    columns: int = 2,
) -> None:
    """Write an endless GIF of several sequences, each as a pair of truth and prediction.

    Args:
        path: of the GIF.
        truth: uint8 [N, T, H, W, 3].
        predictions: uint8 [N, T, H, W, 3], one prediction for each sequence.
        n_past: number of given frames.
        fps: time steps shown in a second.
        scale: pixels on the screen for one of a frame of 64x64, fewer for larger frames.
        columns: pairs side by side.

    Raises:
        ForeframeError: the file could not be written.
    """
    count = len(truth)
    columns = min(columns, count)
    cells: list[tuple[int, float]] = []
    names: list[str] = []
    for k in range(count):
        row, column = k // columns, (k % columns) * 2.12  # a pair stands a little apart
        cells += [(row, column), (row, column + 1)]
        # Named once, above the first row.
        names += ["truth", "prediction"] if row == 0 else ["", ""]
    videos = np.stack([truth, predictions], 1).reshape(2 * count, *truth.shape[1:])
    _write_gif(path, videos, cells, names, [True, False] * count, n_past, fps, scale)


def prediction_strip(
    truth: np.ndarray,
    predictions: np.ndarray,
    n_past: int,
    *,
    scale: int = 2,
    names: Sequence[str] = (),
) -> Image.Image:
    """A picture with every time step: the truth above the predictions, steps numbered.

    Args:
        truth: uint8 [T, H, W, 3].
        predictions: uint8 [K, T, H, W, 3]; the first ``n_past`` frames are the given ones.
        n_past: number of given frames.
        scale: pixels in the picture for one of a frame of 64x64, fewer for larger frames; the text
            grows with it.
        names: of the predictions, in place of numbers.
    """
    rows = ["truth", *_names(len(predictions), names)]
    longest = max(map(len, rows)) if names else None
    grid = StripGrid.of(truth.shape, len(predictions), scale, longest)
    picture = Image.new("RGB", grid.size, CANVAS)
    draw = ImageDraw.Draw(picture)
    label, number = label_font(9 * scale), label_font(8 * scale)
    for t in range(grid.steps):
        given = t < n_past
        x, y = grid.corner(0, t)
        text = f"{t}  given" if given else str(t)
        draw.text(
            (x + grid.width / 2, y - 5 * scale), text, GIVEN if given else QUIET, number, "ms"
        )
        for row, video in enumerate([truth, *predictions]):
            corner = grid.corner(row, t)
            if t % grid.columns == 0:
                middle = (corner[0] - 5 * scale, corner[1] + grid.height / 2)
                draw.text(middle, rows[row], INK, label, "rm")
            _paste(picture, draw, video[t], corner, grid.zoom, _colour(given, row == 0))
    return picture


def save_strip(
    path: Path, truth: np.ndarray, predictions: np.ndarray, n_past: int, *, scale: int = 2
) -> None:
    """Write ``prediction_strip`` as PNG.

    Raises:
        ForeframeError: the file could not be written.
    """
    with whole_file(path) as aside:
        prediction_strip(truth, predictions, n_past, scale=scale).save(aside, "PNG", optimize=True)


def frames_to_png(folder: Path, frames: np.ndarray) -> None:
    """Write frames, uint8 [T, H, W, 3], as ``folder/0.png``, ``folder/1.png``, ...

    Raises:
        ForeframeError: a file could not be written.
    """
    for t, frame in enumerate(frames):
        with whole_file(folder / f"{t}.png") as aside:
            Image.fromarray(frame).save(aside, "PNG")


@dataclass(frozen=True)
class StripGrid:
    """Where the frames of a strip lie, in pixels of the picture."""

    steps: int
    """Time steps T."""
    rows: int
    """Videos, the truth among them."""
    columns: int
    """Time steps side by side; later ones go on in a further block below."""
    zoom: int
    """Pixels of the picture for one of a frame, across and down."""
    width: int
    """Of a frame as drawn."""
    height: int
    """Of a frame as drawn."""
    left: int
    """Of the first frame: what is left of it names the row."""
    top: int
    """Of the first frame in its block: what is above it numbers the steps."""
    pitch: int
    """From a frame's edge to the next one's, less its own size."""

    @classmethod
    def of(
        cls, shape: tuple[int, ...], predictions: int, scale: int, letters: int | None = None
    ) -> "StripGrid":
        """The grid for videos of ``shape`` [T, H, W, 3] and names of so many letters."""
        steps, height, width = shape[:3]
        zoom = _zoom(scale, height, width)
        blocks = -(-steps // _MAX_COLUMNS)
        left = (54 if predictions == 1 else 46) * scale
        if letters is not None:
            left = (16 + 5 * letters) * scale
        return cls(
            steps, 1 + predictions, -(-steps // blocks), zoom, width * zoom, height * zoom,
            left, 16 * scale, 2 * _BORDER + scale,
        )  # fmt: skip

    @property
    def block(self) -> int:
        """Height of a block of steps, with its numbers."""
        return self.top + self.rows * (self.height + self.pitch)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        blocks = -(-self.steps // self.columns)
        width = self.left + self.columns * (self.width + self.pitch) + _MARGIN - _BORDER
        return width, blocks * self.block + _MARGIN

    def corner(self, row: int, step: int) -> tuple[int, int]:
        """Left upper corner (x, y) of a frame."""
        block, column = divmod(step, self.columns)
        x = self.left + column * (self.width + self.pitch)
        return x, block * self.block + self.top + row * (self.height + self.pitch)


def _names(count: int, given: Sequence[str]) -> list[str]:
    if given:
        return list(given)
    return ["prediction"] if count == 1 else [f"sample {k + 1}" for k in range(count)]


def _write_gif(
    path: Path | IO[bytes],
    videos: np.ndarray,
    cells: Sequence[tuple[int, float]],
    names: Sequence[str],
    recorded: Sequence[bool],
    n_past: int,
    fps: float,
    scale: int,
) -> None:
    """Write videos [V, T, H, W, 3], each in its cell (row, column) of a grid."""
    columns = 1 + max(column for _, column in cells)
    scale = _zoom(scale, *videos.shape[2:4])
    while scale > 1 and columns * (videos.shape[3] * scale + _GAP) > _MAX_WIDTH:
        scale -= 1
    palette = shared_palette(videos)
    pictures = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in _gif_pictures(videos, cells, names, recorded, n_past, scale)
    ]
    write_gif(path, pictures, fps)


def _gif_pictures(
    videos: np.ndarray,
    cells: Sequence[tuple[int, float]],
    names: Sequence[str],
    recorded: Sequence[bool],
    n_past: int,
    scale: int,
) -> Iterator[Image.Image]:
    steps, height, width = videos.shape[1:4]
    size = 14 if width * scale >= 120 else 11
    font, bold = label_font(size), label_font(size + 2)
    header, name_line = size + 2 + _MARGIN, size + 8
    pitch_x = width * scale + 2 * _BORDER + _GAP
    pitch_y = height * scale + 2 * _BORDER + _GAP
    named_rows = 1 + max(row for (row, _), name in zip(cells, names, strict=True) if name)
    rows, columns = 1 + max(row for row, _ in cells), 1 + max(column for _, column in cells)
    total = (
        2 * _MARGIN - _GAP + round(columns * pitch_x),
        _MARGIN + header + named_rows * name_line + rows * pitch_y - _GAP + _MARGIN,
    )
    for t in range(steps):
        given = t < n_past
        picture = Image.new("RGB", total, CANVAS)
        draw = ImageDraw.Draw(picture)
        colour = GIVEN if given else PREDICTED
        y = _MARGIN + size / 2
        draw.rectangle((_MARGIN, y - size / 2, _MARGIN + 4, y + size / 2), colour)
        draw.text((_MARGIN + 12, y), "given" if given else "predicted", colour, bold, "lm")
        step = f"step {t} of {steps - 1}" if columns * pitch_x > 260 else f"{t}/{steps - 1}"
        draw.text((total[0] - _MARGIN, y), step, QUIET, font, "rm")
        for video, (row, column), name, is_truth in zip(
            videos, cells, names, recorded, strict=True
        ):
            x = _MARGIN + _BORDER + round(column * pitch_x)
            y = _MARGIN + header + min(row + 1, named_rows) * name_line + row * pitch_y
            if name:
                draw.text((x - _BORDER, y - 5), name, INK, font, "ls")
            _paste(picture, draw, video[t], (x, y + _BORDER), scale, _colour(given, is_truth))
        yield picture


def _zoom(scale: int, height: int, width: int) -> int:
    """Pixels for one of a frame: ``scale``, but large frames take about the room of small ones."""
    edge = max(height, width, _USUAL_EDGE)
    return -(-scale * _USUAL_EDGE // edge)


def _colour(given: bool, is_truth: bool) -> tuple[int, int, int]:
    if given:
        return GIVEN
    return RECORDED if is_truth else PREDICTED


def _paste(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    frame: np.ndarray,
    corner: tuple[int, int],
    scale: int,
    colour: tuple[int, int, int],
) -> None:
    """Enlarge a frame without smoothing, and draw its border around it."""
    large = Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1))
    x, y = corner
    edges = (
        x - _BORDER,
        y - _BORDER,
        x + large.width + _BORDER - 1,
        y + large.height + _BORDER - 1,
    )
    draw.rectangle(edges, colour)
    picture.paste(large, corner)


def write_gif(path: Path | IO[bytes], pictures: list[Image.Image], fps: float) -> None:
    """Write pictures of one palette as a GIF that shows the last one longer, for ever.

    Raises:
        ForeframeError: the file could not be written.
    """
    durations = [round(1000 / fps)] * len(pictures)
    durations[-1] += 1000
    with whole_file(path) if isinstance(path, Path) else nullcontext(path) as aside:
        pictures[0].save(
            aside,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=False,  # one palette for all frames, as it was made
        )


def shared_palette(videos: np.ndarray) -> Image.Image:
    """One palette for all frames, so that what stands still does not flicker.

    Chosen from the pixels themselves (maximum coverage, refined by k-means: of Pillow's methods the
    one with the smallest worst error) beside the fixed colours of borders and text. No dithering:
    its pattern would be enlarged with the pixels.
    """
    fixed = [CANVAS, GIVEN, PREDICTED, RECORDED, INK, QUIET]
    # Anti-aliased text needs the way from the canvas to each of its colours.
    for colour in (GIVEN, PREDICTED, INK, QUIET):
        for share in (0.25, 0.5, 0.75):
            mixed = np.array(CANVAS) * (1 - share) + np.array(colour) * share
            fixed.append((int(mixed[0]), int(mixed[1]), int(mixed[2])))
    pixels = videos.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // 50_000)]
    sample = Image.fromarray(np.ascontiguousarray(pixels[None]))
    quantised = sample.quantize(256 - len(fixed), Image.Quantize.MAXCOVERAGE, kmeans=2)
    colours = quantised.getpalette("RGB")
    assert colours is not None
    palette = Image.new("P", (1, 1))
    palette.putpalette([c for colour in fixed for c in colour] + colours)
    return palette


def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
