"""The lock of what continuous integration installs: complete, and a strange file is refused."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pinned_version_is_in_the_lock(lock):
    locked = lock.read_lock()
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(pins) > 100
    missing = [
        f"{name}=={version}"
        for name, version in pins
        if not locked.get((lock.name_of(name), version))
    ]
    assert not missing, "run scripts/lock.py write"


def test_a_file_that_is_not_in_the_lock_ends_the_set_up_before_it_is_there(lock, monkeypatch):
    installed = []
    (package, digests), *_ = sorted(lock.read_lock().items())
    chosen = {package: {next(iter(digests))}}
    monkeypatch.setattr(lock, "would_install", lambda *words: chosen)
    monkeypatch.setattr(lock, "_pip", lambda *words: installed.append(words))
    lock.install(["foreframe"])
    assert [words[-1] for words in installed] == ["editables", "foreframe"]
    installed.clear()
    chosen[package] = {"0" * 64}
    with pytest.raises(SystemExit, match=f"{package[0]} {package[1]}: sha256 0000"):
        lock.install(["foreframe"])
    chosen.clear()
    chosen["a-new-package", "1.0"] = next(iter(lock.read_lock().values()))
    with pytest.raises(SystemExit, match=r"a-new-package 1\.0"):
        lock.install(["foreframe"])
    assert not installed
