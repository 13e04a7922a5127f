"""What people see: two browsers on one queue, driven through Chromium."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from .front import LateHello
from .server import until

ROOT = Path(__file__).parents[2]
STEP_S = 0.04  # seconds a step of the demo takes
DEADLINE = 20_000  # ms for anything to appear
START = 60.0  # seconds a server may take, its first fetch of the socket library included
HOSTILE = '<img src=x onerror="window.hacked = 1"> \u202egnal\u202c \U0001f3d4\ufe0f flowers'
LIVE = '.q-state[data-state="live"]'


class Server:
    """``python -m queue_ext serve`` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "queue_ext",
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(self.folder / "data"),
        ]
        environ = {**os.environ, "QUEUE_EXT_DEMO_STEP_S": str(STEP_S)}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        _until(self.answers, START, lambda: (self.folder / "server.log").read_text())

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with suppress(OSError):
            urllib.request.urlopen(f"{self.address}/queue-ext/v1/health", timeout=2).close()
            return True
        return False

    def post(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/queue-ext/v1/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def _until(true: Callable[[], Any], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("page"))
    yield running
    running.stop()


@pytest.fixture
def opened(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Opens the page as somebody new; ends with no error of ours in any console."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def heard(message: Any) -> None:
        # Gradio's own page asks a public network for a script that it does not need.
        if message.type == "error" and "cdnjs" not in str(message.location):
            troubles.append(f"{message.text} {message.location}")

    def open_page(
        width: int = 1280,
        expect_live: bool = True,
        clock: bool = False,
        path: str = "",
        at: Server = server,
        **options: Any,
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE)
        page.on("console", heard)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.troubles = troubles
        if clock:
            page.clock.install()
        page.goto(at.address + path)
        if expect_live:
            page.locator(LIVE).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    server.post("jobs/actions", {"action": "cancel", "filter": {}})  # nothing is left behind for the next test
    assert not troubles


def _fill(page: Any, prompt: str, steps: int = 20) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Steps").first.fill(str(steps))


def _enqueue(page: Any, prompt: str, steps: int = 20) -> None:
    _fill(page, prompt, steps)
    page.get_by_role("button", name="Enqueue").click()
    page.locator(".q-toast", has_text="Queued").last.wait_for()


def _submit(page: Any, *prompts: str, steps: int = 20) -> None:
    """As another program of the same person would."""
    jobs = [
        {"task": "txt2img", "payload": {"prompt": prompt, "steps": steps, "width": 64, "height": 64}}
        for prompt in prompts
    ]
    page.evaluate(
        """async (jobs) => {
          const headers = { 'Content-Type': 'application/json' };
          await fetch('queue-ext/v1/jobs/batch', { method: 'POST', headers, body: JSON.stringify({ jobs }) });
        }""",
        jobs,
    )


def _row(page: Any, prompt: str) -> Any:
    return page.locator(".q-row", has_text=prompt)


def _expect_text(locator: Any, text: "str | re.Pattern[str]") -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_text(text, timeout=DEADLINE)


def _expect_count(locator: Any, count: int) -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_count(count, timeout=DEADLINE)


def _clear(page: Any) -> None:
    page.evaluate(
        """async () => {
          const headers = { 'Content-Type': 'application/json' };
          const filter = { state: ['enqueued', 'processing', 'scheduled'] };
          const body = JSON.stringify({ action: 'cancel', filter });
          await fetch('queue-ext/v1/jobs/actions', { method: 'POST', headers, body });
        }"""
    )
    page.locator(".q-quiet").wait_for()


def test_pictures_are_queued_count_down_and_appear(opened: Callable[..., Any]) -> None:
    """Anna and Ben take turns; Ben's second picture moves up when Anna cancels one, and both see their pictures."""
    anna, ben = opened(), opened()
    anna.get_by_label("Pictures", exact=True).fill("50")
    _enqueue(anna, "a lighthouse at dusk", steps=150)
    anna.locator(".q-running .q-prompt", has_text="lighthouse").wait_for()
    anna.locator(".q-frame img:not([hidden])").wait_for()
    _submit(anna, "a forest in winter", HOSTILE)
    _submit(ben, "a desert at night", "a city in the rain")

    for page in (anna, ben):
        _expect_count(page.locator(".q-row"), 4)
    _expect_text(_row(ben, "desert").locator(".q-place"), "1")
    _expect_text(_row(ben, "city").locator(".q-place"), "3")
    _expect_text(_row(ben, "city").locator(".q-before"), "3 before it")
    _expect_text(ben.locator(".q-own"), re.compile("next in line"))
    _row(anna, "forest").get_by_role("button", name="Cancel").click()
    _expect_text(_row(ben, "city").locator(".q-place"), "2")
    _expect_text(_row(ben, "city").locator(".q-before"), "2 before it")
    _expect_count(_row(anna, "forest"), 0)

    anna.locator(".q-running").get_by_role("button", name="Cancel").click()
    anna.locator(".q-tile").get_by_role("button", name="onerror").locator("img").wait_for()
    for prompt in ("a desert at night", "a city in the rain"):
        ben.locator(f".q-tile button[title='{prompt}'] img").wait_for()
    _expect_text(anna.locator(".q-own"), "You have nothing in the queue.")
    assert anna.evaluate("window.hacked") is None and ben.evaluate("window.hacked") is None


def test_prompts_of_any_kind_are_shown_as_text_and_burst_nothing(opened: Callable[..., Any]) -> None:
    page = opened()
    page.set_viewport_size({"width": 390, "height": 800})
    strange = [
        HOSTILE,
        "w" * 10_000,
        "zero\u200bwidth\u2060\ufeff",
        "</script><b>bold</b> &amp;",
        "\u202eright to left",
    ]
    _submit(page, "a hold up of some length", *strange, steps=500)
    _expect_count(page.locator(".q-row"), len(strange))
    shown = page.locator(".q-row .q-prompt").all_text_contents()
    assert all(any(text[:60] in each for each in shown) for text in strange), shown
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".q-row b", has_text="bold").count() == 0 and page.evaluate("window.hacked") is None
    _clear(page)


def test_a_picture_opens_with_its_infotext_and_closes_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    _submit(page, f"{HOSTILE} in a vase", steps=2)
    tile = page.locator(".q-tile").get_by_role("button", name="in a vase")
    tile.wait_for()
    tile.focus()
    page.keyboard.press("Enter")
    viewer = page.locator(".q-viewer[open]")
    viewer.wait_for()
    assert HOSTILE in viewer.locator(".q-infotext").text_content()
    page.wait_for_function("document.querySelector('.q-viewer .q-picture img:last-child').naturalWidth === 64")
    with page.expect_download() as download:
        viewer.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".png")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    assert tile.evaluate("tile => tile === document.activeElement")
    assert page.evaluate("window.hacked") is None


