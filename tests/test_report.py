"""The report: all that was run is on it, nothing it quotes runs, nothing comes from elsewhere."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreframe.errors import ForeframeError
from foreframe.report import write_report
from foreframe.visuals import samples_gif

EVIL = "<script>alert('x')</script> & \"co\""
N_PAST, N_FUTURE = 2, 3
VERSION_0_1 = Path(__file__).parent / "data" / "v0.1" / "run"


def frames(seed):
    random = np.random.default_rng(seed)
    videos = np.full((2, N_PAST + N_FUTURE, 16, 16, 3), 90, np.uint8)
    videos += random.integers(0, 20, videos.shape, dtype=np.uint8)
    for t in range(N_PAST + N_FUTURE):
        videos[:, t, 4:8, 2 * t : 2 * t + 4] = (200, 60, 60)
    return videos


def row(name, label, condition, psnr, ssim):
    steps = None if psnr is None else [psnr + 1, psnr, psnr - 1]
    return {
        "name": name, "label": label, "condition": condition, "psnr": psnr, "ssim": ssim,
        "psnr_per_step": steps,
        "ssim_per_step": None if ssim is None else [ssim] * 3,
    }  # fmt: skip


def write_json(path, value):
    path.write_text(json.dumps(value))


@pytest.fixture
def run(tmp_path):
    """A run folder with everything that a finished run leaves behind."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    config = {
        "recipe": "svg-small",
        "model": {"net": "dcgan64", "width": 0.5, "prior": "fixed", "condition": "actions"},
        "train": {"epochs": 2, "steps_per_epoch": 60, "batch_size": 16, "kl": {"beta_max": 0.001}},
        "data": "data/push",
        "init_from": None,
        "foreframe": "0.0.7",
        "torch": "2.13.0",
    }
    write_json(folder / "run.json", config)
    epoch = {
        "loss": 0.01, "mse": 0.009, "kld": 4.0, "beta": 1e-3, "teacher_forcing_ratio": 1.0,
        "lr": 0.002, "psnr": 21.0, "frames_per_second": 700.0, "seconds": 30.0,
    }  # fmt: skip
    history = [{"epoch": e, **epoch, "validation_psnr": 20.0 + e} for e in range(2)]
    write_json(folder / "history.json", history)
    protocol = {
        "name": "lab", "n_past": N_PAST, "n_future": N_FUTURE, "samples": 1, "split": "test",
        "seed": 0, "sequences": 60, "condition": "actions", "timing": "source",
        "psnr": "mean over channels in [0, 1]", "ssim": "Gaussian window, data range 1",
    }  # fmt: skip
    rows = [
        row("model", "foreframe", "actions, source-time", 24.5, 0.85),
        row("copy-last", "copy the last given frame", "no condition", 22.25, 0.8),
        row("permuted", "foreframe, conditions permuted", "of another sequence", 24.0, 0.84),
    ]
    command = "foreframe evaluate runs/one --data data/push"
    card = {"protocol": protocol, "data": "data/push", "command": command, "rows": rows}
    write_json(folder / "evaluation.json", card)
    truth = frames(0)
    prediction = np.concatenate([truth[:, :N_PAST], frames(1)[:, N_PAST:]], 1)
    np.savez(folder / "evaluation.npz", truth=truth, prediction=prediction, n_past=N_PAST)
    samples_gif(folder / "samples" / "epoch-001.gif", truth, prediction, N_PAST)
    return folder


