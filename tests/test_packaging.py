"""What pyproject.toml says about versions agrees with the files that say what was tested."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import foreframe

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    """The versions of a constraints file, all of them exact."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pinned), f"{name}: a line is no name==version"
    return {canonical(package): number for package, number in pinned}


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """The lower bounds of a list of requirements that states nothing but lower bounds."""
    bounds = {}
    for requirement in requirements:
        if requirement.startswith("foreframe["):
            continue
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        assert match, f"{requirement}: expected name>=version"
        bounds[canonical(match[1])] = match[2]
    return bounds


def test_the_version_is_said_once() -> None:
    assert version("foreframe") == foreframe.__version__


def test_the_lowest_versions_tried_are_the_ones_promised() -> None:
    promised = lower_bounds(PROJECT["dependencies"])
    tried = pins("constraints-lowest.txt")
    assert {name: tried.get(name) for name in promised} == promised


@pytest.mark.parametrize("extra", [None, *PROJECT["optional-dependencies"]])
def test_every_direct_dependency_has_a_tested_version(extra: str | None) -> None:
    requirements = (
        PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    )
    missing = lower_bounds(requirements).keys() - pins("constraints.txt").keys()
    # torchvision only fetches the weights of LPIPS; its build must be the one for PyTorch's.
    assert missing <= {"torchvision"}


def test_tested_versions_can_be_had_anywhere() -> None:
    # A local label such as 2.13.0+cpu exists on the machine that built it and nowhere else.
    local = [name for name, number in pins("constraints.txt").items() if "+" in number]
    assert not local


def test_the_command_line_starts_without_pytorch():
    """It takes seconds and 200 MB, in each worker of an import too, which has no use for it."""
    code = (
        "import sys, foreframe.commands.app, foreframe.data.imports.importing; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    code = "import foreframe; print(foreframe.VideoCVAE.__module__, 'Clip' in dir(foreframe))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["foreframe.runs.hub", "True"]
    with pytest.raises(AttributeError, match="no attribute 'VideoCVEA'"):
        foreframe.VideoCVEA  # noqa: B018
