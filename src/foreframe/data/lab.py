"""The lab's layout: a folder of PNG frames and up to three CSV files for each sequence.

    ROOT/{train,validate,test}/SHARD/N/0.png, 1.png, ...       validate may be called val
                                       actions.csv                a row for each frame, no header
                                       endeffector_positions.csv  a row for each frame, no header
                                       tracks.csv                 a row for each frame, no header

Frame files are not zero-padded: they are ordered by number, never by name.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from foreframe.data.picture import decode_picture
from foreframe.data.recording import Recording, finite
from foreframe.errors import ForeframeError
from foreframe.system.files import whole_folder
from foreframe.system.places import natural_key

SHARD = 256
"""Sequences in one folder."""
SPLITS = ("train", "validate", "test")
SPLIT_NAMES = {
    "train": "train",
    "val": "validate",
    "valid": "validate",
    "validation": "validate",
    "validate": "validate",
    "test": "test",
}
"""What others call the three splits, in small letters, and their names here."""
ACTIONS, POSITIONS, TRACKS = "actions.csv", "endeffector_positions.csv", "tracks.csv"
_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Ends of lines, as ``str.splitlines`` knows them."""


def split_folder(root: Path, split: str) -> Path:
    """The folder of a split, whatever it is called there: val, valid and validation are validate.

    ``ROOT/SPLIT`` if there is none.

    Raises:
        ForeframeError: there are several.
    """
    if not root.is_dir():
        return root / split
    names = sorted(
        path.name
        for path in root.iterdir()
        if SPLIT_NAMES.get(path.name.lower()) == split and path.is_dir()
    )
    if len(names) > 1:
        raise ForeframeError(
            f"{root}: holds {' and '.join(names)}, and both mean {split}. Bring them together, or "
            "rename one."
        )
    return root / (names[0] if names else split)


def list_sequences(root: Path, split: str) -> list[Path]:
    """Folders of a split's sequences: shards in natural order, then sequences by number.

    Raises:
        ForeframeError: the root or the split is missing or empty.
    """
    if not root.is_dir():
        raise ForeframeError(
            f"{root}: {'is not a folder' if root.exists() else 'no such folder'}. "
            "Give the root of a dataset, the folder that holds train, validate and test."
        )
    folder = split_folder(root, split)
    if folder.exists() and not folder.is_dir():
        raise ForeframeError(
            f"{folder}: is not a folder. "
            f"A dataset has the folders {', '.join(SPLITS)}, each with SHARD/N/0.png, 1.png, ..."
        )
    if not folder.is_dir():
        names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
        raise ForeframeError(
            f"{folder}: no such folder; {root} holds {', '.join(names[:6]) or 'nothing'}. "
            f"A dataset has the folders {', '.join(SPLITS)}, each with SHARD/N/0.png, 1.png, ..."
        )
    sequences = [
        sequence
        for shard in sorted(_folders(folder), key=lambda path: natural_key(path.name))
        for sequence in sorted(_folders(shard), key=lambda path: natural_key(path.name))
    ]
    if not sequences:
        raise ForeframeError(
            f"{folder}: the split is empty. Expected folders SHARD/N/ with 0.png, 1.png, ..., "
            f"{ACTIONS} and {POSITIONS}."
        )
    return sequences


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]