class Page(HTMLParser):
    """Tags, attributes, headings and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.tags, self.ids, self.words, self.headings = [], [], [], []
        self._inside = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag in ("script", "style", "h1", "h2", "h3"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.words.append(data)
            if self._inside:
                self.headings.append((self._inside[-1], data))

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [values for name, values in self.tags if name == tag]


def report(run):
    path = write_report(run)
    assert path == run / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def change(path, **values):
    write_json(path, {**json.loads(path.read_text()), **values})


def test_report_has_every_section(run):
    page = report(run)
    assert [text for tag, text in page.headings if tag == "h1"] == ["svg-small"]
    assert [text for tag, text in page.headings if tag == "h2"] == [
        "Predictions",
        "Every time step",
        "Evaluation",
        "Training",
        "Make it again",
    ]


def test_headline_numbers_come_with_their_protocol_and_their_baselines(run):
    text = report(run).text
    assert "predicts 3 frames from 2 at 24.50 dB PSNR on 60 sequences of the test split" in text
    assert "2.25 dB better than copying the last given frame" in text
    assert "actions, source-time; 1 prior sample" in text
    for words in ("+2.25", "+0.50", "0.850", "mean over channels in [0, 1]", "data range 1"):
        assert words in text
    assert "the condition of step t - 1 is fed when frame t is predicted" in text


def test_a_model_worse_than_its_baseline_is_said_to_be(run):
    card = json.loads((run / "evaluation.json").read_text())
    card["rows"][0]["psnr"] = 21.0
    write_json(run / "evaluation.json", card)
    text = report(run).text
    assert "1.25 dB worse than copying" in text
    assert "\N{MINUS SIGN}1.25" in text


# -- what may be claimed ------------------------------------------------------------------------


def give_scores(run, **rows):
    """Make the card one of version 2, with the PSNR of each sequence of the rows."""
    card = json.loads((run / "evaluation.json").read_text())
    metrics = ("psnr", "ssim")
    note = {"unit": "", "definition": "", "digits": 2, "higher_is_better": True}
    card["protocol"]["metrics"] = {name: {"label": name.upper(), **note} for name in metrics}
    card["rows"] = [one for one in card["rows"] if one["name"] in rows]
    for name in rows.keys() - {one["name"] for one in card["rows"]}:
        card["rows"].append(row(name, f"foreframe, {name} condition", "told otherwise", 0, 0))
    for one in card["rows"]:
        values = rows[one["name"]]
        for metric in metrics:
            mean = sum(values) / len(values)
            one[metric] = mean
            interval = [mean - 1, mean + 1]
            score = {
                "value": mean, "interval": interval, "per_sequence": values, "per_step": [mean] * 3
            }  # fmt: skip
            one.setdefault("scores", {})[metric] = score
    write_json(run / "evaluation.json", card)


def tile_of(page, name):
    """Colour and words of a headline number."""
    source = page.source
    found = re.search(rf'class="name">{name}</span><b class="(\w*)">(.*?)</li>', source, re.S)
    return found[1], re.sub(r"<.*?>", "", found[2])


OWN = [20.0, 21.0, 22.0, 23.0]


def test_a_gain_is_coloured_only_where_its_paired_interval_excludes_zero(run):
    give_scores(run, model=OWN, **{"copy-last": [18.0, 18.5, 20.5, 21.0]}, permuted=[19.5] * 4)
    page = report(run)
    kind, words = tile_of(page, "Against copying")
    assert kind == "good"
    assert "95 % interval of the difference +1.62 to +2.38" in words
    for wrong, expected in (
        ([19.0, 20.1, 21.0, 21.9], "good"),
        ([20.5, 20.0, 22.5, 22.5], "open"),
        ([21.0, 22.1, 23.0, 23.9], "bad"),
    ):
        give_scores(run, model=OWN, **{"copy-last": [18.0] * 4}, permuted=wrong)
        kind, words = tile_of(report(run), "Against a wrong condition")
        assert kind == expected
        assert ("the model listens" in words) == (expected == "good")


def test_a_card_without_scores_of_each_sequence_claims_nothing(run):
    page = report(run)
    assert tile_of(page, "Against a wrong condition")[0] == "open"
    assert "the card holds no interval" in page.text


def probe(run, *, separable=True, mean=1.0):
    values = json.loads((VERSION_0_1 / "probe.json").read_text())
    cost = {"mean": mean, "interval": [mean - 0.1, mean + 0.1], "separable": separable}
    values["listening"]["costs"] = {"shuffled": cost}
    write_json(
        run / "probe.json", {**values, "words": ["Shuffled actions: said of the probe.", EVIL]}
    )
    Image.new("RGB", (9, 9)).save(run / "probe.png")


def test_a_gain_that_other_false_conditions_or_the_probe_contradict_is_left_open(run):
    rows = {"model": OWN, "copy-last": [18.0] * 4, "permuted": [19.8, 20.9, 21.9, 22.7]}
    give_scores(run, **rows, zeroed=[20.1, 21.1, 22.1, 23.1])
    page = report(run)
    assert tile_of(page, "Against a wrong condition")[0] == "open"
    assert (
        "Whether the model listens to its condition is open: zeroed conditions predict as well or "
        "better." in page.text
    )
    give_scores(run, **rows, zeroed=[19.0] * 4)
    assert tile_of(report(run), "Against a wrong condition")[0] == "good"
    probe(run, separable=False, mean=0.01)
    page = report(run)
    assert tile_of(page, "Against a wrong condition")[0] == "open"
    assert "is open: the probe does not tell the two conditions apart." in page.text
    probe(run)
    assert tile_of(report(run), "Against a wrong condition")[0] == "good"


def test_copying_that_is_not_worse_is_said_in_words(run):
    give_scores(run, model=OWN, **{"copy-last": [20.5, 20.0, 22.5, 22.5]}, permuted=[18.0] * 4)
    assert "not separable from copying the last given frame (+0.12 dB" in report(run).text


def test_probe_and_diagnosis_are_shown_when_they_were_run(run):
    headings = [text for tag, text in report(run).headings if tag == "h2"]
    assert "Does it listen, does it spread" not in headings
    probe(run)
    verdict = {"level": "mind", "text": "Two samples are alike."}
    values = json.loads((VERSION_0_1 / "diagnosis.json").read_text())
    write_json(run / "diagnosis.json", {**values, "verdicts": [verdict]})
    page = report(run)
    headings = [text for tag, text in page.headings if tag == "h2"]
    assert headings[3:5] == ["Does it listen, does it spread", "What the latent carries"]
    for words in ("said of the probe", EVIL, "Mind: Two samples are alike."):
        assert words in page.text
    assert sum(values["src"].startswith("data:image/png") for values in page.all("img")) == 3
    assert "older than the weights" not in page.text
    for verb in ("probe", "diagnose"):
        assert f"foreframe {verb} NEW_RUN --data data/push" in page.text
    (run / "model.safetensors").write_bytes(b"")
    later = (run / "probe.json").stat().st_mtime + 60
    os.utime(run / "model.safetensors", (later, later))
    assert f"earlier state of this run. foreframe probe {run} --data" in report(run).text


def test_plans_are_shown_when_they_were_made(run):
    """Their success, and the first episodes of the model."""
    rate = {"threshold": 0.05, "successes": 3, "rate": 0.3, "interval": [0.1, 0.6]}
    row = {"name": "model", "label": "the model", "success": [rate], "reduction": 0.4}
    row |= {"interval": [0.2, 0.6], "centimetres": 6.0, "seconds": 0.2, "imagined": 900.0}
    result = {"run": "r", "command": "foreframe plan r", "task": "push", "settings": {}}
    result |= {"hashes": {"weights": "other"}, "foreframe": "0.1.0", "episodes": 10}
    result |= {"rows": [{**row, "distances": [0.06] * 10}], "words": ["Said of plans."]}
    (run / "plan").mkdir()
    (run / "model.safetensors").write_bytes(b"")
    write_json(run / "plan" / "plan.json", result)
    for number in range(5):
        folder = run / "plan" / "episodes" / f"push-test-{number:04d}"
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "model.gif")
    page = report(run)
    assert "What it is good for: planning" in [t for tag, t in page.headings if tag == "h2"]
    assert "The model: within 5 cm in 30 % [10, 60]." in page.text
    assert "Said of plans." in page.text
    assert sum("push-test-000" in values["alt"] for values in page.all("img")) == 3
    assert f"earlier state of this run. foreframe plan {run} --out" in page.text


# -- the data -----------------------------------------------------------------------------------


def describe_data(run, tmp_path, values):
    (tmp_path / "data").mkdir(exist_ok=True)
    write_json(tmp_path / "data" / "dataset.json", values)
    change(run / "run.json", data=str(tmp_path / "data"))
    return report(run).text


def test_simulated_data_are_called_so_and_made_again(run, tmp_path):
    sizes = {"train": 30, "validate": 5, "test": 5}
    text = describe_data(
        run, tmp_path, {"generator": "foreframe", "seed": 3, "size": [128, 128], "sequences": sizes}
    )
    assert f"on simulated robot pushing ({tmp_path / 'data'}) predicts" in text
    assert f"foreframe simulate {tmp_path / 'data'} --sequences 40 --seed 3 --size 128" in text


def test_recorded_data_are_called_what_their_metadata_say(run, tmp_path):
    """A real import: its description names dataset and settings, and the command imports again."""
    text = describe_data(
        run,
        tmp_path,
        {
            "dataset": "bridge_dataset",
            "importer": "rlds",
            "input": "bridge raw",
            "settings": {"image": "image_0", "action": "action", "position": "state[:3]",
                         "frame_rate": 5.0},
            "options": {"size": 64, "shift_actions": 1, "split": None},
        },
    )  # fmt: skip
    assert f"on bridge_dataset ({tmp_path / 'data'}) predicts" in text
    assert "simulate" not in text
    assert (
        f"foreframe import rlds 'bridge raw' {tmp_path / 'data'} --image image_0 "
        "--position 'state[:3]' --frame-rate 5.0 --shift-actions 1 foreframe train" in text
    )


def test_an_import_of_simulated_data_is_followed_to_the_simulation(run, tmp_path):
    (tmp_path / "push").mkdir()
    sizes = {"train": 8, "validate": 1, "test": 1}
    write_json(tmp_path / "push" / "dataset.json", {"generator": "foreframe", "sequences": sizes})
    text = describe_data(
        run, tmp_path, {"dataset": "push", "importer": "lab", "input": str(tmp_path / "push")}
    )
    assert "on simulated robot pushing" in text
    assert (
        f"foreframe simulate {tmp_path / 'push'} --sequences 10 --seed 0 "
        f"foreframe import lab {tmp_path / 'push'} {tmp_path / 'data'} foreframe train" in text
    )


def test_data_that_a_run_names_by_another_folders_path_are_still_described(run, tmp_path):
    (tmp_path / "push").mkdir()
    write_json(tmp_path / "push" / "dataset.json", {"generator": "foreframe"})
    number = {"label": "dx", "low": -0.1, "high": 0.1}
    kept = {"path": str(tmp_path / "push"), "frame_rate": 5.0, "actions": [number, number]}
    change(run / "run.json", dataset=kept)
    text = report(run).text
    assert "on simulated robot pushing (data/push) predicts" in text
    assert "actions dx, dx" in text


@pytest.mark.parametrize("values", [{"exporter": "lab"}, {"importer": "of tomorrow"}, [], {}])
def test_of_data_that_say_nothing_nothing_is_said(run, tmp_path, values):
    text = describe_data(run, tmp_path, values)
    assert f"{tmp_path / 'data'} predicts" in text
    assert "foreframe import" not in text
    assert "foreframe simulate" not in text


# -- the page itself ----------------------------------------------------------------------------


def test_nothing_comes_from_elsewhere_and_ids_are_unique(run):
    page = report(run)
    source = (run / "report.html").read_text(encoding="utf-8")
    assert "://" not in source
    assert not page.all("link")[1:]
    for tag in ("script", "img", "iframe", "source", "link", "a"):
        for values in page.all(tag):
            for address in (values.get("src"), values.get("href")):
                assert address is None or address.startswith("data:")
    assert not re.search(r"@import|url\((?!#)", source)
    shared = {i for i in page.ids if page.ids.count(i) > 1}
    assert not {i for i in shared if not re.fullmatch(r"[mpC][0-9a-f_]+", i)}


def test_pictures_are_the_evaluated_frames_with_words_for_those_who_cannot_see_them(run):
    page = report(run)
    images = page.all("img")
    kinds = [values["src"][:15] for values in images]
    assert kinds.count("data:image/gif;") == 2 + 1  # two sequences and the training's sample
    assert kinds.count("data:image/png;") == 2
    assert all(values["alt"] for values in images)
    assert "unselected" in page.text
    strip = next(values for values in images if values.get("id") == "strip-1")
    picture = Image.open(io.BytesIO(base64.b64decode(strip["src"].split(",")[1]))).convert("RGB")
    player = next(v for v in page.all("figure") if v.get("data-strip") == "strip-1")
    grid = json.loads(player["data-grid"])
    with np.load(run / "evaluation.npz") as arrays:
        for r, key in enumerate(("truth", "prediction")):
            x, y = grid["corners"][r][4]
            shown = np.array(picture)[y : y + grid["drawn"][1], x : x + grid["drawn"][0]]
            assert (shown[::2, ::2] == arrays[key][1, 4]).all()


def test_without_scripts_the_gifs_are_shown(run):
    page = report(run)
    gifs = [v for v in page.all("img") if v["src"].startswith("data:image/gif")]
    assert all("hidden" not in values for values in gifs)
    assert all("hidden" in values for values in page.all("canvas"))
    bar = next(v for v in page.all("div") if v.get("class") == "bar")
    assert "hidden" in bar


def test_text_is_escaped_wherever_it_comes_from(run):
    change(run / "run.json", recipe=EVIL, data=EVIL, init_from=EVIL, **{EVIL: EVIL})
    card = json.loads((run / "evaluation.json").read_text())
    card["command"] = card["data"] = EVIL
    for values in (*card["rows"], card["protocol"]):
        for key, value in values.items():
            if isinstance(value, str) and key != "name":
                values[key] = EVIL
    write_json(run / "evaluation.json", card)
    page = report(run)
    assert len(page.all("script")) == 1
    assert (
        "alert"
        not in re.findall(r"<script>(.*?)</script>", (run / "report.html").read_text(), re.S)[0]
    )
    assert EVIL in page.text


def test_full_configuration_versions_and_commands_are_there(run):
    text = report(run).text
    for words in ("beta_max 0.001", "net dcgan64", "steps_per_epoch 60", "0.0.7", "2.13.0"):
        assert words in text
    assert f"foreframe train {run / 'run.json'} --data data/push --out NEW_RUN" in text


def test_without_an_evaluation_the_report_says_how_to_make_one(run):
    (run / "evaluation.json").unlink()
    (run / "evaluation.npz").unlink()
    text = report(run).text
    assert "has not been evaluated" in text
    assert text.count(f"foreframe evaluate {run} --data data/push") == 2
    assert "best validation PSNR 21.00 dB after epoch 2" in text


def test_a_run_without_an_epoch_says_how_to_go_on(run):
    for name in ("history.json", "evaluation.json", "evaluation.npz", "samples/epoch-001.gif"):
        (run / name).unlink()
    text = report(run).text
    assert f"foreframe train svg-small --data data/push --out {run} --resume" in text


def test_a_number_that_does_not_exist_is_not_made_up(run):
    card = json.loads((run / "evaluation.json").read_text())
    card["rows"][2] = {
        **row("permuted", "foreframe, conditions permuted", "of another", None, None),
        "why_none": "a single sequence",
    }
    write_json(run / "evaluation.json", card)
    text = report(run).text
    assert "of another; n/a: a single sequence n/a n/a" in text
    assert "wrong condition" not in text


def test_an_evaluation_older_than_the_weights_is_marked(run):
    assert "older than the weights" not in report(run).text
    (run / "model.safetensors").write_bytes(b"")
    later = (run / "evaluation.json").stat().st_mtime + 60
    os.utime(run / "model.safetensors", (later, later))
    assert "older than the weights" in report(run).text


def test_a_collapse_is_shown(run):
    (run / "samples" / "epoch-001.gif").rename(run / "samples" / "collapse-epoch-001.gif")
    text = report(run).text
    assert "This training collapsed (epoch 2)" in text
    assert "as the collapsed model predicts them: epoch 2" in text


@pytest.mark.parametrize("name", ["run.json", "history.json", "evaluation.json"])
@pytest.mark.parametrize("content", ['{"half', "[1, 2]", '"text"', '{"rows": 3}'])
def test_a_damaged_file_is_named_and_the_old_report_stays(run, name, content):
    write_report(run)
    before = (run / "report.html").read_bytes()
    (run / name).write_text(content)
    with pytest.raises(ForeframeError, match=re.escape(str(run / name))):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "shape", "missing"])
def test_damaged_frames_are_named(run, damage):
    path = run / "evaluation.npz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "shape":
        np.savez(path, truth=frames(0), prediction=frames(0)[:1], n_past=N_PAST)
    else:
        np.savez(path, truth=frames(0))
    with pytest.raises(ForeframeError, match=r"evaluation\.npz"):
        write_report(run)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ForeframeError, match=r"run\.json"):
        write_report(tmp_path)
