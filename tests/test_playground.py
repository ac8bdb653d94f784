"""The playground's page in a real browser."""

import io
import json
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from foreframe.runs.shipped import shipped
from foreframe.serve.app import make_app
from foreframe.serve.options import Limits, ServeOptions
from foreframe.serve.served import Served
from foreframe.simulator.episode import simulate_sequence
from foreframe.simulator.simulate import SimulateOptions, simulate

playwright = pytest.importorskip("playwright.sync_api")

SERIOUS = {"serious", "critical"}
READ = """() => [...document.querySelectorAll("#stage .imagined canvas")].map((canvas) =>
    [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data])"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        try:
            opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium to open the page in: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@contextmanager
def running(runs):
    """The service behind a real socket: its address."""
    import uvicorn

    limits = Limits(requests_per_second=10_000, steps_per_second=10_000)
    app = make_app(runs, ServeOptions(limits=limits))
    config = uvicorn.Config(app, port=0, log_level="critical", ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def address(played, toy_data):
    with running({"toy": Served("toy", played, toy_data, "cpu")}) as address:
        yield address


@pytest.fixture
def open_page(browser, address):
    """Pages, each of a visitor of its own; whatever they complain of fails the test."""
    contexts, complaints = [], []

    def opened(path="/", script=None, route=None, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                complaints.append(f"asks {request.url}")
                if not request.url.startswith((address, "blob:", "data:"))
                else None
            ),
        )
        if script:
            page.add_init_script(script)
        if route:
            page.route(*route)
        page.goto(address + path)
        page.wait_for_selector("body[data-ready=yes][data-t]")
        return page

    yield opened
    for context in contexts:
        context.close()
    # A refusal is noted on the console by the browser itself.
    assert not [said for said in complaints if "status of 422" not in said]


def reach(page, t):
    page.wait_for_function("t => Number(document.body.dataset.t) >= t", arg=t)


def hold(page, key, seconds=0.5, frames=2):
    """Hold a key so long, and on until so many frames have come, however slow the machine."""
    began = int(page.evaluate("document.body.dataset.t"))
    page.focus("#stage")
    page.keyboard.down(key)
    page.wait_for_timeout(1000 * seconds)
    reach(page, began + frames)
    page.keyboard.up(key)


def at(page, t):
    """The frames [K, H, W, 3] at a moment of the first branch, gone to by the keyboard."""
    page.focus("#timeline")
    page.keyboard.press("Home")
    for _ in range(t):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("t => Number(document.body.dataset.t) === t", arg=t)
    frames = np.array(page.evaluate(READ), np.int16)
    return frames.reshape(len(frames), 64, 64, 4)[..., :3]


def steered(open_page, key, seed=0):
    page = open_page()
    page.fill("#seed", str(seed))
    page.press("#seed", "Tab")
    page.click("#thumbnails button >> nth=1")
    page.wait_for_selector("#thumbnails button[data-sequence='1'][aria-selected=true]")
    page.fill("#speed", "8")
    hold(page, key, 2.0, frames=8)
    return at(page, 8)


def test_steering_shows_in_the_frames(open_page):
    """Left and right lead apart, clearly more than another draw of z does."""
    left, right = steered(open_page, "ArrowLeft"), steered(open_page, "ArrowRight")
    again = steered(open_page, "ArrowLeft", seed=1)
    between_directions = np.abs(left - right).mean()
    between_equals = np.abs(left - again).mean()
    assert between_equals > 0
    assert between_directions > 1.2 * between_equals
    assert np.abs(left - steered(open_page, "ArrowLeft")).max() == 0, "the same seed and keys"


def test_time_goes_on_only_while_something_is_held_or_runs(open_page):
    page = open_page()
    assert page.evaluate("document.body.dataset.t") == "0"
    hold(page, "ArrowUp")
    stopped = page.evaluate("document.body.dataset.t")
    assert int(stopped) > 1
    page.wait_for_timeout(500)
    assert int(page.evaluate("document.body.dataset.t")) <= int(stopped) + 1
    page.keyboard.press(" ")
    reach(page, int(stopped) + 4)
    page.keyboard.press(" ")
    assert page.inner_text("#run-button") == "Run"


def test_dragging_and_a_gamepad_steer_too(open_page):
    page = open_page()
    box = page.locator("#stage canvas").first.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 50, steps=4)
    reach(page, 3)
    assert "translate(27" in page.get_attribute("#knob", "style")
    page.mouse.up()
    pad = "navigator.getGamepads = () => [{connected: true, axes: [-1, 0, 0, 0]}]"
    page = open_page(script=pad)
    reach(page, 3)
    assert "translate(-27" in page.get_attribute("#knob", "style")


def test_the_knob_is_dragged(open_page):
    page = open_page()
    box = page.locator("#pad").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - box["height"], steps=3)
    reach(page, 2)
    assert "-27px" in page.get_attribute("#knob", "style")
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('#knob').style.transform.includes('(0')")


def test_nothing_jumps_and_everything_shows_without_scrolling(open_page):
    """At 1280 x 860, for 1 to 8 futures: the pictures fill their room, time's buttons stay."""
    page = open_page()
    page.set_viewport_size({"width": 1280, "height": 860})
    page.click("#welcome-off")
    below = lambda: page.locator("#run-button").bounding_box()["y"]  # noqa: E731
    before = below()
    for count in (1, 2, 3, 5, 8):  # 4 at first
        with page.expect_response("**/api/sessions"):
            page.fill("#samples", str(count))
        page.wait_for_selector("#stage .given")
        page.wait_for_timeout(200)
        page.click("#step")
        page.wait_for_selector(f"#stage[data-cells='{count}'] .imagined")
        assert below() == before
        stage = page.locator("#stage").bounding_box()
        boxes = [one.bounding_box() for one in page.locator("#stage .cell").all()]
        assert all(box["y"] + box["height"] <= stage["y"] + stage["height"] + 1 for box in boxes)
        whole = sum(box["width"] * box["height"] for box in boxes)
        assert whole > 0.45 * stage["width"] * stage["height"]
    for name in ("#run-button", "#share", "#timeline", "#pick", "#samples", "#thumbnails"):
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= 860, name