def test_bad_input_is_told_beside_the_button_by_the_name_of_the_field(opened: Callable[..., Any]) -> None:
    page = opened()
    _fill(page, "a flower")
    page.get_by_label("Width").fill("5")
    page.get_by_role("button", name="Enqueue").click()
    _expect_text(page.locator(".queue-said p"), re.compile("^Width: must be an integer from 16 to 8192, not 5"))
    page.get_by_label("img2img").check()
    page.get_by_label("Width").fill("64")
    page.get_by_text("Picture to start from").wait_for()
    page.get_by_role("button", name="Enqueue").click()
    _expect_text(page.locator(".queue-said p"), "Picture to start from: add one, img2img needs it")
    _expect_count(page.locator(".q-row"), 0)


def test_a_picture_can_be_made_from_a_picture(opened: Callable[..., Any], tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "teal").save(tmp_path / "start.png")
    page = opened()
    page.get_by_label("img2img").check()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "start.png")
    page.locator(".queue-form img").first.wait_for()
    page.get_by_label("Width").fill("64")
    page.get_by_label("Height").fill("64")
    _enqueue(page, "teal mountains", steps=2)
    page.locator(".q-tile button[title='teal mountains'] img").first.wait_for()


def test_the_last_in_line_moves_to_the_front_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    _submit(page, "running for long", steps=1000)
    page.locator(".q-running", has_text="running for long").wait_for()
    _submit(page, "first", "second", "third", steps=1000)
    _expect_text(_row(page, "third").locator(".q-place"), "3")
    _row(page, "third").get_by_role("button", name="Move to front").focus()
    page.keyboard.press("Enter")
    _expect_text(_row(page, "third").locator(".q-place"), "1")
    _expect_text(page.locator(".q-row .q-prompt").first, "third")
    page.locator(".q-running").get_by_role("button", name="Cancel").click()
    page.locator(".q-running", has_text="third").wait_for()
    _clear(page)


def _prompts(page: Any) -> list[str]:
    return page.locator(".q-row .q-prompt").all_inner_texts()


def _expect_order(page: Any, *prompts: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(".q-row .q-prompt")).to_have_text(list(prompts), timeout=DEADLINE)


def test_a_line_is_reordered_by_a_finger(opened: Callable[..., Any]) -> None:
    """A finger on a grip drags its row; anywhere else it scrolls the list."""
    page = opened(width=390, has_touch=True, is_mobile=True)
    _submit(page, "running for long", steps=1000)
    page.locator(".q-running", has_text="running for long").wait_for()
    _submit(page, *[f"in line {number:02}" for number in range(30)])
    finger = page.context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    def drag(x: float, start: float, end: float) -> None:
        touch("touchStart", {"x": x, "y": start})
        for step in range(1, 9):
            touch("touchMove", {"x": x, "y": start + (end - start) * step / 8})
        touch("touchEnd")

    grip = _row(page, "in line 02").locator(".q-place")
    grip.scroll_into_view_if_needed()
    start, end = grip.bounding_box(), _row(page, "in line 00").bounding_box()
    drag(start["x"] + 8, start["y"] + start["height"] / 2, end["y"] + 4)
    first = page.locator(".q-row .q-prompt").first
    _expect_text(first, "in line 02")

    text = _row(page, "in line 03").locator(".q-prompt").bounding_box()
    before = page.evaluate("scrollY + document.querySelector('.q-scroll').scrollTop")
    drag(text["x"] + 60, text["y"], text["y"] - 300)
    moved = "before => scrollY + document.querySelector('.q-scroll').scrollTop > before"
    page.wait_for_function(moved, arg=before)
    _clear(page)
    page.locator(".q-toast").get_by_role("button", name="Undo").wait_for(state="detached")


HEARD = """
window.heard = [];
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...when) { heard.push(this.frequency.value); return start.apply(this, when) };
window.Notification = class extends Notification {
  constructor(title, more) { super(title, more); heard.push(more.body) }
};
"""


