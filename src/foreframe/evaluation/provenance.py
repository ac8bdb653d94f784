"""The origin of a score: hashes of the weights, of the data as scored and of the program."""

import hashlib
from pathlib import Path

import foreframe
from foreframe.data.store.store import Store
from foreframe.runs.folder import BEST

_BLOCK = 1 << 20


def provenance(run: Path, store: Store, *, n_frames: int, sequences: int) -> dict[str, str]:
    """SHA-256 of the weights, of the frames and conditions that are scored, and of the program."""
    return {
        "weights": weights_hash(run),
        "data": data_hash(store, n_frames=n_frames, sequences=sequences),
        "code": code_hash(),
    }


def data_hash(store: Store, *, n_frames: int, sequences: int) -> str:
    """SHA-256 of the first ``n_frames`` of the first ``sequences``, whatever they are stored as."""
    digest = hashlib.sha256()
    for k in range(sequences):
        recording = store[k]
        for part in (recording.frames, recording.actions, recording.positions):
            if part is None:
                digest.update(b"none")
            else:
                digest.update(str((part.dtype, part[:n_frames].shape)).encode())
                digest.update(part[:n_frames].tobytes())
    return digest.hexdigest()


def code_hash() -> str:
    """SHA-256 of every module of the package: tells apart versions that bear the same number."""
    root = Path(foreframe.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def weights_hash(run: Path) -> str:
    """SHA-256 of the best weights of a run."""
    return _of_file(run / BEST)


def _of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
