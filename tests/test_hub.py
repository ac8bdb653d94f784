"""Sharing a model: pushed to a stand-in of the Hub's API, and loaded from there."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.commands.app import main

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks when a small model is pushed and loaded."""

    files: dict[str, bytes]
    seen: list[str]
    address: str

    def log_message(self, *words):
        pass

    def answer(self, value, status=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        self.seen.append(f"{self.path} {self.headers.get('authorization')}")
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            self.answer({"url": f"{self.address}/me/{name}", "name": name, "id": f"me/{name}"})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": path, **modes} for path in paths]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            self.answer(
                {"commitUrl": f"{self.address}/me/toy/commit/{REVISION}", "commitOid": REVISION}
            )
        else:
            self.answer({"valid": True})

    def do_GET(self):
        found = re.fullmatch(r"/me/toy/resolve/[^/]+/(.+)", self.path)
        if found and found[1] in self.files:
            self.answer(
                self.files[found[1]],
                ETag=f'"{abs(hash(found[1]))}"',
                X_Repo_Commit=REVISION,
                Accept_Ranges="bytes",
            )
        elif self.path.startswith("/api/models/me/toy"):
            self.answer({"id": "me/toy", "sha": REVISION, "siblings": []})
        elif self.path.startswith("/api/whoami"):
            self.answer({"type": "user", "name": "me"})
        else:
            self.answer({"error": "nothing there"}, 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub():
    handler = type("Handler", (Hub,), {"files": {}, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.address = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


def with_hub(hub, home, code):
    """In a process of its own: the Hub's address is read when the library is imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scored(played, toy_data):
    main(f"evaluate {played} --data {toy_data} --n-future 6".split())
    return played


def test_a_pushed_model_is_the_same_when_it_comes_back(hub, scored, tmp_path):
    out = with_hub(
        hub,
        tmp_path,
        "import torch; from foreframe import VideoCVAE\n"
        f"own = VideoCVAE.from_pretrained({str(scored)!r})\n"
        "own.push_to_hub('me/toy', token='hf_word')\n"
        "back = VideoCVAE.from_pretrained('me/toy')\n"
        "pairs = zip(own.state_dict().values(), back.state_dict().values(), strict=True)\n"
        "print(back.config == own.config, all(torch.equal(a, b) for a, b in pairs))\n",
    )
    assert out.split() == ["True", "True"]
    assert set(hub.files) >= {"config.json", "model.safetensors", "README.md"}
    assert not [name for name in hub.files if name.endswith((".bin", ".pt", ".pkl"))]
    assert all("hf_word" in line for line in hub.seen if "commit" in line)
    card = hub.files["README.md"].decode()
    assert 'from_pretrained("me/toy")' in card


def test_the_card_says_what_the_model_is_and_what_it_scored(scored):
    made = VideoCVAE.from_pretrained(scored).generate_model_card(repo_id="me/toy")
    text = str(made)
    assert made.data.library_name == "foreframe"
    assert "video-prediction" in made.data.tags
    card = json.loads((scored / "evaluation.json").read_text())
    row = card["rows"][0]
    assert f"| {row['psnr']:.2f} | {row['ssim']:.3f} |" in text
    assert "copy the last given frame" in text
    assert "4 numbers of action and 3 of the end effector's position" in text
    assert "actions + positions, source-time" in text


def test_the_card_of_a_state_with_places_speaks_of_its_own_parts():
    small = {"width": 0.25, "g_dim": 16, "z_dim": 64, "rnn_size": 8, "things": 3}
    text = str(VideoCVAE(ModelConfig("places64", **small)).generate_model_card())
    assert "a scene of 8 channels, 3 things" in text
    assert "64 numbers an episode, a learned prior" in text
    assert not [word for word in ("SVG", "LSTM", "skips", "a step,") if word in text]


def test_scores_of_other_weights_are_left_out(scored):
    model = VideoCVAE.from_pretrained(scored)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    text = str(model.generate_model_card())
    assert "without scores" in text
    assert "copy the last" not in text


def test_the_cards_program_runs(scored, monkeypatch):
    text = str(VideoCVAE.from_pretrained(scored).generate_model_card(repo_id=str(scored)))
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    names = {
        "past": torch.rand(1, 2, 3, 64, 64),
        "actions": torch.zeros(1, 8, 4),
        "positions": torch.zeros(1, 8, 3),
    }
    exec(code, names)
    assert names["futures"].shape == (1, 8, 6, 3, 64, 64)


@pytest.mark.parametrize(
    "name",
    ["runs/nope", "./nope", "a/b/c", "nope", "/nowhere/at/all", Path("owner/model"), "~/runs/demo"],
)
def test_what_can_only_be_a_folder_is_not_asked_for_on_the_hub(name, tmp_path, monkeypatch):
    """Asking would take half a minute without a network, and with one find a stranger's model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("foreframe.runs.weights.hf_hub_download", pytest.fail)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", pytest.fail)
    with pytest.raises(ForeframeError, match=rf"^{re.escape(str(name))}: no such folder"):
        VideoCVAE.from_pretrained(name)


def test_a_name_of_the_hub_can_be_kept_from_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", pytest.fail)
    with pytest.raises(ForeframeError, match=r"^owner/model: no such folder"):
        VideoCVAE.from_pretrained("owner/model", hub=False)