def test_keys_are_listed_and_what_it_is_is_said(open_page):
    page = open_page()
    assert page.is_visible("#welcome")
    page.click("#welcome-off")
    assert page.is_hidden("#welcome")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("ArrowRight")  # nobody steers behind it
    assert page.evaluate("document.body.dataset.t") == "0"
    page.keyboard.press("Escape")
    assert page.is_hidden("#keys")
    page.reload()
    page.wait_for_selector("body[data-ready=yes][data-t]")
    assert page.is_hidden("#welcome")
    page.click("#about")
    assert page.is_visible("#welcome")


def test_a_reload_goes_on_from_there(open_page):
    page = open_page()
    page.check("#heat")
    hold(page, "ArrowRight")
    page.click("#step")
    page.wait_for_timeout(1200)
    t = page.evaluate("document.body.dataset.t")
    frames = page.evaluate(READ)
    page.reload()
    page.wait_for_selector("body[data-ready=yes][data-t]")
    page.wait_for_function("t => document.body.dataset.t === t", arg=t)
    assert page.evaluate(READ) == frames
    assert page.is_checked("#heat")


def test_which_way_is_which_is_said_and_changed(open_page):
    page = open_page()
    page.click("text=Which way is which")
    assert "Left and right: action 1. Up and down: action 2." in page.inner_text("#axes-note")
    page.click("#swap")
    page.click("#flip-x")
    assert "Left and right: action 2, reversed. Up" in page.inner_text("#axes-note")


def test_rewinding_and_branching(open_page):
    page = open_page()
    for _ in range(3):
        page.click("#step")
    reach(page, 3)
    kept = at(page, 3)
    page.keyboard.press(",")
    page.keyboard.press(",")
    page.wait_for_function("() => document.body.dataset.t === '1'")
    hold(page, "ArrowRight")
    assert page.evaluate("document.body.dataset.lanes") == "2"
    assert "branch 2 of 2" in page.inner_text("#state")
    page.click("#branch")  # back to where the two part
    page.wait_for_function("() => document.body.dataset.t === '1'")
    np.testing.assert_array_equal(at(page, 3), kept)  # the first branch is as it was


