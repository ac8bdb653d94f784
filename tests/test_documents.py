"""The README and the guide: their commands and Python snippets run as they stand."""

import inspect
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import foreframe
from foreframe.commands.app import COMMANDS, main, parse
from foreframe.config.plain import as_flags
from foreframe.config.recipes import recipe
from foreframe.data.store.store import Store
from foreframe.runs.folder import saved_config
from foreframe.training.fit import fit

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]

COMPLETION = "--tyro-write-completion"  # writes into the reader's home; test_cli tries it

SHORT = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "device": "cpu"}
TINY = {
    "places64": {**SHORT, "width": 0.25, "g_dim": 16, "z_dim": 64, "rnn_size": 8},
    "dcgan64": {
        **SHORT,
        "net": "dcgan64",
        "width": 0.125,
        "g_dim": 16,
        "z_dim": 4,
        "rnn_size": 16,
        "kl_schedule": "constant",
        "teacher_forcing": "always",
    },
}


def tiny(name: str) -> dict[str, object]:
    """Settings that make the recipe's model and training tiny; SVG's nets all become dcgan64."""
    return TINY["places64" if recipe(name).model.net == "places64" else "dcgan64"]


def tiny_words(words: list[str]) -> list[str]:
    """The words of a command, made tiny if it trains."""
    return [*words, *as_flags(tiny(words[1]), {})] if words[0] == "train" else words


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: str, *, shown: bool = False) -> list[list[str]]:
    """Commands that a reader can run; shown: also those after a $ in console blocks."""
    lines = [line for block in blocks(page, "(?:sh|bash)") for line in block.splitlines()]
    if shown:
        console = [line for block in blocks(page, "console") for line in block.splitlines()]
        lines += [line.removeprefix("$ ") for line in console if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_data) -> Path:
    """A folder as the pages speak of it: data/push, DATA, DIR and a trained runs/demo."""
    root = tmp_path_factory.mktemp("workplace")
    ignore = shutil.ignore_patterns(".foreframe")
    shutil.copytree(toy_data, root / "DATA", ignore=ignore)
    for split in ("train", "validate", "test"):
        (root / "DATA" / split / "traj_0_to_255").rename(root / "DATA" / split / "SHARD")
    shutil.copytree(toy_data, root / "data" / "push", ignore=ignore)
    shutil.copytree(root / "DATA", root / "DIR")
    for split in ("train", "validate", "test"):
        for base in (root / "data" / "push", root / "DIR"):
            shard = next((base / split).iterdir())
            shard.rename(base / split / "push_0_to_255")
    for name, out in (("demo", "runs/demo"), ("svg-small", "RUN")):
        words = ["train", name, "--data", str(root / "DIR"), "--out", str(root / out)]
        main(tiny_words(words))
    return root


ROOT_PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
"""Pages whose links mkdocs does not check as GitHub shows them."""


