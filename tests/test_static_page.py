"""The page that needs no service, in a real browser, from a plain file server and nothing else."""

import functools
import gzip
import http.server
import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreframe.commands.app import main
from foreframe.serve.served import Served
from tests.test_playground import READ, SERIOUS, at, browser, hold, reach

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("onnxscript")

__all__ = ["browser"]

STUB = """
// Stands in for the runtime: a frame is the last one, brighter or darker by the first number.
export const env = { wasm: {} };
export class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims }); }
}
const run = async (fed) => {
  if (fed.frames) {
    const [, t, c, h, w] = fed.frames.dims;
    const [samples, last] = [fed.noise.dims[0], fed.frames.data.slice(-c * h * w)];
    const x = new Float32Array(samples * c * h * w);
    for (let k = 0; k < samples; k++) {
      x.set(last.map((v) => v + 0.002 * fed.noise.data[k]), k * c * h * w);
    }
    return { x: new Tensor("float32", x, [samples, c, h, w]) };
  }
  const by = 0.01 * fed.action.data[0];
  const x = new Tensor("float32", fed.x.data.map((v) => v + by), fed.x.dims);
  return { frames: x, "x.next": x };
};
export const InferenceSession = { create: async (bytes) => {
  if (!(bytes instanceof Uint8Array) || bytes.length < 100) throw new Error("no graph");
  return { run };
} };
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    dist = tmp_path_factory.mktemp("runtime")
    (dist / "ort.wasm.min.mjs").write_text(STUB)
    (dist / "ort-wasm-simd-threaded.mjs").write_text("")
    (dist / "ort-wasm-simd-threaded.wasm").write_bytes(bytes(1000))
    return dist


@pytest.fixture(scope="module")
def exported(tmp_path_factory, played, toy_data, runtime):
    """The page of a run, whose graphs are read and whose frames the stand-in makes."""
    import jaxtyping

    out = tmp_path_factory.mktemp("page") / "out"
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        words = ["--data", str(toy_data), "--runtime", str(runtime), "--sequences", "4"]
        main(["export", "page", str(played), str(out), *words])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    return out


@pytest.fixture(scope="module")
def address(exported):
    """Of a plain file server: no header that a static host would not give."""
    told = json.loads((exported / "model" / "model.json").read_text())
    told["state"] = [{"name": "x", "futures_axis": 0, "changes": True}]
    shape = ["futures", 3, 64, 64]
    inputs = [one for one in told["step"]["inputs"] if one["name"] in ("action", "position")]
    told["step"]["inputs"] = [*inputs, {"name": "x", "shape": shape, "type": "float32"}]
    (exported / "model" / "model.json").write_text(json.dumps(told))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *said):
            pass

    handler = functools.partial(Quiet, directory=str(exported))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def open_page(browser, address):
    pages, complaints = [], []

    def opened(hash="", **options):
        context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        # The network is gone, but for the server of the files.
        page.route(
            lambda url: not url.startswith((address, "blob:", "data:")),
            lambda route: (complaints.append(f"asks {route.request.url}"), route.abort()),
        )
        page.goto(address + hash)
        page.wait_for_selector("body[data-ready=yes][data-t]")
        pages.append(context)
        return page

    yield opened
    for context in pages:
        context.close()
    assert not complaints


def test_steering_branching_and_going_back(open_page, exported, played, toy_data):
    page = open_page()
    hold(page, "ArrowRight", 0.6, frames=4)
    brighter, middle = at(page, 4).mean(), at(page, 2).mean()
    given = np.asarray(Served("toy", played, toy_data, "cpu").recording(0).frames[1]).mean()
    assert brighter > middle > given - 1
    kept = at(page, 4)
    page.keyboard.press("Home")
    hold(page, "ArrowLeft", 0.4, frames=3)
    assert page.evaluate("document.body.dataset.lanes") == "2"
    darker = np.array(page.evaluate(READ), float).reshape(-1, 64, 64, 4)[..., :3].mean()
    assert darker < given + 1
    page.click("#branch")
    np.testing.assert_array_equal(at(page, 4), kept)


def test_the_recordings_frames_come_through_exactly(open_page, played, toy_data):
    page = open_page()
    page.wait_for_selector("#stage .given canvas")
    script = READ.replace(".imagined", ".given")
    shown = np.array(page.evaluate(script), int).reshape(-1, 64, 64, 4)[..., :3]
    expected = np.asarray(Served("toy", played, toy_data, "cpu").recording(0).frames[:2], int)
    np.testing.assert_array_equal(shown, expected)
    page.click("#replay")
    reach(page, 3)
    assert page.locator("#stage .recorded").count() == 1
    assert page.is_hidden("#tab-training")
    assert page.is_hidden("#go-there")


def test_a_gif_is_written_in_the_browser(open_page):
    page = open_page()
    for _ in range(3):
        page.click("#step")
    reach(page, 3)
    shown = np.array(page.evaluate(READ), float).reshape(-1, 64, 64, 4)[..., :3]
    with page.expect_download() as saved:
        page.click("[data-save=gif]")
    picture = Image.open(io.BytesIO(Path(saved.value.path()).read_bytes()))
    assert picture.n_frames == 2 + 3
    picture.seek(4)
    drawn = np.asarray(picture.convert("RGB"), float)[::3, ::3]
    assert drawn.shape == (68, 4 * 68, 3)
    first = drawn[2:66, 2:66]
    assert np.abs(first - shown[0]).mean() < 8  # 256 colours
    assert page.is_hidden("[data-save=mp4]")


def test_a_link_and_a_reload_show_the_same(open_page):
    page = open_page()
    hold(page, "ArrowRight")
    page.click("#step")
    page.wait_for_timeout(1200)
    t, frames = page.evaluate("document.body.dataset.t"), page.evaluate(READ)
    link = page.evaluate("location.hash")
    page.reload()
    page.wait_for_selector("body[data-ready=yes][data-t]")
    page.wait_for_function("t => document.body.dataset.t === t", arg=t)
    assert page.evaluate(READ) == frames
    other = open_page(link)
    other.wait_for_function("t => document.body.dataset.t === t", arg=t)
    assert other.evaluate(READ) == frames


def test_ones_own_frames_stay_on_the_machine(open_page, played, toy_data, tmp_path):
    frames = Served("toy", played, toy_data, "cpu").recording(1).frames[:2]
    files = []
    for t, frame in enumerate(frames):
        files.append(tmp_path / f"{t}.png")
        Image.fromarray(np.asarray(frame)).save(files[-1])
    page = open_page()
    page.click("text=Upload your own")
    page.set_input_files("#upload-frames", files)
    page.click("text=Upload and play")
    page.wait_for_selector("#thumbnails:not(:has([aria-selected=true]))")
    page.click("#step")
    reach(page, 1)
    (tmp_path / "no.png").write_bytes(b"no picture")
    page.set_input_files("#upload-frames", [tmp_path / "no.png", files[0]])
    page.click("text=Upload and play")
    page.wait_for_selector("#upload-notice:has-text('no.png: cannot be read as a picture')")
    page.set_input_files("#upload-frames", files[:1])
    page.click("text=Upload and play")
    page.wait_for_selector("#upload-notice:has-text('2 frames are needed')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 850})
    page.click("#step")
    reach(page, 1)
    found = [
        (violation["id"], violation["nodes"][0]["html"][:120])
        for violation in axe.run(page).response["violations"]
        if violation["impact"] in SERIOUS
    ]
    assert not found
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_in_the_folder(exported):
    packed = exported / "vendor" / "ort-wasm-simd-threaded.wasm.gz"
    assert gzip.decompress(packed.read_bytes()) == bytes(1000)
    assert "service" not in (exported / "backend.js").read_text()
    assert not (exported / "service.js").exists()
    listed = json.loads((exported / "starts" / "starts.json").read_text())["items"]
    assert len(listed) == 3  # all that there are
    assert len(listed[0]["actions"]) == listed[0]["frames"]
    text = (exported / "index.html").read_text()
    assert "http://" not in text
    assert "https://" not in text


def test_what_cannot_be_exported_is_refused_in_a_line(
    tmp_path, capsys, played, runtime, monkeypatch
):
    def refused(*words):
        with pytest.raises(SystemExit) as ended:
            main(["export", "page", *map(str, words)])
        assert ended.value.code == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1
        return said

    (tmp_path / "there").mkdir()
    assert "exists" in refused(played, tmp_path / "there", "--runtime", runtime)
    assert "holds no ort.wasm.min.mjs" in refused(played, tmp_path / "a", "--runtime", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert "npm, which would fetch" in refused(played, tmp_path / "a")
    assert not (tmp_path / "a").exists()


REAL = os.environ.get("ONNXRUNTIME_WEB", "node_modules/onnxruntime-web/dist")


@pytest.mark.skipif(not Path(REAL).is_dir(), reason="onnxruntime-web is not at hand")
def test_the_real_runtime_draws_what_pytorch_draws(browser, tmp_path):
    """The shipped model in WebAssembly: pictures, and no error."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        main(["export", "page", "push", str(tmp_path / "page"), "--runtime", REAL])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "page")
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("body[data-ready=yes][data-t]")
        page.click("#step")
        reach(page, 1)
        frames = np.array(page.evaluate(READ), float)
        assert frames.std() > 20
        page.close()
        server.shutdown()
