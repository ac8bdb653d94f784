"""The queue of trainings: gone on with, one line a result."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = (
    "svg-small --net dcgan64 --width 0.03 --g-dim 8 --z-dim 2 --rnn-size 8 --epochs 2 "
    "--steps-per-epoch 2 --batch-size 2 --n-future 3 --kl-schedule constant "
    "--teacher-forcing always --device cpu"
)


def queue(folder, data):
    words = [sys.executable, ROOT / "benchmarks" / "experiments.py", "list.txt"]
    return subprocess.run(
        [*words, "--data", str(data), "--out", "runs"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_queue_goes_on_where_it_was(tmp_path, toy_data):
    (tmp_path / "list.txt").write_text(f"# two\none: {TINY}\ntwo: {TINY} --seed 1\n")
    (tmp_path / "list.jsonl").write_text(json.dumps({"name": "one"}) + "\n")
    done = queue(tmp_path, toy_data)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs" / "one").exists()
    results = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert [result["name"] for result in results] == ["one", "two"]
    assert results[1]["command"].endswith("--seed 1")
    assert results[1]["validation_psnr"] >= results[1]["last_validation_psnr"] > 0
    again = queue(tmp_path, toy_data)
    assert again.returncode == 0
    assert len((tmp_path / "list.jsonl").read_text().splitlines()) == 2


def test_a_list_that_makes_no_sense_is_refused(tmp_path, toy_data):
    (tmp_path / "list.txt").write_text("one demo\n")
    done = queue(tmp_path, toy_data)
    assert done.returncode == 1
    assert done.stderr.strip() == "list.txt:1: give NAME: RECIPE [OPTIONS], each name once."
