"""The playground as a folder that any web server gives out: the model runs in the browser."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreframe.errors import ForeframeError, at_least
from foreframe.runs.onnx_export import BEGIN, DESCRIPTION, STEP, export_onnx
from foreframe.runs.shipped import run_folder
from foreframe.serve.served import Served
from foreframe.system.files import read_json, whole_folder, write_json
from foreframe.system.places import Place

RUNTIME = "onnxruntime-web@1.30.0"
"""The package of npm that runs the graphs."""

_MODULE, _LOADER, _WASM = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
_SERVICE = ("service.js", "backend.js")
"""Of the page that a service gives out: what asks it."""


def export_page(
    run: Path,
    out: Path,
    *,
    data: Place | None = None,
    sequences: int = 12,
    runtime: Path | None = None,
    log: Callable[[str], None] = print,
) -> int:
    """Write the page, the model's graphs, recordings to start from, and what runs the graphs.

    Args:
        run: the run folder, or the name of a model that comes with the package.
        out: new folder.
        data: root of the dataset whose test sequences are offered; by default the run's own, or
            scenes of the simulator.
        sequences: how many of them.
        runtime: the folder ``dist`` of onnxruntime-web; by default it is fetched with npm.
        log: told what is to be known.

    Returns:
        Bytes that a browser reads before the first frame, when it comes for the first time.

    Raises:
        ForeframeError: the run cannot be played, ``out`` exists, or the runtime is not to be had.
    """
    at_least(1, sequences=sequences)
    if out.exists():
        raise ForeframeError(f"{out}: exists. Name a new folder for the page.")
    folder = run_folder(run)
    served = Served(folder.resolve().name, folder, data, "cpu")
    for note in served.notes:
        log(note)
    if served.test is None:
        raise ForeframeError(f"{run}: no recordings to start from; give --data DIR.")
    with _runtime(runtime) as dist, whole_folder(out) as aside:
        export_onnx(folder, aside / "model", precision="float16")
        described = read_json(aside / "model" / DESCRIPTION)
        described["run"] = served.name
        described["planar"] = {name: vars(axis) for name, axis in served.planar.items()}
        described["planar_known"] = served.planar_known
        write_json(aside / "model" / DESCRIPTION, described)
        for name in (BEGIN, STEP):
            _packed(aside / "model" / name)
        _page(aside)
        _vendor(dist, aside / "vendor")
        _starts(served, min(sequences, len(served.test)), aside / "starts")
    return _first_load(out)


def _page(out: Path) -> None:
    """The files of the page, with the backend that needs no service."""
    for part in ("page", "alone"):
        for entry in files("foreframe.serve").joinpath(part).iterdir():
            if part == "alone" or entry.name not in _SERVICE:
                (out / entry.name).write_bytes(entry.read_bytes())


def _starts(served: Served, count: int, out: Path) -> None:
    """Recordings: all frames of each below one another as PNG, the first alone, and the rows."""
    out.mkdir()
    items: list[dict[str, Any]] = []
    for number in range(count):
        recording = served.recording(number)
        frames = np.asarray(recording.frames)
        _png(frames.reshape(-1, *frames.shape[2:]), out / f"{number}.png")
        _png(frames[0], out / f"{number}-first.png")
        rows = {part: getattr(recording, part) for part in ("actions", "positions")}
        items.append(
            {
                "frames": len(frames),
                **{
                    part: None
                    if values is None or served.config.model.needs[part] is None
                    else np.asarray(values, np.float64).round(6).tolist()
                    for part, values in rows.items()
                },
            }
        )
    (out / "starts.json").write_text(json.dumps({"items": items}), encoding="utf-8")


def _png(picture: np.ndarray, path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    path.write_bytes(file.getvalue())


def _vendor(dist: Path, out: Path) -> None:
    out.mkdir()
    for name in (_MODULE, _LOADER):
        shutil.copy(dist / name, out / name)
    shutil.copy(dist / _WASM, out / _WASM)
    _packed(out / _WASM)


def _packed(path: Path) -> None:
    """Pack a file; not every host packs what it sends, and the page unpacks it itself."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


@contextmanager
def _runtime(named: Path | None) -> Iterator[Path]:
    """The folder of onnxruntime-web's files, fetched with npm if none is named."""
    with tempfile.TemporaryDirectory() as aside:
        dist = named if named is not None else _fetched(Path(aside))
        missing = [name for name in (_MODULE, _LOADER, _WASM) if not (dist / name).is_file()]
        if missing:
            raise ForeframeError(
                f"{dist}: holds no {missing[0]}. Give --runtime the folder dist of {RUNTIME}."
            )
        yield dist


def _fetched(where: Path) -> Path:
    npm = shutil.which("npm")
    advice = f"Give --runtime the folder dist of {RUNTIME}."
    if npm is None:
        raise ForeframeError(f"npm, which would fetch {RUNTIME}, is not here. {advice}")
    try:
        subprocess.run(
            [npm, "pack", RUNTIME, "--silent", "--ignore-scripts"],
            cwd=where,
            check=True,
            capture_output=True,
            timeout=600,
        )
        with tarfile.open(next(where.glob("*.tgz"))) as packed:
            packed.extractall(where, filter="data")
    except (subprocess.SubprocessError, StopIteration, tarfile.TarError, OSError) as error:
        raise ForeframeError(f"npm could not fetch {RUNTIME} ({error}). {advice}") from error
    return where / "package" / "dist"


def _first_load(out: Path) -> int:
    """Bytes of all that is read before the first frame."""
    later = {out / "starts" / f"{k}.png" for k in range(1, 10_000)}
    return sum(
        path.stat().st_size
        for path in out.rglob("*")
        if path.is_file() and path not in later and path.name != "gif.js"
    )
