"""The lock: the SHA-256 of every file that continuous integration installs.

    python scripts/lock.py install -c constraints.txt -e '.[dev]'   # compared, then pip install
    .venv/bin/python scripts/lock.py write                          # after constraints.txt changed

``install`` takes wheels alone, which run nothing while they are installed. It asks pip what it
would install, the build of foreframe itself included, and compares that with ``constraints.lock``
before anything is installed; a file that is not in it ends the set-up.
``write`` asks the default package index for the wheels of every Python that is supported,
and adds those that this machine's pip would choose besides, such as PyTorch for the CPU alone. A
build of PyTorch for CUDA brings packages that are not in the lock.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from pathlib import Path

from pip._internal.models.index import PyPI
from pip._vendor.packaging.tags import Tag
from pip._vendor.packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "constraints.lock"
PYTHONS = ("py3", "py2", "cp311", "cp312", "cp313", "cp314")
EXTRAS = ("data", "hdf5", "mcap", "cluster", "onnx", "pusht", "web", "test", "docs", "dev")
BUILDING = ("hatchling", "editables")
Files = dict[tuple[str, str], set[str]]  # name and version: hashes


def name_of(text: str) -> str:
    """A package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def told_of(report: Path) -> Files:
    """What pip's report says that it chose, but for foreframe itself."""
    files: Files = defaultdict(set)
    for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
        archive = item["download_info"].get("archive_info")
        if archive is not None and item["metadata"]["name"] != "foreframe":
            version = item["metadata"]["version"].partition("+")[0]
            digest = archive.get("hashes", {}).get("sha256", "none")
            files[name_of(item["metadata"]["name"]), version].add(digest)
    return files


def read_lock() -> Files:
    """The lock: ``name==version`` on a line, its hashes on those below."""
    files: Files = defaultdict(set)
    package = ("", "")
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line.startswith("    --hash=sha256:"):
            files[package].add(line.strip().removeprefix("--hash=sha256:").removesuffix(" \\"))
        elif line and not line.startswith("#"):
            name, _, version = line.removesuffix(" \\").partition("==")
            package = (name_of(name), version)
    return files


def would_install(*words: str) -> Files:
    """What ``pip install`` with these words would choose if nothing were there yet."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _pip("--dry-run", "--ignore-installed", "--report", str(report), *words)
        return told_of(report)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    done = subprocess.run([*command, *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def install(words: list[str]) -> None:
    """Install what is in the lock; a file that is not in it ends this before anything is there."""
    # What builds foreframe itself is locked like the rest, so it is not fetched at the side.
    building = ["-c", str(ROOT / "constraints.txt"), *BUILDING]
    for wanted in (building, ["--no-build-isolation", *words]):
        _require_locked(would_install(*wanted))
        _pip("--no-compile", *wanted)


def _require_locked(chosen: Files) -> None:
    lock = read_lock()
    wrong = [
        f"{name} {version}: sha256 {digest}"
        for (name, version), digests in sorted(chosen.items())
        for digest in sorted(digests - lock[name, version])
    ]
    if wrong:
        sys.exit(
            "Not in constraints.lock, so nothing is installed:\n  "
            + "\n  ".join(wrong)
            + "\nIf constraints.txt was changed on purpose: python scripts/lock.py write"
        )


def listed(name: str, version: str) -> set[str]:
    """The hashes of a package's wheels for Linux on x86-64, as pip's default index lists them."""
    request = urllib.request.Request(
        f"{PyPI.simple_url}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    found = set()
    for file in files:
        if file["filename"].endswith(".whl"):
            _, known, _, tags = parse_wheel_filename(file["filename"])
            if str(known) == version and any(fits(tag) for tag in tags):
                found.add(file["hashes"]["sha256"])
    return found


def fits(tag: Tag) -> bool:
    """Whether a wheel of this tag can be installed on Linux on x86-64 by a Python we support."""
    python = tag.interpreter in PYTHONS or tag.abi == "abi3"
    return python and re.search("^any$|linux.*x86_64", tag.platform) is not None


def write() -> None:
    """What the index lists of every package, and what this machine's pip would choose besides."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements"
        requirements.write_text("\n".join([*BUILDING, *of_project()]), encoding="utf-8")
        files = would_install("-r", str(requirements), "-c", str(ROOT / "constraints.txt"))
    for name, version in files:
        files[name, version] |= listed(name, version)
    lines = [
        "# Written by scripts/lock.py: what continuous integration may install, on Linux x86-64."
    ]
    for (name, version), digests in sorted(files.items()):
        hashes = [f"    --hash=sha256:{digest}" for digest in sorted(digests)]
        lines.append(" \\\n".join([f"{name}=={version}", *hashes]))
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(files)} packages, {sum(map(len, files.values()))} files")


def of_project() -> list[str]:
    """What pyproject.toml names for use and development."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in EXTRAS)]
    return [word for group in groups for word in group if not word.startswith("foreframe[")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["install"]:
        install(sys.argv[2:])
    elif sys.argv[1:] == ["write"]:
        write()
    else:
        sys.exit(__doc__)