@dataclass(frozen=True)
class LabSequence:
    """One sequence whose numbers are read, and whose frames are read when they are asked for.

    Attributes:
        files: the frames' files in order, one at least.
        actions: [rows, A] or None.
        positions: [rows, P] or None.
        tracks: [rows, 2N] or None.
    """

    files: list[Path]
    actions: Float32[np.ndarray, "rows action"] | None
    positions: Float32[np.ndarray, "rows position"] | None
    tracks: Float32[np.ndarray, "rows track"] | None

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The frames, decoded one at a time.

        Raises:
            ForeframeError: one is damaged or of another size than the first; names its file.
        """
        first: tuple[int, ...] | None = None
        for file in self.files:
            frame = _read_frame(file)
            first = first or frame.shape
            if frame.shape != first:
                raise ForeframeError(
                    f"{file}: is {frame.shape[1]}x{frame.shape[0]} pixels, but "
                    f"{self.files[0].name} is {first[1]}x{first[0]}. "
                    "All frames of a sequence must have one size."
                )
            yield frame


class Parse(Protocol):
    """Reads the numbers of a CSV file, as ``parse_rows`` does."""

    def __call__(
        self, content: bytes, path: Path | str, *, missing: bool = False
    ) -> Float32[np.ndarray, "rows width"]: ...


def open_sequence(folder: Path, parse: Parse | None = None) -> LabSequence:
    """Read and check the numbers of one sequence; its frames are listed.

    Args:
        folder: the folder.
        parse: reads the CSV files; by default ``parse_rows``, which takes the layout alone.

    Raises:
        ForeframeError: names the file (and row) that is missing, superfluous or unreadable.
    """
    if not folder.is_dir():
        raise ForeframeError(f"{folder}: no such folder. Give the folder that holds 0.png, 1.png.")
    parse = parse or parse_rows
    actions, positions = (_read_csv(folder / name, parse) for name in (ACTIONS, POSITIONS))
    tracks = _read_tracks(folder / TRACKS, parse)
    files = _frame_files(folder)
    for name, rows in ((ACTIONS, actions), (POSITIONS, positions), (TRACKS, tracks)):
        if rows is not None and len(rows) != len(files):
            raise ForeframeError(
                f"{folder / name}: {len(rows)} rows, but the folder holds {len(files)} frames "
                f"(0.png to {len(files) - 1}.png). One row belongs to each frame: remove the "
                "superfluous frames or rows, or add those that are missing."
            )
    return LabSequence(files, actions, positions, tracks)


def read_sequence(folder: Path) -> Recording:
    """Read and check one sequence.

    Raises:
        ForeframeError: names the file (and row) that is missing, superfluous or unreadable.
    """
    sequence = open_sequence(folder)
    frames = np.empty((0,), np.uint8)
    for t, frame in enumerate(sequence.frames()):
        if not t:
            frames = np.empty((len(sequence.files), *frame.shape), np.uint8)
        frames[t] = frame
    return Recording(frames, sequence.actions, sequence.positions, sequence.tracks)


def _frame_files(folder: Path) -> list[Path]:
    numbered: dict[int, Path] = {}
    for path in folder.iterdir():
        if path.suffix.lower() != ".png" or path.name.startswith("."):
            continue
        if not path.stem.isdecimal():
            raise ForeframeError(
                f"{path}: frame files are called by their number (0.png, 1.png, ...). "
                "Rename or remove this one."
            )
        number = int(path.stem)
        if number in numbered:
            raise ForeframeError(
                f"{path}: frame {number} is there twice, also as {numbered[number].name}. "
                "Remove one."
            )
        numbered[number] = path
    if not numbered:
        raise ForeframeError(f"{folder}: holds no frames. Expected 0.png, 1.png, ...")
    # Not a range up to the last number: frames called by a time stamp would fill the memory.
    missing = next((t for t in range(len(numbered)) if t not in numbered), None)
    if missing is not None:
        raise ForeframeError(
            f"{folder / f'{missing}.png'}: is missing, the frames go on to "
            f"{max(numbered)}.png. Add it, or remove the whole sequence."
        )
    return [numbered[number] for number in sorted(numbered)]


def _read_frame(path: Path) -> np.ndarray:
    try:
        return decode_picture(path.read_bytes(), str(path), verify=True)
    except OSError as error:
        raise ForeframeError(
            f"{path}: cannot be read ({error}). Restore it, or remove its sequence."
        ) from error
    except ForeframeError as error:
        raise ForeframeError(f"{error}. Restore it, or remove its sequence.") from error


def _read_tracks(path: Path, parse: Parse) -> np.ndarray | None:
    rows = _read_csv(path, parse, missing=True)
    if rows is not None and rows.shape[1] % 2:
        raise ForeframeError(
            f"{path}: {rows.shape[1]} columns, but each object has two, its x and its y. "
            "Add the column that is missing, or remove the superfluous one."
        )
    return rows


def _read_csv(path: Path, parse: Parse, *, missing: bool = False) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ForeframeError(
            f"{path}: cannot be read ({error}). Restore it, or remove its sequence."
        ) from error
    return parse(content, path, missing=missing)


class TooManyRowsError(ForeframeError):
    """A table has more rows than it may have."""


def parse_rows(
    content: bytes, path: Path | str, *, missing: bool = False, most: int | None = None
) -> Float32[np.ndarray, "rows width"]:
    """The numbers of a CSV file without a header.

    Args:
        content: bytes of the file.
        path: its name, for messages.
        missing: whether a number may be missing: an empty field, or nan; it becomes NaN.
        most: rows at most; of more none is read.

    Raises:
        TooManyRowsError: it has more than ``most``.
        ForeframeError: no text, empty, or a row that is not as wide as the first, or not of finite
            numbers.
    """
    try:
        # Spreadsheets put a byte-order mark before the first number.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ForeframeError(
            f"{path}: cannot be read as text ({error}). Restore it, or remove its sequence."
        ) from error
    if most is not None and next(islice(_ENDS.finditer(text), most + 1, None), None) is not None:
        raise TooManyRowsError(f"{path}: more than {most} rows. Give one row for each frame.")
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ForeframeError(
            f"{path}: is empty, one row for each frame is expected. "
            "Restore it, or remove its sequence."
        )
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        try:
            cells = line.split(",")
            row = [math.nan if missing and not cell.strip() else float(cell) for cell in cells]
        except ValueError as error:
            raise ForeframeError(
                f"{path}, row {number}: {line.strip()[:60]!r} is not a row of numbers divided by "
                "commas. Repair it; a header row is not part of the layout, remove one."
            ) from error
        if not finite(row, missing=missing):
            raise ForeframeError(
                f"{path}, row {number}: {line.strip()[:60]!r} holds a value that is not a finite "
                "number in float32. Repair it, or remove the sequence."
            )
        if rows and len(row) != len(rows[0]):
            raise ForeframeError(
                f"{path}, row {number}: {len(row)} columns, but row 1 has {len(rows[0])}. "
                "Repair it, or remove the sequence."
            )
        rows.append(row)
    return np.array(rows, np.float32)


def write_sequence(
    folder: Path,
    frames: UInt8[np.ndarray, "time height width 3"],
    actions: Float32[np.ndarray, "time action"] | None,
    positions: Float32[np.ndarray, "time position"] | None = None,
    tracks: Float32[np.ndarray, "time track"] | None = None,
) -> None:
    """Write one sequence, the whole folder or nothing; numbers come back as the same float32.

    Args:
        folder: new folder of the sequence.
        frames: [T, H, W, 3].
        actions: [T, A], or None to write no file.
        positions: [T, P], or None to write no file.
        tracks: [T, 2N], NaN for an object that is not there, or None to write no file.

    Raises:
        ForeframeError: a part has another shape or type, the parts disagree in length, or the
            folder exists or cannot be written.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ForeframeError(
            f"{folder}: frames must be uint8 [T, H, W, 3], and are {frames.dtype} "
            f"{list(frames.shape)}. Bring them to 0..255 and to this order of axes."
        )
    tables = {ACTIONS: actions, POSITIONS: positions, TRACKS: tracks}
    for name, rows in tables.items():
        if rows is not None:
            _check_table(folder / name, rows, len(frames))
    with whole_folder(folder) as aside:
        for name, content in sequence_files(frames, tables):
            (aside / name).write_bytes(content)


