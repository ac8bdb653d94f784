"""What users get wrong with import, export and check: one line, status 2 or 1, nothing lost."""

import io
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.exports.lab import export_lab
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.data.store.store import Store
from foreframe.system.workers import Execution

FOREFRAME = Path(sys.executable).with_name("foreframe")
TINY = [
    *["--net", "dcgan64", "--width", "0.125", "--g-dim", "16", "--z-dim", "4", "--rnn-size", "16"],
    *["--batch-size", "2", "--epochs", "1", "--steps-per-epoch", "2", "--n-future", "3"],
    *["--kl-schedule", "constant", "--teacher-forcing", "always", "--device", "cpu"],
]


def record(seed, frames=5):
    random = np.random.default_rng(seed)
    features = {}
    for t in range(frames):
        features[f"{t}/image_aux1/encoded"] = random.bytes(64 * 64 * 3)
        features[f"{t}/action"] = random.normal(size=4).astype(np.float32)
        features[f"{t}/endeffector_pos"] = random.normal(size=3).astype(np.float32)
    return frame_record(encode_example(features))


def write_tar(path, records):
    with tarfile.open(path, "w") as tar:
        for name in ("traj_512_to_767", "traj_256_to_511", "traj_0_to_255"):
            info = tarfile.TarInfo(f"softmotion30_44k/train/{name}.tfrecords")
            data = b"".join(records)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (12, 6, 80, 100, 3), np.uint8)
    np.savez(
        root / "a.npz",
        frames=frames,
        act=random.normal(size=(12, 6, 7)).astype(np.float32),
        short=np.zeros((12, 4, 4), np.float32),
        nan=np.full((12, 6, 4), np.nan, np.float32),
        text=np.array(["a", "b"]),
    )
    good = [record(seed) for seed in range(4)]
    write_tar(root / "good.tar", good)
    bad = bytearray(good[1])
    bad[500] ^= 1
    write_tar(root / "bad.tar", [good[0], bytes(bad), *good[2:]])
    (root / "noise.tar").write_bytes(random.bytes(5000))
    (root / "note.txt").write_text("hello")
    (root / "empty").mkdir()
    (root / "taken").mkdir()
    (root / "taken" / "keep.txt").write_text("mine")
    words = f"import npz {root}/a.npz {root}/store --frames frames --actions act --workers 1"
    main(words.split())
    return root


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """The current folder, in which everything made once is at hand under its name."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def stopped(capsys, words, status=2):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*words])
    out, error = capsys.readouterr()
    assert stop.value.code == status, error
    assert "Traceback" not in error
    return out, error


REFUSED = {
    "npz nothing.npz OUT --frames frames": r"nothing\.npz: no such file",
    "npz note.txt OUT --frames frames": r"note\.txt: ",
    "npz empty OUT --frames frames": r"empty: .*\.npz",
    "npz a.npz OUT --frames pictures": "--frames pictures: there is no such array; it holds",
    "npz a.npz OUT --frames act": "act",
    "npz a.npz OUT --frames text": "text",
    "npz a.npz OUT --frames frames --actions short": r"short .*\[12, 4, 4\]",
    "npz a.npz OUT --frames frames --actions nan": "not one recording .*finite",
    "npz a.npz OUT --frames frames --actions act[5:2]": r"--actions act\[5:2\]",
    "npz a.npz OUT --frames frames --actions act[5:9]": "act has 7 columns",
    "npz a.npz OUT --frames frames --size 0": "--size 0",
    "npz a.npz OUT --frames frames --size -1": "--size -1",
    "npz a.npz OUT --frames frames --crop round": "--crop round: give middle",
    "npz a.npz OUT --frames frames --crop 10,10,200,20": "--crop 10,10,200,20",
    "npz a.npz OUT --frames frames --clip-frames 1": "--clip-frames 1",
    "npz a.npz OUT --frames frames --clip-frames 40": "nothing could be imported",
    "npz a.npz OUT --frames frames --workers 0": "--workers 0",
    "npz a.npz OUT --frames frames --validate 2": "--validate 2",
    "npz a.npz OUT --frames frames --validate 0.6 --test 0.5": "none is left for training",
    "npz a.npz OUT --frames frames --split all": "--split all",
    "npz a.npz OUT --frames frames --split-seed -1": "--split-seed -1",
    "npz a.npz OUT --frames frames --actions act --shift-actions 9": "--shift-actions 9",
    "npz a.npz taken --frames frames": "taken: holds other files",
    "npz a.npz note.txt --frames frames": r"note\.txt: is a file",
    "npz a.npz note.txt/out --frames frames": r"note\.txt: is a file",
    "npz a.npz store --frames frames --size 32": r"options\.size is 64 there and 32 here",
    "npz memory://no/a.npz OUT --frames frames": "memory://no/a.npz: no such file",
    "npz odd://no/a.npz OUT --frames frames": "addresses of the kind odd:// cannot be opened",
    "bair noise.tar OUT": r"noise\.tar: .*tar",
    "bair empty OUT": "empty: ",
    "bair nothing.tar OUT": r"nothing\.tar: no such file",
    "bair memory://no/b.tar OUT": "memory://no/b.tar",
    "bair good.tar OUT --camera main": "not one recording .*image_main",
    "bair bad.tar OUT --strict": r"traj_\w+\.tfrecords/1 \(record 1 at byte .*--strict",
    "rlds empty OUT": r"empty: holds no \.tfrecord files",
    "rlds nothing OUT": "nothing: no such file",
    "lerobot empty OUT": r"empty/meta/info\.json: no such file",
    "zarr empty OUT": "empty",
    "zarr note.txt OUT": r"note\.txt",
    "video empty OUT": "empty",
    "video note.txt OUT": r"note\.txt",
    "mmnist note.txt OUT": r"note\.txt",
    "lab empty OUT": "empty/train: no such folder",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_refused_import_says_why_and_leaves_nothing(place, capsys, words):
    before = contents(place)
    _, error = stopped(capsys, ["import", *words.split()])
    assert error.startswith("foreframe: error: ")
    assert error.count("\n") == 1
    assert re.search(REFUSED[words], error), error
    assert contents(place) == before


def test_skipped_records_are_told_and_the_status_is_1(place, capsys):
    out, error = stopped(capsys, ["import", "bair", "bad.tar", "out"], status=1)
    assert "traj_512_to_767.tfrecords/1 (record 1 at byte" in error
    assert "11 sequences" not in out
    assert {
        split: len(Store(place / "out" / split)) for split in ("train", "validate", "test")
    } == {
        "train": 3,
        "validate": 3,
        "test": 3,
    }
    # Again: it is complete, and still says what was skipped.
    _, again = stopped(capsys, ["import", "bair", "bad.tar", "out"], status=1)
    assert "traj_512_to_767.tfrecords/1 (record 1 at byte" in again


def test_names_with_spaces_and_umlauts(place, made):
    odd = place / "mein Roboter äöü"
    odd.mkdir()
    (odd / "a b.npz").write_bytes((made / "a.npz").read_bytes())
    main(["import", "npz", str(odd / "a b.npz"), str(odd / "out"), "--frames", "frames"])
    main(["check", str(odd / "out"), "--out", str(odd / "seen")])
    main(["export", "lab", str(odd / "out"), str(odd / "lab")])
    assert len(list((odd / "lab" / "train").glob("*/*/0.png"))) == 10


def test_a_full_disk_loses_nothing(place):
    """As much as a small disk: no file may grow beyond 100 kB."""

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    words = [FOREFRAME, "import", "npz", "a.npz", "out", "--frames", "frames"]
    done = subprocess.run(
        words,
        # Python would leave truncated byte code too, and other processes would trip over it.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=small_disk,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "could not be written" in done.stderr
    assert not list(place.rglob("*.bin"))
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_may_not_be_written(place, capsys):
    (place / "closed").mkdir(mode=0o500)
    _, error = stopped(capsys, ["import", "npz", "a.npz", "closed/out", "--frames", "frames"])
    assert "closed/out: cannot be written" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("check nothing", "nothing: no such folder"),
        ("check note.txt", "note.txt: is not a folder"),
        ("check empty", "empty: holds neither train"),
        ("check store/train", "is a single split"),
        ("check memory://nothing", "memory://nothing"),
        ("check store --pictures 0", "--pictures 0"),
        ("export lab empty out", "holds no stores"),
        ("export lab store taken", "holds other files"),
        ("export lab store store", "holds other files"),
        ("export lab store out --workers 0", "--workers 0"),
        ("export lerobot store out", "Give --frame-rate"),
        ("export lerobot store out --frame-rate -3", "--frame-rate -3"),
        ("export lerobot empty out", "holds no stores"),
        ("export zip store out", "known: lab, lerobot"),
        ("import photos a b", "known: bair, rlds"),
        ("train demo --data memory://nothing --out run", "memory://nothing/train"),
        ("train demo --data store --out run --n-future 20", "Lower --n-future"),
    ],
)
def test_other_commands_refuse_what_makes_no_sense(place, capsys, words, message):
    before = contents(place)
    _, error = stopped(capsys, words.split())
    assert message in " ".join(error.split())
    assert contents(place) == before


def damaged(place, made, change):
    root = place / "damaged"
    for path in (made / "store").rglob("*.*"):
        there = root / path.relative_to(made / "store")
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            there.write_bytes(path.read_bytes())
    frames = next((root / "train").glob("*/frames.bin"))
    frames.write_bytes(change(frames.read_bytes()))
    return root, frames


def test_a_cut_shard_is_named_by_every_command(place, made, capsys):
    root, frames = damaged(place, made, lambda content: content[:-7])
    name = f"{frames.parent.name}/{frames.name}"
    for words in (f"export lab {root} out", f"train demo --data {root} --out run"):
        _, error = stopped(capsys, words.split())
        assert name in error
    out, _ = stopped(capsys, ["check", str(root)], status=1)
    assert name in out
    assert not (place / "run").exists()


def test_a_flipped_bit_is_found_by_check(place, made, capsys):
    root, frames = damaged(place, made, lambda content: bytes([content[0] ^ 1]) + content[1:])
    out, _ = stopped(capsys, ["check", str(root)], status=1)
    assert f"{frames}: has changed since it was made" in " ".join(out.split()).replace("\n", "")


def test_actions_of_width_7_all_the_way(place, capsys):
    main(["train", "svg-small", "--data", "store", "--out", "run", *TINY])
    assert json.loads(Path("run/run.json").read_text())["model"]["action_dim"] == 7
    main(["evaluate", "run", "--data", "store", "--n-future", "3"])
    main(["predict", "run", "--sequence", "store/test/0", "--samples", "1"])
    main(["report", "run"])
    words = "import npz a.npz narrow --frames frames --actions act[:4]"
    main(words.split())
    _, error = stopped(capsys, ["evaluate", "run", "--data", "narrow", "--n-future", "3"])
    assert "4 columns of actions, but the model takes 7" in error


def test_a_dataset_without_actions_all_the_way(place, capsys):
    main(["import", "npz", "a.npz", "bare", "--frames", "frames"])
    _, error = stopped(capsys, ["train", "svg-small", "--data", "bare", "--out", "run", *TINY])
    assert "there are no actions" in error
    main(["train", "svg-small", "--data", "bare", "--out", "run", *TINY, "--condition", "none"])
    main(["evaluate", "run", "--data", "bare", "--n-future", "3"])
    export_lab(place / "bare", place / "lab", execution=Execution(workers=1))
    assert not list((place / "lab").rglob("*.csv"))
    main(["evaluate", "run", "--data", "lab", "--n-future", "3", "--out", "again"])
    here, there = (
        json.loads(Path(f"{name}/evaluation.json").read_text()) for name in ("run", "again")
    )
    assert here["rows"] == there["rows"]


@pytest.mark.parametrize("words", ["import", "export", "import npz", "export lerobot", "check"])
def test_help_is_there(capsys, words):
    out, _ = stopped(capsys, [*words.split(), "--help"], status=0)
    assert out.startswith(f"usage: foreframe {words} ")
    assert "options options" not in out
