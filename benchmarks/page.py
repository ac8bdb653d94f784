"""The page that needs no service: bytes before the first frame, seconds to it, steps a second.

python benchmarks/page.py --runtime node_modules/onnxruntime-web/dist     the model of the package
python benchmarks/page.py --run runs/demo

The page comes from a plain file server on this machine; headless Chromium runs the model in
WebAssembly. Steps are asked for one after another, as fast as they come.
"""

import functools
import http.server
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from foreframe.serve.static_page import export_page

STEP = """async ([count, samples]) => {
    const backend = await import("./backend.js");
    const [run] = await backend.runs();
    const begun = await backend.begin({ run: run.run, sequence: 0, samples, seed: 0 });
    const line = new backend.Line(begun.session, () => {});
    const action = run.actions.map(({ deviation }) => deviation / 2);
    const took = [];
    for (let t = 0, from = 0; t < count; t++) {
        const start = performance.now();
        from = (await line.ask({ from, action, position: null, z: null })).node;
        took.push(performance.now() - start);
    }
    return took;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *said: Any) -> None:
        pass


def first_frame(page: Page, address: str) -> tuple[float, int]:
    """Seconds from the address to the first imagined frame, and bytes that were read."""
    read = [0]

    def count(response: Any) -> None:
        read[0] += int(response.headers.get("content-length", 0))

    page.on("response", count)
    begun = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("body[data-ready=yes][data-t]", timeout=120_000)
    page.click("#step")
    page.wait_for_function("() => document.body.dataset.t === '1'", timeout=120_000)
    return time.perf_counter() - begun, read[0]


def main() -> None:
    parser = results.options(__doc__)
    parser.add_argument("--run", type=Path, default=Path("push"))
    parser.add_argument("--runtime", type=Path, help="the folder dist of onnxruntime-web")
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    device = results.set_up(given)
    rows = []
    with TemporaryDirectory() as aside, sync_playwright() as started:
        folder = Path(aside) / "page"
        export_page(given.run, folder, runtime=given.runtime, log=lambda said: None)
        handler = functools.partial(Quiet, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}/"
            found = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page()
            seconds, size = first_frame(page, address)
            for samples in (1, 4):
                took = sorted(page.evaluate(STEP, [given.steps, samples])[5:])
                median, late = statistics.median(took), took[int(0.95 * len(took))]
                rows.append([str(samples), f"{median:.0f}", f"{late:.0f}", f"{1000 / median:.0f}"])
            browser.close()
            server.shutdown()
    text = (
        f"**The page without a service: {given.run}.** {size / 1e6:.1f} MB read before the first "
    )
    text += f"imagined frame, which is there after {seconds:.1f} s.\n\n"
    text += results.table(["futures", "ms a step, median", "95 % within", "steps/s"], rows)
    results.publish(given, device, f"page {given.run}", text)


if __name__ == "__main__":
    main()