def test_the_end_of_ones_last_job_is_heard_and_told_to_who_looks_elsewhere(opened: Callable[..., Any]) -> None:
    page = opened(permissions=["notifications"])
    page.add_init_script(HEARD)
    page.reload()
    page.locator(LIVE).wait_for()
    page.locator("summary[aria-label='Sound and notifications']").click()
    page.get_by_label("play a sound").check()
    assert page.evaluate("heard.splice(0)") == [660, 880]  # how it will sound
    page.get_by_label("notify me when I look elsewhere").check()
    _submit(page, "the last but one", "the last", steps=2)
    page.wait_for_function("heard.length === 2")
    assert page.evaluate("heard.splice(0)") == [660, 880]
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    _submit(page, "one", "another", "never !refuse", steps=2)
    page.wait_for_function("heard.length === 3")
    assert page.evaluate("heard.splice(0)") == [660, 880, "2 jobs are done, 1 has failed"]
    page.reload()  # what was chosen is kept
    page.locator(LIVE).wait_for()
    _submit(page, "after it was opened anew", steps=2)
    page.wait_for_function("heard.length === 2")


def test_a_line_is_reordered_by_hand_and_by_keyboard_and_put_back(opened: Callable[..., Any]) -> None:
    """What one browser drags, moves, prioritises and takes back, the other one sees."""
    page, other = opened(), opened()
    _submit(page, "running for long", steps=1000)
    page.locator(".q-running", has_text="running for long").wait_for()
    _submit(page, "amber", "birch", "cedar", "dunes")
    _expect_order(page, "amber", "birch", "cedar", "dunes")

    grip, target = _row(page, "amber").locator(".q-place"), _row(page, "cedar")
    start, end = grip.bounding_box(), target.bounding_box()
    page.mouse.move(start["x"] + 8, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(start["x"] + 12, end["y"], steps=4)
    page.mouse.move(start["x"] + 12, end["y"] + end["height"], steps=4)
    page.mouse.up()
    _expect_order(other, "birch", "cedar", "amber", "dunes")
    page.locator(".q-toast").get_by_role("button", name="Undo").click()
    _expect_order(other, "amber", "birch", "cedar", "dunes")

    for prompt, beyond in (("amber", "Alt+ArrowUp"), ("dunes", "Alt+ArrowDown")):  # there is nothing beyond the ends
        _row(page, prompt).locator(".q-open").focus()
        page.keyboard.press(beyond)
    page.keyboard.press("Alt+ArrowUp")
    _expect_order(page, "amber", "birch", "dunes", "cedar")
    page.keyboard.press("Shift+ArrowDown")  # c as well: both move
    page.locator(".q-bar-actions", has_text="2 chosen").wait_for()
    page.keyboard.press("Alt+Home")
    _expect_order(other, "dunes", "cedar", "amber", "birch")
    page.locator(".q-bar-actions").get_by_role("button", name="Bookmark").click()
    _expect_count(other.locator(".q-row .q-star:visible"), 2)

    page.keyboard.press("Escape")
    _row(page, "amber").locator(".q-box").click()
    _row(page, "birch").locator(".q-box").click(modifiers=["Shift"])
    page.get_by_label("Priority", exact=True).fill("7")
    page.keyboard.press("Enter")
    _expect_order(other, "amber", "birch", "dunes", "cedar")
    _row(other, "amber").locator(".q-facts", has_text="priority +7").wait_for()
    _row(page, "amber").locator(".q-open").focus()
    page.keyboard.press("Delete")
    _expect_order(other, "dunes", "cedar")
    page.locator(".q-toast", has_text="2 jobs cancelled").get_by_role("button", name="Undo").click()
    _expect_order(other, "amber", "birch", "dunes", "cedar")

    page.get_by_role("button", name="Pause lane default").click()
    other.locator(".q-paused:visible", has_text="Paused").wait_for()
    other.get_by_role("button", name="Resume lane default").click()
    page.get_by_role("button", name="Pause lane default").wait_for()
    page.get_by_role("button", name="Clear lane default").click()
    page.locator(".q-ask[open]").get_by_role("button", name="Clear the lane").click()
    _expect_count(other.locator(".q-row"), 0)
    _clear(page)


def _edit(page: Any, prompt: str) -> Any:
    """The form of a waiting job, opened by its key."""
    _row(page, prompt).locator(".q-open").focus()
    page.keyboard.press("e")
    return page.locator(".q-viewer[open] form", has_text="Negative prompt")


def test_a_waiting_job_is_edited_checked_and_cloned(opened: Callable[..., Any], server: Server) -> None:
    """What does not fit is told beside its field; a server that restarts in the middle takes nothing away."""
    page = opened(clock=True)
    _submit(page, "running for long", steps=1000)
    _submit(page, "a red house")
    form = _edit(page, "a red house")
    form.get_by_label("Prompt", exact=True).fill(f"a blue house {HOSTILE}")
    form.get_by_label("Width").fill("5")
    form.get_by_role("button", name="Save").click()
    _expect_text(form.locator("[role=alert]:visible").first, re.compile("from 16 to 8192, not 5"))
    assert form.get_by_label("Width").evaluate("input => input === document.activeElement")
    form.get_by_label("Width").fill("64")
    _expect_count(form.locator("[role=alert]:visible"), 0)
    server.stop()
    page.locator('.q-state[data-state="lost"]').wait_for()
    form.get_by_role("button", name="Save").click()
    unreached = form.locator(".q-unreached")
    _expect_text(unreached, "The server cannot be reached.")
    server.start()
    _hurry(page, page.locator(LIVE))
    _expect_text(unreached, "")
    form.get_by_label("Width").fill("128")
    form.get_by_label("Priority").fill("3")
    form.get_by_role("button", name="Save").click()
    _row(page, "a blue house").locator(".q-facts", has_text="128 × 64").wait_for()
    page.locator(".q-viewer").get_by_role("button", name="Clone with changes").click()
    form.get_by_label("Steps").fill("7")
    form.get_by_role("button", name="Add to the line").click()
    page.locator(".q-toast", has_text="A copy is in line").wait_for()
    page.keyboard.press("Escape")
    _expect_count(_row(page, "a blue house"), 2)
    for row in (0, 1):
        page.locator(".q-row .q-box").nth(row).click()
    page.locator(".q-bar-actions").get_by_role("button", name="Compare").click()
    _expect_text(page.locator(".q-difference tbody th"), "steps")
    page.keyboard.press("Escape")
    assert page.evaluate("window.hacked") is None
    page.troubles.clear()  # refusals and lost sockets, as the browser reports them


def test_what_was_typed_is_never_lost_unasked(opened: Callable[..., Any], server: Server) -> None:
    """Not by a key or a click beside it, not while it is being saved, not when the job has started meanwhile."""
    page = opened()
    _submit(page, "running for long", steps=1000)
    _submit(page, "a red house")
    form, question = _edit(page, "a red house"), page.locator(".q-ask")
    steps = form.get_by_label("Steps", exact=True)
    steps.fill("7")
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.locator(".q-viewer").get_by_role("button", name="Close").click(),
        lambda: form.get_by_role("button", name="Back").click(),
        lambda: page.mouse.click(2, 2),
    ):
        leave()
        question.get_by_role("button", name="No").click()
        assert steps.input_value() == "7"
    for _ in range(4):  # a browser lets a page refuse the key a few times, and then closes
        page.keyboard.press("Escape")
        question.wait_for()
        page.keyboard.press("Escape")
        question.wait_for(state="detached")
    assert steps.input_value() == "7"
    held: list[Any] = []
    address = re.compile(r"/v1/jobs/\w+$")
    page.route(address, lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_())
    with page.expect_request(lambda request: request.method == "PATCH"):
        form.get_by_role("button", name="Save").click()
    page.keyboard.press("Escape")
    assert question.count() == 0, "what is being saved is not given up"
    held[0].continue_()
    form.wait_for(state="hidden")
    _row(page, "a red house").locator(".q-facts", has_text="7 steps").wait_for()
    page.unroute(address)
    page.keyboard.press("Escape")
    form = _edit(page, "a red house")
    form.get_by_label("Prompt", exact=True).fill("a house, too late")
    page.evaluate("document.querySelector('.q-running button[aria-label^=Cancel]').click()")
    page.locator(".q-tile button[title='a red house'] img").first.wait_for()  # it has begun and ended meanwhile
    assert page.locator(".q-viewer .q-stage").is_hidden(), "its picture would move the form from under one's hands"
    form.get_by_role("button", name="Save").click()
    _expect_text(form.locator("[role=alert]:visible"), re.compile("waits no longer"))
    form.get_by_role("button", name="Add to the line").click()
    page.locator(".q-toast", has_text="A copy is in line").wait_for()
    page.keyboard.press("Escape")
    page.locator(".q-tile button[title='a house, too late'] img").wait_for()
    page.troubles.clear()  # what was refused, as the browser reports it