@pytest.mark.parametrize("page", ROOT_PAGES)
def test_links_of_the_pages_at_the_root_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "benchmarks/RESULTS.md"])
def test_every_file_of_the_code_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|sh|js|css|ipynb))`", text):
        places = [ROOT / place for place in (".", "src", "src/foreframe", "src/foreframe/model")]
        assert any((place / name).is_file() for place in places), name


def test_the_floors_of_the_architecture_are_those_of_the_import_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    layers = [re.findall(r"\w+", layer) for layer in contract["layers"]]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = re.findall(r"^\| (\d+) \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    assert [sorted(re.findall(r"\w+", rooms)) for _, rooms in floors] == list(map(sorted, layers))
    assert [int(number) for number, _ in floors] == list(range(len(layers), 0, -1))
    folders = {path.name for path in (ROOT / "src" / "foreframe").glob("[a-z]*/")}
    assert folders | {"errors"} == {room for layer in layers for room in layer}


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_heading_counts_the_commands_below_it(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^## Three commands\n.*?^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    assert [line.split()[0] for line in block.splitlines()] == ["make"] * 3


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert set(named) <= set(targets), words


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_commands_run_in_the_order_they_stand(page, workplace, tmp_path, monkeypatch):
    shutil.copytree(workplace, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    ran = 0
    for words in commands(page):
        if words[0] != "foreframe":
            continue
        if words[1] == "simulate":  # the dataset is there; that it is made is tested elsewhere
            continue
        main(tiny_words(words[1:]))
        ran += 1
    assert ran >= 4


def test_the_examples_of_each_source_run_in_the_order_they_stand(workplace, tmp_path, monkeypatch):
    shutil.copytree(workplace / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for language, block in re.findall(
        r"^```(python|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        if language == "python":
            exec(block, names)
            continue
        for line in block.splitlines():
            words = shlex.split(line, comments=True)[1:]
            if words[0] != "simulate":
                main(tiny_words(words))
    made = {path.parent.name for path in (tmp_path / "data").glob("*/dataset.json")}
    sources = {"pushed", "from-lab", "from-lerobot", "from-zarr", "from-video", "slow", "from-npz"}
    sources |= {"from-hdf5", "by-paths", "from-droid", "from-mcap", "slower"}
    assert made == sources
    for name in sources - {"pushed", "from-lerobot"}:
        assert len(Store(tmp_path / "data" / name / "train")[0].actions[0]) == 4


def test_the_page_of_the_command_line_names_every_command():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    named = set(re.findall(r"{{ help ([a-z0-9 ]+) }}", text))
    there: set[str] = set()
    for name, command in COMMANDS.items():
        below = [f"{name} {word}" for word in command] if isinstance(command, dict) else [name]
        there |= set(below)
    assert named - {"import", "export"} == there


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_is_understood(page):
    for words in commands(page, shown=True):
        if words[0] == "foreframe" and not {"RECIPE", "--resume", COMPLETION} & set(words):
            if {"-h", "--help", "--version"} & set(words):
                with pytest.raises(SystemExit) as stop:
                    parse(words[1:])
                assert stop.value.code == 0
            else:
                parse(words[1:])


@pytest.fixture
def tiny_fit(monkeypatch):
    """foreframe.fit, which then trains a tiny model for a step, whatever recipe a page names."""
    usual = inspect.signature(fit).parameters["recipe"].default

    def small(*arrays, recipe=usual, **settings):
        return fit(*arrays, recipe=recipe, **{**tiny(recipe), **settings})

    monkeypatch.setattr(foreframe, "fit", small, raising=False)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/model.md"])
def test_the_python_snippets_run(page, workplace, tmp_path, monkeypatch, tiny_fit):
    monkeypatch.chdir(workplace)
    snippets = blocks(page, "python")
    assert snippets
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (3, 12, 64, 64, 3), np.uint8)
    for snippet in snippets:
        names = {"past": torch.rand(2, 2, 3, 64, 64), "actions": torch.randn(2, 12, 4)}
        if "fit(" in snippet:
            monkeypatch.chdir(tmp_path)
            names = {"frames": frames, "actions": random.normal(size=(3, 12, 4))}
        exec(snippet, names)
        assert names["futures"].shape[-5:] == (8, 10, 3, 64, 64)


def test_the_page_of_the_python_interface_runs_as_it_stands(
    workplace, tmp_path, monkeypatch, tiny_fit
):
    shutil.copytree(workplace, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    names: dict[str, object] = {}
    for snippet in blocks("docs/python.md", "python"):
        exec(snippet, names)
    assert names["frame"].shape == (1, 4, 3, 64, 64)
    assert {"futures.gif", "one.gif", "mean.gif"} <= {path.name for path in Path().iterdir()}
    assert saved_config(Path("runs/arm")).recipe == "lab-small"


def test_the_page_of_the_python_interface_names_every_public_name():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `foreframe\.(\w+)` \|", text, re.MULTILINE))
    assert listed == set(foreframe._HOMES)