def test_the_recording_replayed_is_scored(open_page, played, toy_data):
    page = open_page()
    page.click("#replay")
    reach(page, 12)
    page.wait_for_function("() => document.querySelector('#replay').ariaPressed === 'false'")
    assert page.locator("#stage .recorded").count() == 1
    assert page.locator("#psnr-chart path").count() == 3  # best, mean, standing still
    shown = [
        float(text.split(" dB")[0])
        for text in page.locator("#stage .imagined figcaption span:last-child").all_inner_texts()
    ]
    frames = at(page, 12)
    truth = Served("toy", played, toy_data, "cpu").recording(0).frames[13].astype(float)
    mse = ((frames - truth) ** 2).mean(axis=(1, 2)) / 255**2
    np.testing.assert_allclose(shown, (-10 * np.log10(mse)).mean(-1), atol=0.06)


def test_disagreement_is_shown(open_page):
    page = open_page()
    page.check("#heat")
    page.click("#step")
    reach(page, 1)
    assert page.locator("#stage .map").count() == 1
    assert float(page.inner_text("#stage .map figcaption span:last-child").split()[-1]) > 0.2
    page.select_option("#z-mode", "directions")
    page.locator("#directions input").first.fill("2")
    page.click("#step")
    reach(page, 2)


def test_saving_a_gif(open_page):
    page = open_page()
    for _ in range(4):
        page.click("#step")
    reach(page, 4)
    with page.expect_download() as saved:
        page.click("[data-save=gif]")
    with open(saved.value.path(), "rb") as file:
        picture = Image.open(io.BytesIO(file.read()))
    assert picture.n_frames == 2 + 4
    with page.expect_download() as saved:
        page.click("[data-save=lab]")
    assert saved.value.suggested_filename.endswith(".zip")


CATCH = """const Real = WebSocket; window.sockets = [];
window.WebSocket = class extends Real { constructor(...a) { super(...a); sockets.push(this); } };"""


def test_a_dropped_connection_comes_back_and_goes_on(open_page):
    whole = open_page()
    for _ in range(6):
        whole.click("#step")
    reach(whole, 6)
    expected = at(whole, 6)
    page = open_page(script=CATCH)
    for _ in range(2):
        page.click("#step")
    reach(page, 2)
    page.evaluate("sockets.at(-1).close()")
    for _ in range(2):
        page.click("#step")
    reach(page, 4)
    assert page.evaluate("sockets.length") == 2
    # And when the service has forgotten the session altogether, the page plays it again.
    page.evaluate(
        "fetch(sockets.at(-1).url.replace('ws', 'http').replace('/steps', ''), {method: 'DELETE'})"
    )
    page.wait_for_timeout(200)
    for _ in range(2):
        page.click("#step")
    reach(page, 6)
    np.testing.assert_array_equal(at(page, 6), expected)


def test_frames_that_the_page_dropped_come_back(open_page):
    """A long session does not fill the browser's memory: what is far away is imagined again."""

    def few(route):
        answer = route.fetch()
        text = answer.text()
        assert "FRAMES_KEPT = 2000" in text
        route.fulfill(response=answer, body=text.replace("FRAMES_KEPT = 2000", "FRAMES_KEPT = 3"))

    page, other = open_page(route=("**/session.js", few)), open_page()
    for each in (page, other):
        for _ in range(8):
            each.click("#step")
        reach(each, 8)
    for t in (2, 1, 7):
        np.testing.assert_array_equal(at(page, t), at(other, t))