def test_what_is_half_typed_beside_a_job_outlives_its_news(opened: Callable[..., Any]) -> None:
    """A job that is open changes while one gives it a name or a label; the message about it is within reach."""
    page = opened()
    _submit(page, "running for long", steps=1000)
    _submit(page, "a green door")
    _row(page, "a green door").locator(".q-open").click()
    viewer = page.locator(".q-viewer[open]")
    viewer.get_by_label("Label", exact=True).fill("half a lab")
    viewer.get_by_role("button", name="Rename").click()
    viewer.get_by_label("Name", exact=True).fill("half a na")
    viewer.get_by_role("button", name="Bookmark").click()
    viewer.get_by_role("button", name="Remove bookmark").wait_for()  # the news has come
    assert viewer.get_by_label("Label", exact=True).input_value() == "half a lab"
    assert viewer.get_by_label("Name", exact=True).input_value() == "half a na"
    page.locator(".q-toast", has_text="Bookmarked").get_by_role("button", name="Undo").click()
    viewer.get_by_role("button", name="Bookmark", exact=True).wait_for()
    viewer.get_by_label("Name", exact=True).fill("the door")
    page.keyboard.press("Enter")
    viewer.locator(".q-prompt", has_text="the door").wait_for()
    viewer.get_by_label("Label", exact=True).press("Enter")
    viewer.locator(".q-chip", has_text="half a lab").wait_for()
    assert viewer.get_by_label("Label", exact=True).input_value() == ""
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    page.locator(".q-toast", has_text="Labelled").get_by_role("button", name="Undo").click()
    _row(page, "the door").wait_for()
    _clear(page)


