"""One HDF5 file, from which nothing but the file itself is read.

HDF5 has three ways to let a file speak for others: external links, datasets whose values lie in
other files, and virtual datasets that are put together of other files. A file from somebody else
could so have any file of this machine read as if it were its own. Here a path is followed link by
link, and a dataset has its values in the file or is refused. References are never followed, and
nothing is unpickled.
"""

import fnmatch
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError, reason
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, natural_key, open_binary

SUFFIXES = (".hdf5", ".h5", ".hdf", ".he5")

DAMAGE = (
    OSError,
    ValueError,  # UnicodeDecodeError, too
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
)
"""What h5py raises for damaged files."""

_BLOCK = 1 << 22
_LARGEST = 1 << 29
"""Bytes of one chunk, of one row and of one table of numbers, at most."""
_HOPS = 8
_NONE = -1  # where a kind of link is expected: there is none
_DEEPEST = 8
_WILD = set("*?[")


class Hdf5Array:
    """A dataset whose values lie in the file.

    Attributes:
        name: its path in the file, fit for messages.
        shape: its shape.
        dtype: type of its values; "object" for values of different lengths.
        step: rows that are read at a time: whole chunks, some megabytes.

    Raises:
        UnusableError: they lie elsewhere, or nothing here can unpack them.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.name = shown(name)
        with self._told():
            self._dataset = dataset
            self.shape: tuple[int, ...] = tuple(dataset.shape or ())
            self.dtype: np.dtype[Any] = dataset.dtype
            self._check_kind()
            plan = dataset.id.get_create_plist()
            self._check_own(plan)
            self._check_filters(plan)
            self._check_sizes(dataset.chunks)

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {list(self.shape)}"

    @property
    def kind(self) -> str:
        """What its values are, in a word."""
        return "of different lengths" if self.dtype.kind == "O" else str(self.dtype)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong becomes an error that names the dataset."""
        try:
            yield
        except DAMAGE as error:
            raise UnusableError(f"{self.name} cannot be read ({said(error)})") from error

    def _check_kind(self) -> None:
        h5py = import_h5py()
        # Of the kinds that h5py turns into objects: references lead elsewhere.
        if self.dtype.kind == "O" and not (
            h5py.check_string_dtype(self.dtype) or h5py.check_vlen_dtype(self.dtype) == np.uint8
        ):
            raise UnusableError(f"{self.name} holds neither numbers, bytes nor texts")

    def _check_own(self, plan: Any) -> None:
        virtual = plan.get_layout() == import_h5py().h5d.VIRTUAL
        if virtual or plan.get_external_count():
            raise UnusableError(
                f"{self.name} has its values in other files, which are not opened: write them "
                "into this file, as h5repack does"
            )

    def _check_filters(self, plan: Any) -> None:
        h5z = import_h5py().h5z
        for number in range(plan.get_nfilters()):
            code, _, _, label = plan.get_filter(number)
            if not h5z.filter_avail(code):
                with suppress(ImportError):
                    import_module("hdf5plugin")  # brings the usual ones, where it is installed
            if not h5z.filter_avail(code):
                text = shown(label.decode("utf-8", "replace").split(";")[0]) or "without a name"
                raise UnusableError(
                    f"{self.name} is packed by the HDF5 filter {code} ({text}), which is not "
                    "installed: pip install hdf5plugin, or unpack the file with h5repack -f NONE"
                )

    def _check_sizes(self, chunks: tuple[int, ...] | None) -> None:
        row = max(1, math.prod(self.shape[1:])) * max(1, self.dtype.itemsize)
        step = chunks[0] if chunks else 1
        if chunks is not None and math.prod(chunks) * self.dtype.itemsize > _LARGEST:
            raise UnusableError(
                f"{self.name} lies in chunks of {list(chunks)}, which are too large to be read "
                "one at a time: divide it along the first axis, with h5repack -l"
            )
        if row * step > _LARGEST:
            raise UnusableError(f"{self.name} has rows of {row:,} bytes in chunks of {step}")
        self.step = step * max(1, _BLOCK // (row * step))

    def check_written(self) -> None:
        """See that all of it was written once: what never was is read as zeros.

        Raises:
            UnusableError: some of it never was.
        """
        with self._told():
            chunks = self._dataset.chunks
            if 0 in self.shape or not self.shape:
                return
            if chunks is None:
                written = bool(self._dataset.id.get_storage_size())
            else:
                promised = math.prod(
                    -(-size // chunk) for size, chunk in zip(self.shape, chunks, strict=True)
                )
                written = self._dataset.id.get_num_chunks() == promised
        if not written:
            raise UnusableError(
                f"{self.name}: parts of it were never written, and would be read as zeros"
            )

    def rows(self, first: int, stop: int) -> np.ndarray:
        """Rows ``first`` to ``stop``.

        Raises:
            UnusableError: they are damaged.
        """
        with self._told():
            values = np.asarray(self._dataset[first:stop])
            if len(values) != stop - first:
                raise ValueError("it is cut short")
        return values

    def table(self) -> np.ndarray:
        """All of an array of numbers [time] or [time, number], as [time, number].

        Raises:
            UnusableError: it is none, or damaged.
        """
        if self.dtype.kind not in "iufb" or len(self.shape) not in (1, 2) or 0 in self.shape:
            raise UnusableError(f"{self}: must be an array of numbers, [time] or [time, number]")
        self._check_total()
        self.check_written()
        return self.rows(0, self.shape[0]).reshape(self.shape[0], -1)

    def content(self) -> bytes:
        """All of an array of bytes: a file that lies in this one.

        Raises:
            UnusableError: it is none, or damaged.
        """
        if self.dtype != np.uint8 or len(self.shape) != 1:
            raise UnusableError(f"{self}: must be one row of bytes")
        self._check_total()
        return self.rows(0, self.shape[0]).tobytes()

    def _check_total(self) -> None:
        if math.prod(self.shape) * self.dtype.itemsize > _LARGEST:
            raise UnusableError(f"{self}: is too large for what it should be")


class Hdf5File:
    """An open file, in which links are followed one by one."""

    def __init__(self, file: Any) -> None:
        self._root, self._h5py = file["/"], import_h5py()

    def find(self, path: str) -> Any:
        """The group or dataset at a path.

        Raises:
            UnusableError: there is none, or a link on the way leads out of the file.
        """
        return self._follow(self._root, path, _HOPS)

    def _follow(self, start: Any, path: str, hops: int) -> Any:
        node = self._root if path.startswith("/") else start
        for name in filter(None, path.split("/")):
            node = self._through(node, name, hops)
        return node

    def _through(self, group: Any, name: str, hops: int) -> Any:
        """The object behind the link ``name`` of a group."""
        h5l = self._h5py.h5l
        if not isinstance(group, self._h5py.Group):
            raise UnusableError(f"there is no {shown(name)} in a dataset")
        link = self.link(group, name)
        key = _key(name)
        try:
            if link == h5l.TYPE_HARD:
                return group[key]
            if link == h5l.TYPE_SOFT and hops:
                target = group.id.links.get_val(key).decode("utf-8", "surrogateescape")
                return self._follow(group, target, hops - 1)
        except DAMAGE as error:
            raise UnusableError(f"{shown(name)} cannot be opened ({said(error)})") from error
        if link == _NONE:
            raise UnusableError(f"there is no {shown(name)}")
        raise UnusableError(f"{shown(name)} is a link that is not followed: it leads elsewhere")

    def link(self, group: Any, name: str) -> int:
        """The kind of a link; nothing is opened.

        Raises:
            UnusableError: it is damaged.
        """
        try:
            links, key = group.id.links, _key(name)
            # Asking for one that is missing or damaged is an error of its own.
            return int(links.get_info(key).type) if links.exists(key) else _NONE
        except DAMAGE as error:
            raise UnusableError(f"{shown(name)} cannot be opened ({said(error)})") from error

    def has(self, path: str) -> bool:
        """Whether there is a group or dataset at a path that can be opened."""
        return self.fault(path) is None

    def fault(self, path: str) -> str | None:
        """Why there is no group or dataset at a path; None if there is."""
        try:
            self.find(path)
        except UnusableError as error:
            return str(error)
        return None

    def names(self, path: str) -> list[str]:
        """What is in a group, in natural order; nothing is opened.

        Raises:
            UnusableError: it is none, or damaged.
        """
        group = self.find(path)
        if not isinstance(group, self._h5py.Group):
            raise UnusableError(f"{shown(path)} is no group")
        try:
            return sorted((str(name) for name in group), key=natural_key)
        except DAMAGE as error:
            raise UnusableError(f"{shown(path) or '/'} cannot be read ({said(error)})") from error

    def array(self, path: str) -> Hdf5Array:
        """The dataset at a path.

        Raises:
            UnusableError: there is none, or see ``Hdf5Array``.
        """
        found = self.find(path)
        if not isinstance(found, self._h5py.Dataset):
            raise UnusableError(f"{shown(path)} is no dataset")
        return Hdf5Array(found, path.strip("/"))

    def is_group(self, path: str) -> bool:
        """Whether there is a group at a path."""
        try:
            return isinstance(self.find(path), self._h5py.Group)
        except UnusableError:
            return False

    def matching(self, pattern: str) -> list[str]:
        """Paths of what a pattern names, such as data/demo_*, in natural order."""
        paths = [""]
        for word in filter(None, pattern.split("/")):
            if not _WILD & set(word):
                paths = [f"{path}/{word}" for path in paths]
                continue
            paths = [
                f"{path}/{name}"
                for path in paths
                if self.is_group(path)
                for name in self.names(path)
                if fnmatch.fnmatchcase(name, word)
            ]
        return [path.strip("/") for path in paths]

    def below(self, path: str, most: int = 500, deepest: int = _DEEPEST) -> list[str]:
        """Paths of the datasets in a group and the groups in it, relative to it; the first few.

        What cannot be opened, and links that lead elsewhere, are left out.
        """
        found: list[str] = []
        waiting = [""]
        looked = 0
        while waiting and looked < most:
            here = waiting.pop(0)
            looked += 1
            full = f"{path}/{here}"
            if not self.is_group(full):
                if self.has(full):
                    found.append(here)
            elif here.count("/") < deepest:
                with suppress(UnusableError):
                    inside = self.names(full)[:most]
                    waiting = [f"{here}/{name}".strip("/") for name in inside] + waiting
        return found

    def attribute(self, path: str, name: str) -> Any:
        """An attribute of a group or dataset; None if it cannot be read."""
        with suppress(UnusableError, *DAMAGE):
            return self.find(path).attrs.get(name)
        return None


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def said(error: BaseException) -> str:
    """What h5py says, in one line that can be printed."""
    if isinstance(error, UnusableError):
        return str(error)
    return shown(" ".join(reason(error).split()))[:200]


@contextmanager
def open_hdf5(place: Place) -> Iterator[Hdf5File]:
    """Open a file for reading.

    Raises:
        UnusableError: it is no HDF5 file, or damaged.
        ForeframeError: it is missing or cannot be opened, or h5py is not installed.
    """
    h5py = import_h5py()
    with open_binary(place) as stream:  # says whether it may be read at all
        file: Any = None
        try:
            file = h5py.File(place if isinstance(place, Path) else stream, "r", locking=False)
            opened = Hdf5File(file)
        except DAMAGE as error:
            _close(file)
            raise UnusableError(f"cannot be read as an HDF5 file ({said(error)})") from error
        try:
            yield opened
        finally:
            _close(file)


def _close(file: Any) -> None:
    with suppress(*DAMAGE):
        if file is not None:
            file.close()


def import_h5py() -> Any:
    """The package h5py.

    Raises:
        ForeframeError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ForeframeError(
            f"HDF5 is read with the package h5py ({error}): pip install 'foreframe[hdf5]'."
        ) from error
    return h5py
