"""Shards of remote stores that are in use, kept on the local disk within a bound."""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from upath import UPath

from foreframe.errors import ForeframeError
from foreframe.system.files import whole_folder
from foreframe.system.places import unreadable

LIMIT = "FOREFRAME_CACHE_GB"
_DEFAULT_GB = 20.0
_CHUNK = 1 << 22
_ABANDONED = 3600.0
"""Seconds without a new file after which a half-fetched shard is a killed process's."""


def user_cache() -> Path:
    """The folder in which programs of this user may keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foreframe"


class ShardCache:
    """Fetches shards; the least recently used go when all together are larger than the limit.

    The limit is 20 GB, or what the environment variable FOREFRAME_CACHE_GB says. The shard asked
    for last always stays, even if it alone is larger. Several processes may share the cache.

    Args:
        folder: folder of the cache; by default in the user's cache.
        limit: bytes.

    Raises:
        ForeframeError: FOREFRAME_CACHE_GB is not a positive number.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or user_cache() / "shards"
        self.limit = _limit_from_environment() if limit is None else limit

    def fetch(self, shard: UPath, files: Mapping[str, str | None]) -> Path:
        """The local copy of a shard, fetched if it is not there.

        Args:
            shard: the remote folder.
            files: the files of it that are wanted, with their SHA-256 if known.

        Raises:
            ForeframeError: a file is missing, cannot be read or is not what its checksum says.
        """
        # The checksums are part of the name: a store that was made again is fetched again.
        key = repr((str(shard), sorted(files.items())))
        local = self.folder / hashlib.sha256(key.encode()).hexdigest()[:32]
        while True:
            if not local.is_dir():
                try:
                    with whole_folder(local) as aside:
                        for name, expected in files.items():
                            _copy(shard / name, aside / name, expected)
                except ForeframeError:
                    if not local.is_dir():  # else another process has fetched it meanwhile
                        raise
            with suppress(FileNotFoundError):  # another process has removed it meanwhile
                os.utime(local)
                self._shrink(local)
                return local

    def _shrink(self, keep: Path) -> None:
        shards: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            # Another process may remove what is listed here at any moment.
            with suppress(OSError):
                if path.name.startswith(".") and time.time() - path.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)  # half a shard, of a killed process
                    continue
                size = sum(file.stat().st_size for file in path.iterdir())
                shards.append((path.stat().st_mtime, size, path))
        total = sum(size for _, size, _ in shards)
        for _, size, path in sorted(shards):
            if total <= self.limit:
                return
            if path != keep and not path.name.startswith("."):
                # Processes that have it mapped keep what they see.
                shutil.rmtree(path, ignore_errors=True)
                total -= size


def _copy(source: UPath, target: Path, expected: str | None) -> None:
    digest = hashlib.sha256()
    try:
        with source.open("rb") as remote, open(target, "wb") as local:
            while chunk := remote.read(_CHUNK):
                digest.update(chunk)
                local.write(chunk)
    except OSError as error:
        raise unreadable(source, error) from error
    if expected is not None and digest.hexdigest() != expected:
        raise ForeframeError(
            f"{source}: is not what the store's meta.json says (SHA-256 differs). "
            "It was damaged on the way or there: copy the store there again."
        )


def _limit_from_environment() -> int:
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text) if text else _DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < 1e9:
        raise ForeframeError(f"{LIMIT}={text}: must be a number of gigabytes above 0, such as 20.")
    return int(gigabytes * 1e9)