def test_what_is_done_is_found_compared_and_tried_again(opened: Callable[..., Any]) -> None:
    page = opened()
    _submit(page, "a violet sea", "a violet wood", "violet !refuse 1", "violet !refuse 2", steps=2)
    page.locator(".q-tile button[title='a violet wood'] img").wait_for()
    page.locator(".q-tile.q-failed", has_text="violet !refuse 2").wait_for()
    page.get_by_role("tab", name="Done").click()
    page.get_by_label("Text in prompt or name").fill("VIOLET")
    _expect_count(page.locator(".q-shot"), 4)
    _expect_text(page.locator(".q-groups b"), "×2")
    page.get_by_label("How they ended").select_option("succeeded")
    _expect_count(page.locator(".q-shot"), 2)
    page.get_by_role("button", name="Table").click()
    page.locator(".q-done-row .q-open", has_text="a violet sea").focus()
    page.keyboard.press("b")
    page.keyboard.press("Space")
    page.locator(".q-done .q-bar-actions input").fill("keep")
    page.keyboard.press("Enter")
    page.locator(".q-done-row .q-facts", has_text="#keep").wait_for()
    page.get_by_label("Bookmark", exact=True).check()
    _expect_count(page.locator(".q-done-row"), 1)
    page.get_by_label("Bookmark", exact=True).uncheck()
    page.get_by_label("How they ended").select_option("failed")
    page.get_by_role("button", name=re.compile("^Try all 2 again")).click()
    page.locator(".q-toast", has_text="2 jobs in line again").wait_for()
    _expect_count(page.locator(".q-done-row"), 2)  # they failed once more
    page.get_by_label("How they ended").select_option("")
    page.locator(".q-done-row", has_text="a violet wood").locator(".q-box").click()
    page.locator(".q-done .q-bar-actions").get_by_role("button", name="Delete").click()
    _expect_count(page.locator(".q-done-row", has_text="a violet wood"), 0)
    page.locator(".q-toast", has_text="Deleted").get_by_role("button", name="Undo").click()
    page.locator(".q-done-row", has_text="a violet wood").locator(".q-open").click()
    page.locator(".q-viewer[open]").get_by_text("History").click()
    page.locator(".q-history li[data-state=succeeded]").wait_for()


def test_the_next_runs_are_told_by_the_schedule_s_own_clock_where_it_is_not_the_reader_s(
    opened: Callable[..., Any],
) -> None:
    page = opened(timezone_id="Europe/Berlin")
    page.get_by_role("tab", name="Later").click()
    page.get_by_role("button", name="New schedule").click()
    form = page.locator(".q-wide-dialog[open] form")
    form.get_by_label(re.compile("^When")).fill("30 9 1 1 *")
    form.get_by_label("Time zone").fill("Asia/Shanghai")
    _expect_text(form.locator(".q-next li").first, re.compile(r"2:30.AM · \w+ 9:30.AM there"))
    form.get_by_label("Time zone").fill("Europe/Berlin")
    _expect_text(form.locator(".q-next li").first, re.compile(r"9:30.AM$"))


def test_what_is_somebody_else_s_is_not_called_one_s_own(opened: Callable[..., Any], server: Server) -> None:
    page = opened()
    payload = {"prompt": "of another", "steps": 1, "width": 64, "height": 64}
    server.post("jobs", {"task": "txt2img", "payload": payload})
    page.locator(".q-tile button[title='of another']").first.click()
    job = page.locator(".q-viewer[open]")
    job.locator(".q-history").wait_for(state="attached")
    job.get_by_text("by anonymous").first.wait_for()
    assert "Your job" not in job.inner_text()
    page.keyboard.press("Escape")
    server.post("queues/default/pause", {"reason": ""})
    try:
        server.post("jobs", {"task": "txt2img", "payload": {**payload, "prompt": "waiting of another"}})
        _row(page, "waiting of another").locator(".q-prompt").click()
        job.get_by_text("is paused").wait_for()
        assert "your" not in job.inner_text().lower().split()
        page.keyboard.press("Escape")
    finally:
        server.post("queues/default/resume", {})
    _submit(page, "my own", steps=1)
    page.locator(".q-tile button[title='my own']").first.click()
    job.get_by_text("Your job is done.").wait_for()


def test_a_click_that_reached_nobody_is_not_said_to_have_queued_anything(opened: Callable[..., Any]) -> None:
    page = opened()
    enqueue, toasts = page.get_by_role("button", name="Enqueue", exact=True), page.locator(".q-toast")
    queued = toasts.filter(has_text=re.compile("^Queued:"))
    page.locator("#queue_prompt textarea").fill("before and after the cut")
    enqueue.click()
    queued.wait_for()
    queued.get_by_role("button", name="Close this message").click()
    page.evaluate("const now = Date.now; Date.now = () => now() + 5000")  # it is some time later
    page.context.set_offline(True)
    enqueue.click()
    toasts.filter(has_text="Not queued: the server did not answer").wait_for()
    assert queued.count() == 0
    page.context.set_offline(False)
    enqueue.click()
    queued.wait_for()
    page.troubles.clear()  # what was cut off, as the browser reports it