def test_a_link_shows_the_same(open_page, address):
    page = open_page()
    page.click("#thumbnails button >> nth=2")
    page.wait_for_selector("#thumbnails button[data-sequence='2'][aria-selected=true]")
    page.fill("#seed", "7")
    page.press("#seed", "Tab")
    page.wait_for_timeout(300)
    hold(page, "ArrowDown")
    page.select_option("#z-mode", "fixed")
    page.click("#step")
    page.wait_for_timeout(300)
    t = int(page.evaluate("document.body.dataset.t"))
    page.click("#share")
    page.wait_for_function("() => location.hash.startsWith('#play=')")
    link = page.evaluate("location.hash")
    other = open_page("/" + link)
    reach(other, t)
    np.testing.assert_array_equal(at(other, t), at(page, t))


def test_a_damaged_link_is_said_to_be(browser, address):
    page = browser.new_page()
    page.goto(address + "/#play=AAAA")
    page.wait_for_selector("#notice:not([hidden])")
    page.wait_for_selector("#notice:has-text('damaged')")
    page.close()


def test_an_upload_is_played(open_page, played, toy_data, tmp_path):
    frames = Served("toy", played, toy_data, "cpu").recording(0).frames[:4]
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
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    page.set_input_files("#upload-frames", tmp_path / "no.png")
    with page.expect_response("**/api/uploads") as answer:
        page.click("text=Upload and play")
    assert answer.value.status == 422
    page.wait_for_selector("#upload-notice:not([hidden])")
    assert "cannot be read as a picture" in page.inner_text("#upload-notice")
    assert page.locator("#upload-notice").evaluate("one => one.closest('form') !== null")
    assert page.is_hidden("#notice")
    # So are those that only show when it is to be played.
    page.set_input_files("#upload-frames", files[0])
    with page.expect_response("**/api/sessions") as answer:
        page.click("text=Upload and play")
    assert answer.value.status == 422
    page.wait_for_selector("#upload-notice:has-text('2 frames are needed')")
    page.set_input_files("#upload-frames", files)
    page.click("text=Upload and play")
    page.wait_for_selector("#upload-notice", state="hidden")


def test_what_is_to_be_known_of_the_data_is_said(browser, played, tmp_path):
    """A run without its data: its page says so, and how to bring a recording."""
    run = tmp_path / "moved"
    shutil.copytree(played, run)
    values = json.loads((run / "run.json").read_text())
    values["dataset"]["path"] = values["data"] = "/nowhere/data"
    (run / "run.json").write_text(json.dumps(values))
    with running({"moved": Served("moved", run, None, "cpu")}) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#data-notes:not([hidden])")
        assert "/nowhere/data" in page.inner_text("#data-notes")
        page.wait_for_selector("#notice:has-text('upload one')")
        page.close()


def test_the_training_is_drawn(open_page):
    page = open_page()
    page.click("#tab-training")
    page.wait_for_selector("#training-charts figure path")
    assert page.locator("#training-charts figure").count() >= 6
    assert "2 of 2 epochs" in page.inner_text("#training-state")
    page.wait_for_selector("#training-words section")
    assert "Not looked at yet: foreframe probe toy" in page.inner_text("#training-words")


@pytest.fixture(scope="module")
def pushing(tmp_path_factory):
    """The address of a service of the shipped model on scenes of the simulator."""
    data = tmp_path_factory.mktemp("pushing") / "data"
    simulate(data, SimulateOptions(sequences=4, validate=1, test=2))
    with running({"push": Served("push", shipped("push"), data, "cpu")}) as address:
        yield address


@pytest.fixture
def push_page(browser, pushing):
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(30_000)
    page.goto(pushing)
    page.wait_for_selector("body[data-ready=yes][data-t]")
    page.fill("#samples", "2")
    page.fill("#speed", "20")
    yield page
    page.close()


def click_at(page, place, cell=1):
    """Click on a picture at shares of its width and height."""
    box = page.locator("#stage canvas").nth(cell).bounding_box()
    inner = [box[side] - 6 for side in ("width", "height")]
    page.mouse.click(
        float(box["x"] + 3 + place[0] * inner[0]), float(box["y"] + 3 + place[1] * inner[1])
    )


def choose(page, thing, place):
    page.click("#pick")
    click_at(page, thing)
    click_at(page, place)