def sequence_files(
    frames: UInt8[np.ndarray, "time height width 3"],
    tables: Mapping[str, Float32[np.ndarray, "time width"] | None],
) -> Iterator[tuple[str, bytes]]:
    """The files of one sequence: name and content of each.

    Args:
        frames: [T, H, W, 3].
        tables: by the names of their files, a row for each frame; None for those without a file.
    """
    for t, frame in enumerate(frames):
        file = io.BytesIO()
        # Level 1 takes a fifth less time than the default, for files a tenth larger.
        Image.fromarray(frame).save(file, format="PNG", compress_level=1)
        yield f"{t}.png", file.getvalue()
    for name, rows in tables.items():
        if rows is None:
            continue
        file = io.BytesIO()
        if name == TRACKS:
            # A float32 as text has as many digits as it takes; six decimals stay six.
            np.savetxt(file, rows.astype(np.float32), fmt="%s", delimiter=",")
        else:
            # Nine significant digits are enough for any float32 to come back exactly.
            np.savetxt(file, rows, fmt="%.9g", delimiter=",")
        yield name, file.getvalue()


def _check_table(path: Path, rows: np.ndarray, n_frames: int) -> None:
    if rows.ndim != 2 or len(rows) != n_frames or not rows.shape[1]:
        raise ForeframeError(
            f"{path}: expected an array with one row for each of the {n_frames} "
            f"frames, got the shape {list(rows.shape)}. Give the last frame a row too."
        )
    if not finite(rows, missing=path.name == TRACKS):
        raise ForeframeError(
            f"{path}: holds a value that is not a finite number in float32. "
            "Repair the recording, or leave it out."
        )
    if path.name == TRACKS and rows.shape[1] % 2:
        raise ForeframeError(
            f"{path}: an array of {rows.shape[1]} columns, but each object has two, its x and its "
            "y. Give [frames, 2 x objects]."
        )