def test_a_schedule_is_made_switched_run_and_taken_back(opened: Callable[..., Any], server: Server) -> None:
    """The expression is put in words while one types; what the server refuses stands beside its field."""
    page = opened()
    page.get_by_role("tab", name="Later").click()
    page.get_by_role("button", name="New schedule").click()
    dialog, question = page.locator(".q-wide-dialog[open]"), page.locator(".q-ask")
    form = dialog.locator("form")
    form.get_by_label("Name").fill("weekly sea")
    for leave in (lambda: page.mouse.click(2, 2), lambda: dialog.get_by_role("button", name="Close").click()):
        leave()
        question.get_by_role("button", name="No").click()
        assert form.get_by_label("Name").input_value() == "weekly sea"
    edge = dialog.bounding_box()
    page.mouse.click(edge["x"] + 4, edge["y"] + 40)  # the form's own margin is not beside it
    assert question.count() == 0
    form.get_by_label(re.compile("^When")).fill("*/20 8-10 * * foo")
    _expect_text(form.locator("[role=alert]:visible"), re.compile("foo"))
    form.get_by_label(re.compile("^When")).fill("30 9 * * mon")
    _expect_text(form.locator(".q-words"), re.compile("09:30, only on Monday"))
    _expect_count(form.locator(".q-next li"), 5)
    form.get_by_label("Prompt", exact=True).fill("a weekly sea")
    form.get_by_label("Width").fill("1")
    form.get_by_role("button", name="Save").click()
    _expect_text(form.locator("[role=alert]:visible").first, re.compile("from 16 to 8192"))
    form.get_by_label("Width").fill("64")
    form.get_by_label("Height").fill("64")
    form.get_by_role("button", name="Save").dblclick()  # one is enough
    card = page.locator(".q-schedule", has_text="weekly sea")
    card.get_by_role("button", name="Run now").click()
    card.locator(".q-strip img").wait_for()
    _expect_count(page.locator(".q-day", has_text="weekly sea"), 5)
    card.get_by_role("switch").uncheck()
    card.locator(".q-facts", has_text="switched off").wait_for()
    card.get_by_role("button", name="Delete").click()
    _expect_count(card, 0)
    page.locator(".q-toast", has_text="weekly sea deleted").get_by_role("button", name="Undo").click()
    card.wait_for()
    page.keyboard.press("4")
    page.locator(".q-chart").first.wait_for()
    page.get_by_role("table").filter(has_text="64 × 64").wait_for()
    page.troubles.clear()  # what was refused, as the browser reports it


def test_what_is_to_run_later_is_told_and_what_is_asked_beside_a_dialog_is_left(opened: Callable[..., Any]) -> None:
    page = opened()
    _submit(page, "at once", steps=1000)
    own = page.locator(".q-own")
    _expect_text(own, "Your picture is being made.")
    page.evaluate(
        """async () => {
          const body = JSON.stringify({ task: 'txt2img', payload: { prompt: 'next year' }, delay_s: 3e7 });
          await fetch('queue-ext/v1/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
        }"""
    )
    page.locator(".q-running").get_by_role("button", name="Cancel").click()
    page.locator(".q-toast", has_text="Stopping: it ends at its next step.").wait_for()
    _expect_text(own, "1 job of yours is to run later.")
    _row(page, "next year").locator(".q-open").click()
    said = page.locator(".q-viewer[open] .q-sections .q-facts").first
    _expect_text(said, re.compile(r"^starts \w+ \d+, \d{4}"))
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    keys = page.locator("dialog[open] kbd").first
    keys.wait_for()
    page.mouse.click(2, 2)
    keys.wait_for(state="detached")
    _clear(page)
    _expect_text(own, "You have nothing in the queue.")


def test_schedules_are_not_called_none_before_the_server_has_said_so(opened: Callable[..., Any]) -> None:
    page = opened()
    held: list[Any] = []
    page.route("**/v1/schedules", lambda route: held.append(route))
    with page.expect_request("**/v1/schedules"):
        page.get_by_role("tab", name="Later").click()
    none = page.locator("#q-panel-later .q-empty", has_text="Nothing is repeated yet")
    page.locator("#q-panel-later:visible").wait_for()
    page.evaluate("new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)))")
    assert none.is_hidden()
    held[0].fulfill(json={"schedules": []})
    none.wait_for()


def test_a_switch_stays_as_it_was_put_while_the_server_has_not_answered(
    opened: Callable[..., Any], server: Server
) -> None:
    """Whatever is drawn again meanwhile, every second and for each news; a refusal puts it back."""
    template = {"task": "txt2img", "payload": {"prompt": "a switch"}}
    server.post("schedules", {"name": "to switch", "cron": "0 7 * * *", "template": template})
    page = opened()
    page.get_by_role("tab", name="Later").click()
    card = page.locator(".q-schedule", has_text="to switch")
    switch = card.get_by_role("switch")
    held: list[Any] = []
    page.route("**/v1/schedules/*", lambda route: held.append(route))
    with page.expect_request("**/v1/schedules/*"):
        switch.uncheck()
    server.post("schedules", {"name": "meanwhile", "cron": "0 7 * * *", "template": template})
    page.locator(".q-schedule", has_text="meanwhile").wait_for()
    assert not switch.is_checked()
    held[0].fulfill(status=403, content_type="application/problem+json", body='{"detail": "not today"}')
    page.locator(".q-toast.q-bad", has_text="not today").wait_for()
    assert switch.is_checked()
    page.unroute("**/v1/schedules/*")
    switch.uncheck()
    card.locator(".q-facts", has_text="switched off").wait_for()
    assert not switch.is_checked()
    page.troubles.clear()  # the refusal, as the browser reports it


def test_the_page_itself_gives_a_browser_its_name(server: Server) -> None:
    """Who clicks before anything else was answered is somebody already."""
    with requests.Session() as browser:
        assert "queue_client" in browser.get(server.address).cookies
        again = browser.get(server.address)
        assert again.status_code == 200 and "queue_client" not in again.cookies