def test_an_object_and_a_place_are_clicked_and_the_plan_is_carried_out(push_page):
    """What was thought of shows, then the plan goes on in the imagination and the simulator."""
    page = push_page
    page.check("#both")
    page.wait_for_function("() => document.body.dataset.t === '0'")
    thing = simulate_sequence(0, 2, 0).tracks()[1].reshape(-1, 2)[4]
    page.fill("#plan-steps", "6")
    choose(page, thing, thing + np.array([-0.1, 0.05]))
    page.wait_for_selector("#plan-notes:has-text('futures of 6 frames')")
    assert page.locator("#stage .ghosts").count() == 1
    marks = page.locator("#stage .cell").nth(0)
    assert marks.locator(".marks .ghost").count() == 8
    assert marks.locator(".marks .plan").count() == 1
    assert page.evaluate("document.body.dataset.t") == "0"  # it is looked at first
    reach(page, 6)
    page.wait_for_function("() => document.querySelector('#run-button').textContent === 'Run'")
    assert page.evaluate("document.body.dataset.t") == "6"
    assert page.inner_text("#stage .recorded figcaption span") == "Simulator"
    assert page.locator("#psnr-chart path").count() == 3  # best, mean, standing still
    assert "the simulator" in page.inner_text("#truth-words")
    page.click("#plan-on")
    reach(page, 7)
    page.click("#plan-off")
    assert page.locator(".marks *").count() == 0


def test_keys_move_both_the_simulator_and_the_imagination(push_page):
    page = push_page
    page.check("#both")
    page.wait_for_timeout(500)
    hold(page, "ArrowRight", 0.5, frames=4)
    simulator = "() => [...document.querySelector('#stage .recorded canvas').getContext('2d')"
    simulator += ".getImageData(0, 0, 64, 64).data]"
    moved = np.array(page.evaluate(simulator), float).reshape(64, 64, 4)[..., :3]
    imagined = np.array(page.evaluate(READ), float).reshape(-1, 64, 64, 4)[0, ..., :3]
    given = simulate_sequence(0, 2, 0).frames[1].astype(float)
    assert np.abs(moved - given).mean() > np.abs(moved - imagined).mean()


def test_sliders_follow_the_keys(push_page):
    page = push_page
    slider = page.locator("#other-actions input").first
    rest = float(slider.input_value())
    page.focus("#stage")
    page.keyboard.down("e")
    reach(page, 1)
    assert float(slider.input_value()) > rest
    page.keyboard.up("e")
    page.wait_for_timeout(200)
    assert float(slider.input_value()) == pytest.approx(rest)


def test_a_place_is_chosen_by_keyboard_too(push_page):
    page = push_page
    page.focus("#stage")
    page.keyboard.press("g")
    assert "Click on an object" in page.inner_text("#plan-notes")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "Now click on the place" in page.inner_text("#plan-notes")
    assert page.evaluate("document.body.dataset.t") == "0"  # nobody steers meanwhile
    page.keyboard.press("Escape")
    assert page.locator(".marks *").count() == 0
    assert page.inner_text("#plan-notes") == ""


def test_a_place_without_an_object_is_said_to_be(push_page):
    page = push_page
    choose(page, (0.05, 0.05), (0.5, 0.5))
    page.wait_for_selector("#notice:has-text('no object there')")
    page.fill("#goal-frame", "9")
    page.fill("#plan-steps", "3")
    page.click("#plan-picture")
    page.wait_for_selector("#stage .goal")
    reach(page, 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(open_page, scheme, width):
    """No serious finding of axe, nothing cut off at the side."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 850})
    page.check("#heat")
    page.click("#step")
    reach(page, 1)
    for summary in page.locator("summary").all():
        summary.click()
    for tab in ("#tab-play", "#tab-training"):
        page.click(tab)
        page.wait_for_timeout(300)
        found = [
            (violation["id"], violation["nodes"][0]["html"][:120])
            for violation in axe.run(page).response["violations"]
            if violation["impact"] in SERIOUS
        ]
        assert not found
        assert page.evaluate("document.documentElement.scrollWidth") <= width