SERIOUS = ("serious", "critical")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_is_found_by_axe(opened: Callable[..., Any], server: Server, theme: str) -> None:
    """Every page and dialog of the tab; Gradio's own form is not ours to judge."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(path=f"/?__theme={theme}")
    found: list[str] = []

    def judge(what: str) -> None:
        for dialog in (".queue-ext dialog[open]", "#queue_ext"):
            if page.locator(dialog).count():
                options = {"resultTypes": ["violations"]}
                answer = axe.run(page, context=dialog, options=options).response
                break
        for fault in answer["violations"]:
            if fault["impact"] in SERIOUS:
                found.append(f"{what}: {fault['id']}: {[node['html'][:160] for node in fault['nodes'][:3]]}")

    _submit(page, "a picture to judge", "never !refuse", steps=2)
    page.locator(".q-tile button[title='a picture to judge'] img").wait_for()
    _submit(page, "running for long", steps=1000)
    page.locator(".q-running", has_text="running for long").wait_for()
    _submit(page, "first", "second")
    page.locator(".q-row .q-box").first.click()
    judge("queue")
    _row(page, "second").locator(".q-open").click()
    page.locator(".q-viewer").get_by_text("History").wait_for()
    judge("waiting job")
    page.keyboard.press("e")
    page.locator(".q-viewer .q-form").wait_for()
    judge("edit")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator(".q-tile button[title='a picture to judge']").first.click()
    page.locator(".q-viewer .q-infotext").wait_for()
    judge("job")
    page.keyboard.press("Escape")
    template = {"task": "txt2img", "payload": {"prompt": "one to judge"}}
    server.post("schedules", {"name": f"to judge, {theme}", "cron": "0 7 * * *", "template": template})
    for number, (name, there) in enumerate({"done": ".q-shot", "later": ".q-schedule", "numbers": ".q-chart"}.items()):
        page.keyboard.press(str(number + 2))
        page.locator(f"#q-panel-{name} {there}").first.wait_for()
        judge(name)
    page.get_by_role("tab", name="Later").click()
    page.get_by_role("button", name="New schedule").click()
    page.locator("dialog[open] .q-next li").first.wait_for()
    judge("schedule")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.locator("dialog[open] kbd").first.wait_for()
    judge("keys")
    assert found == []


def test_it_fits_a_phone_and_speaks_chinese(opened: Callable[..., Any]) -> None:
    page = opened(width=390, locale="zh-CN")
    _submit(page, "running for long", steps=1000)
    _submit(page, "a very long prompt " * 200, HOSTILE)
    _expect_count(page.locator(".q-row"), 2)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    _expect_text(page.locator(".q-state"), "实时")
    page.get_by_role("button", name="加入队列").wait_for()
    _clear(page)


def test_nobody_is_asked_while_the_socket_is_up(opened: Callable[..., Any]) -> None:
    page = opened()
    _submit(page, "one", steps=100)
    page.locator(".q-running", has_text="one").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator(".q-tile button[title='one'] img").first.wait_for()
    assert not [url for url in asked if not url.startswith("blob:") and "/images/" not in url]


def test_without_the_socket_library_it_says_so_and_asks(opened: Callable[..., Any], browser: Any) -> None:
    page = opened(expect_live=False, clock=True)
    page.troubles.clear()
    page.route("**/vendor/*", lambda route: route.fulfill(status=404))
    page.reload()
    page.locator('.q-state[data-state="polling"]').wait_for()
    assert "Socket.IO" in page.locator(".q-why").inner_text()
    _submit(page, "asked for", steps=2)
    _hurry(page, page.locator(".q-tile button[title='asked for'] img"))
    _submit(page, "running for long", steps=1000)
    _submit(page, "asked for too")
    _hurry(page, _row(page, "asked for too"))
    form = _edit(page, "asked for too")
    form.get_by_label("Steps").fill("7")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    page.wait_for_load_state("networkidle")
    with page.expect_request("**/v1/queues"):  # what one has done oneself is asked for at once: no time passes here
        form.get_by_role("button", name="Save").click()
    page.clock.resume()
    _row(page, "asked for too").locator(".q-facts", has_text="7 steps").wait_for()
    assert all("404" in trouble for trouble in page.troubles)
    page.troubles.clear()


def _hurry(page: Any, locator: Any) -> None:
    """Wait for something while time flies: what the page does in twenty seconds it does now."""
    deadline = time.monotonic() + START
    while not locator.count():
        assert time.monotonic() < deadline
        page.clock.fast_forward(20_000)
        with suppress(Exception):
            locator.wait_for(timeout=1_000)


def test_a_server_that_went_away_is_told_at_once_and_caught_up_with(opened: Callable[..., Any], server: Server) -> None:
    page = opened(clock=True)
    _submit(page, "running for long", steps=1000)
    _submit(page, "survives", steps=2)
    _row(page, "survives").wait_for()
    server.stop()
    page.locator('.q-state[data-state="lost"]').wait_for()
    _row(page, "survives").wait_for()  # what is known stays
    server.start()
    _hurry(page, page.locator(LIVE))
    page.locator(".q-running").get_by_role("button", name="Cancel").click()
    page.locator(".q-tile button[title='survives'] img").wait_for()
    page.troubles.clear()  # the browser itself reports sockets that were refused


def test_a_job_that_ends_while_the_page_says_hello_is_heard_of(opened: Callable[..., Any]) -> None:
    """The greeting reaches the server late; what the server says meanwhile reaches the page."""
    page = opened(clock=True)
    hello = LateHello(page.context)
    page.add_init_script(HEARD)
    page.reload()
    page.locator(LIVE).wait_for()
    page.locator("summary[aria-label='Sound and notifications']").click()
    page.get_by_label("play a sound").check()
    page.evaluate("heard.splice(0)")
    _submit(page, "ends in between", steps=200)
    page.locator(".q-running", has_text="ends in between").wait_for()
    hello.hold()
    until(lambda: page.clock.fast_forward(5_000) or hello.held, "the page comes back and says hello")
    until(lambda: page.evaluate("true") and hello.told('["result"'), "the job has ended")
    assert page.evaluate("heard") == []
    hello.let_go()
    page.wait_for_function("heard.length === 2")
    page.locator(".q-tile button[title='ends in between'] img").wait_for()


def test_a_page_that_was_hung_up_on_or_not_greeted_comes_back(opened: Callable[..., Any]) -> None:
    page = opened(clock=True)
    hello = LateHello(page.context)
    page.reload()
    page.locator(LIVE).wait_for()
    hello.hang_up()
    page.locator('.q-state[data-state="lost"]').wait_for()
    _hurry(page, page.locator(LIVE))
    hello.hold()
    until(lambda: page.clock.fast_forward(5_000) or hello.held, "the page comes back and says hello")
    hello.refuse()
    page.locator('.q-state[data-state="lost"]').wait_for()
    _hurry(page, page.locator(LIVE))
    _submit(page, "goes on", steps=2)
    page.locator(".q-tile button[title='goes on'] img").wait_for()


def test_what_another_page_removed_is_shown_no_more(opened: Callable[..., Any], server: Server) -> None:
    page = opened()
    _submit(page, "made and removed", steps=2)
    tile = page.locator(".q-tile button[title='made and removed'] img")
    tile.wait_for()
    page.get_by_role("tab", name="Done").click()
    page.locator(".q-done button[title='made and removed'] img").wait_for()
    server.post("jobs/actions", {"action": "delete", "filter": {"q": "made and removed"}})
    _expect_count(page.locator(".q-done button[title='made and removed']"), 0)
    page.get_by_role("tab", name="Queue").click()
    _expect_count(tile, 0)


def test_a_page_without_a_socket_shows_how_far_a_job_is(opened: Callable[..., Any], browser: Any) -> None:
    """Each time it asks, and not as it was when it asked first."""
    page = opened(expect_live=False, clock=True)
    page.route("**/vendor/socket.io.esm.min.js", lambda route: route.abort())
    page.reload()
    page.locator('.q-state[data-state="polling"]').wait_for()
    _submit(page, "long", steps=500)
    bar = page.locator(".q-running [role=progressbar]")
    _hurry(page, bar)

    def shown() -> int:
        return int(bar.get_attribute("aria-valuenow") or 0)

    first = shown()
    until(lambda: page.clock.fast_forward(6_000) or shown() > first, "it goes on")
    page.troubles.clear()  # the library that did not come


def test_a_line_that_was_moved_while_it_was_asked_for_stays_moved(opened: Callable[..., Any], server: Server) -> None:
    page = opened(clock=True)
    hello = LateHello(page.context)
    page.reload()
    page.locator(LIVE).wait_for()
    _submit(page, "runs for long", steps=1000)
    _submit(page, "first", "second", "third", steps=2)
    titles = page.locator(".q-line .q-row .q-open")
    late: list[Any] = []
    page.route("**/v1/jobs?order=line**", lambda route: late.append((route, route.fetch())))
    hello.hold("")
    until(lambda: page.clock.fast_forward(5_000) or late, "the page comes back and asks for the line")
    third = next(job["id"] for job in late[0][1].json()["jobs"] if job["prompt"] == "third")
    server.post(f"jobs/{third}/move", {"to": "front"})
    _expect_text(titles.first, re.compile("third"))
    for route, answer in late:
        route.fulfill(response=answer)
    page.unroute("**/v1/jobs?order=line**")
    page.wait_for_load_state("networkidle")
    _expect_text(titles.first, re.compile("third"))


def test_a_page_that_stays_open_while_the_database_is_replaced_hears_the_new_one(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    """The numbers of its news begin anew, below those the page has heard."""
    server = Server(tmp_path)
    try:
        page = opened(at=server)
        _submit(page, "of the old one", "another of the old one", steps=2)
        page.locator(".q-tile").nth(1).wait_for()
        server.stop()
        page.locator('.q-state[data-state="lost"]').wait_for()
        for file in (tmp_path / "data").glob("queue.sqlite3*"):
            file.unlink()
        server.start()
        page.locator(LIVE).wait_for()
        _expect_count(page.locator(".q-tile"), 0)
        _submit(page, "of the new one", steps=50)
        page.locator(".q-running", has_text="of the new one").wait_for()
        page.locator(".q-tile button[title='of the new one'] img").wait_for()
        page.troubles.clear()  # the browser itself reports sockets that were refused
    finally:
        server.stop()


def test_the_browser_code_is_small(server: Server) -> None:
    """As it travels: every module and style of ours, and the texts of a language."""
    static = ROOT / "queue_ext" / "tab" / "static"
    sizes: dict[str, int] = {}
    for path in [path for path in static.rglob("*") if path.is_file() and "vendor" not in path.parts]:
        name = path.relative_to(static).as_posix()
        address = f"{server.address}/queue-ext/tab/{name}"
        asked = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["ETag"]
            sizes[name] = len(answer.read())
    code = sum(size for name, size in sizes.items() if not name.startswith("texts/"))
    assert code + max(size for name, size in sizes.items() if name.startswith("texts/")) <= 60_000, sizes
