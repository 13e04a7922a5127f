"""The Vue example and the composable in it, in good moments and in bad ones: Chromium, a page of another origin, a real
server. Beside it the plain examples, each run as it is."""

import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from queue_ext.tab import vendor

from ..conftest import require
from .conftest import Launch
from .front import LIVE, Built, LateHello, Visitor, asleep, hosted
from .server import ROOT, Forge, Server, until

pytestmark = pytest.mark.timeout(400)  # the first test waits for npm
SIZE_LIMIT = 80_000  # bytes, compressed
STEP_S = "0.02"
Enter = Callable[..., Visitor]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="module")
def site(built: Built) -> Iterator[str]:
    with hosted(built.site) as address:
        yield address


@pytest.fixture(scope="module")
def server(forge: "Forge | None", site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "data"
    options = ("--cors-allowed-origins", site, "--max-payload-mb", "16", "--ping-interval-s", "1")
    made = Server(forge, folder, *options, env={"QUEUE_EXT_DEMO_STEP_S": STEP_S}).start()
    yield made
    made.close()


@pytest.fixture
def visitor(browser: Any, site: str, server: Server) -> Iterator[Enter]:
    visitors: list[Visitor] = []

    def make(at: Server = server, page: str = site, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, page, at, **options))
        return visitors[-1]

    yield make
    for each in visitors:
        each.close()


def _expect_text(locator: Any, text: "str | re.Pattern[str]") -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_text(text, timeout=20_000)


def _expect_count(locator: Any, count: int) -> None:
    from playwright.sync_api import expect

    expect(locator).to_have_count(count, timeout=20_000)


def _heard(who: Visitor, condition: Callable[[], Any], what: str) -> None:
    """Until ``condition`` holds of what the browser reports, which it does while it is spoken with."""
    until(lambda: who.page.evaluate("true") and condition(), what)


# --- what is built -----------------------------------------------------------------------------------------------------


def test_the_lock_file_records_no_address_of_a_registry() -> None:
    lock = json.loads((ROOT / "examples" / "package-lock.json").read_text(encoding="utf-8"))
    assert not [place for place in lock["packages"].values() if str(place.get("resolved", "")).startswith("http")]


def test_the_built_example_is_small(built: Built) -> None:
    files = [path for path in built.site.rglob("*") if path.is_file()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= SIZE_LIMIT


def test_the_types_fit_and_the_composable_holds_its_promises(built: Built, server: Server) -> None:
    built.npm("run", "check")
    said = built.npm("test", QUEUE_URL=server.root)
    assert "live.test.ts" in said and "skipped" not in said


# --- good moments ------------------------------------------------------------------------------------------------------


def test_a_picture_from_its_prompt_to_the_page_and_after_a_reload(visitor: Enter, server: Server) -> None:
    ann = visitor().enter()
    first, second = ann.submit("a lighthouse at dusk", 250), ann.submit("a forest", 3)
    _expect_text(ann.row(second).locator(".where span").first, "1 before you")
    ann.row(first).locator("progress").wait_for()
    ann.row(first).locator("img.preview").wait_for()
    ann.page.reload()  # in the middle of it
    ann.row(second).wait_for()
    for job_id in (first, second):
        ann.tile(job_id).wait_for()
    _expect_count(ann.page.locator(".tile"), 2)
    ann.tile(second).click()
    assert "a forest" in ann.page.locator("dialog[open] pre").inner_text()


def test_an_idle_page_sends_nothing_but_the_ping(visitor: Enter) -> None:
    ann = visitor()
    sent: list[Any] = []
    asked: list[str] = []
    ann.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    ann.enter()
    ann.tile(ann.submit("one", 2)).wait_for()
    _heard(ann, lambda: len(sent) > 3 and sent[-1] == "3", "the page comes to rest")
    ann.page.on("request", lambda request: asked.append(request.url))
    seen = len(sent)
    _heard(ann, lambda: len(sent) >= seen + 3, "three pings pass")
    assert set(sent[seen:]) == {"3"} and not asked


def test_a_picture_is_made_of_a_picture(visitor: Enter, server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "start.png")
    ann = visitor().enter()
    ann.page.locator("input[type=file]").set_input_files(tmp_path / "start.png")
    ann.page.locator(".start img").wait_for()
    job_id = ann.submit("teal mountains")
    ann.tile(job_id).wait_for()
    assert server.job(job_id)["task"] == "img2img"


def test_a_schedule_of_ones_own_is_made_switched_off_and_removed(visitor: Enter, server: Server) -> None:
    ann, bob = visitor().enter(), visitor().enter()
    for who in (ann, bob):
        who.page.locator(".schedules summary").click()
    ann.page.locator("[name=prompt]").fill("the picture of the day")
    ann.page.get_by_role("button", name="Repeat this").click()
    ann.page.locator(".schedule", has_text="next:").wait_for()
    _expect_count(bob.page.locator(".schedule"), 0)
    ann.page.locator(".schedule input").click()
    ann.page.locator(".schedule", has_text="off").wait_for()
    ann.page.locator(".schedule").get_by_role("button", name="Remove").click()
    _expect_count(ann.page.locator(".schedule"), 0)


def test_it_fits_a_phone_and_speaks_chinese(visitor: Enter, server: Server) -> None:
    ann = visitor(locale="zh-CN").enter()
    ann.page.set_viewport_size({"width": 390, "height": 844})
    job_id = ann.submit("a very long prompt " * 40, 300)
    _expect_text(ann.row(job_id).locator(".where span").first, "正在生成")
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    ann.row(job_id).get_by_role("button", name="取消").click()
    _expect_count(ann.row(job_id), 0)


def test_two_tabs_of_one_person_show_the_same(visitor: Enter) -> None:
    ann = visitor().enter()
    other = ann.tab()
    other.locator(LIVE).wait_for()
    held, waiting = ann.submit("held up", 400), ann.submit("waits")
    ann.row(waiting, other).get_by_role("button", name="Cancel").click()
    _expect_count(ann.row(waiting), 0)
    ann.row(held, other).get_by_role("button", name="Cancel").click()
    for page in (ann.page, other):
        _expect_count(ann.row(held, page), 0)
    done = ann.submit("done", 2)
    for page in (ann.page, other):
        ann.tile(done, page).wait_for()


# --- bad moments -------------------------------------------------------------------------------------------------------


def test_the_server_is_killed_while_a_job_runs_and_starts_again(visitor: Enter, server: Server) -> None:
    ann = visitor().enter()
    running, waiting = ann.submit("running", 250), ann.submit("waiting")
    ann.row(running).locator("progress").wait_for()
    server.kill()
    ann.page.locator('.state[data-state="lost"]').wait_for()
    ann.row(waiting).wait_for()  # what is known stays
    server.start()
    ann.online()
    for job_id in (running, waiting):
        ann.tile(job_id).wait_for()
    _expect_count(ann.page.locator(".tile"), 2)
    _expect_count(ann.page.locator(".line .job"), 0)
    assert server.job(running)["attempt"] == 2


def test_three_results_come_while_the_network_is_off(visitor: Enter, server: Server) -> None:
    ann = visitor().enter()
    ann.tile(ann.submit("before", 2)).wait_for()
    ann.context.set_offline(True)
    ann.page.locator('.state[data-state="lost"]').wait_for()
    ids = server.add_many(3, ann.secret)
    for job_id in ids:
        server.wait_state(job_id, "succeeded")
    ann.page.locator("[name=prompt]").fill("written in a tunnel")
    ann.page.locator("button.main").click()
    _expect_text(ann.page.locator("button.main"), "Sending…")
    ann.online()
    for job_id in ids:
        ann.tile(job_id).wait_for()
    _expect_count(ann.page.locator(".tile"), 5)  # what was written in the tunnel went out, once
    _expect_count(ann.page.locator(".toast", has_text="tunnel"), 1)


def test_a_cursor_older_than_the_log_begins_anew_without_losing_a_result(visitor: Enter, server: Server) -> None:
    ann = visitor().enter()
    waiting = ann.submit("runs while nobody listens", 150)
    ann.row(waiting).locator("progress").wait_for()
    ann.context.set_offline(True)
    ann.page.locator('.state[data-state="lost"]').wait_for()
    server.wait_state(waiting, "succeeded")
    server.add()
    server.wait_drained()
    server.terminate()
    with sqlite3.connect(server.folder / "queue.sqlite3") as db:
        db.execute("DELETE FROM queue_event WHERE seq < (SELECT MAX(seq) FROM queue_event)")
    db.close()
    server.start()
    ann.online()
    ann.tile(waiting).wait_for()
    _expect_count(ann.page.locator(".tile"), 1)
    _expect_count(ann.page.locator(".line .job"), 0)
    ann.page.locator(".toast", has_text="runs while nobody listens").wait_for()


def test_a_lid_is_closed_and_opened_again(visitor: Enter, browser: Any, site: str, launch: Launch) -> None:
    """Every page of the browser sleeps, as those of a machine do whose lid is closed; the server gives its socket up."""
    pings = ("--ping-interval-s", "1", "--ping-timeout-s", "1")
    server = launch("--cors-allowed-origins", site, *pings, env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    ann = visitor(server)
    sockets: list[Any] = []
    ann.page.on("websocket", lambda socket: sockets.append(socket))
    ann.enter()
    job_id = ann.submit("dreamt", 120)  # long enough for the server to miss several answers
    ann.row(job_id).locator("progress").wait_for()
    with asleep(browser):
        server.wait_state(job_id, "succeeded")
    ann.tile(job_id).wait_for()
    ann.page.locator(LIVE).wait_for()
    _expect_count(ann.page.locator(".toast", has_text="dreamt"), 1)
    assert len(sockets) > 1


def test_a_job_that_ends_while_the_page_says_hello_is_shown(visitor: Enter, server: Server) -> None:
    """The greeting reaches the server late; what the server says meanwhile reaches the page."""
    ann = visitor()
    hello = LateHello(ann.context)
    ann.page.reload()
    ann.enter()
    job_id = ann.submit("ends in between", 150)
    ann.row(job_id).locator("progress").wait_for()
    hello.hold()
    ann.page.evaluate("dispatchEvent(new Event('online'))")  # comes back at once
    _heard(ann, lambda: hello.held, "the page comes back and says hello")
    _heard(ann, lambda: hello.told('["result"'), "the job has ended")
    hello.let_go()
    ann.tile(job_id).wait_for()
    _expect_count(ann.row(job_id), 0)
    _expect_count(ann.page.locator(".toast", has_text="ends in between"), 1)


def test_a_page_that_was_hung_up_on_or_not_greeted_comes_back(visitor: Enter, server: Server) -> None:
    ann = visitor()
    hello = LateHello(ann.context)
    ann.page.reload()
    ann.enter()
    hello.hang_up()
    ann.page.locator('.state[data-state="lost"]').wait_for()
    ann.page.locator(LIVE).wait_for()
    hello.hold()
    ann.page.evaluate("dispatchEvent(new Event('online'))")
    _heard(ann, lambda: hello.held, "the page comes back and says hello")
    hello.refuse()
    ann.page.locator('.state[data-state="lost"]').wait_for()
    ann.page.locator(LIVE).wait_for()
    ann.tile(ann.submit("goes on", 2)).wait_for()


def test_what_is_told_of_places_while_the_page_says_hello_is_newer_than_its_answer(
    visitor: Enter, server: Server
) -> None:
    ann = visitor()
    hello = LateHello(ann.context)
    ann.page.reload()
    ann.enter()
    ann.submit("runs", 1000)
    first, second = ann.submit("first", 2), ann.submit("second", 2)
    _expect_text(ann.row(second).locator(".where span").first, "2 before you")
    hello.hold("answer")
    ann.page.evaluate("dispatchEvent(new Event('online'))")
    _heard(ann, lambda: hello.held, "the server has answered")
    server.post(f"/v1/jobs/{second}/move", {"to": "front"})
    _heard(ann, lambda: hello.told(f'{second}":{{"position":1'), "the places are told")
    hello.let_go()
    _expect_text(ann.row(second).locator(".where span").first, "1 before you")
    _expect_text(ann.row(first).locator(".where span").first, "2 before you")
    server.post("/v1/jobs/actions", {"action": "cancel", "filter": {}})


def test_mounted_and_unmounted_fifty_times_nothing_is_left(visitor: Enter) -> None:
    ann = visitor()
    sockets: list[Any] = []
    ann.page.on("websocket", lambda socket: sockets.append(socket))
    console = ann.context.new_cdp_session(ann.page)

    def listeners() -> int:
        """Those on window and document."""
        count = 0
        for place in ("window", "document"):
            found = console.send("Runtime.evaluate", {"expression": place})["result"]["objectId"]
            count += len(console.send("DOMDebugger.getEventListeners", {"objectId": found})["listeners"])
        return count

    ann.enter()
    ann.page.locator(".leave").click()
    ann.page.locator(".guest").wait_for()
    _heard(ann, lambda: all(socket.is_closed() for socket in sockets), "the first connection is over")
    before = listeners()
    for _ in range(50):
        ann.page.locator(".guest").click()
        ann.page.locator(".leave").click()
    ann.page.locator(".guest").wait_for()
    _heard(ann, lambda: all(socket.is_closed() for socket in sockets), "every connection is over")
    assert listeners() == before
    ann.enter()
    job_id = ann.submit("still there", 2)
    ann.tile(job_id).wait_for()
    _expect_count(ann.page.locator(".toast.good"), 1)


def test_a_login_expires_and_nothing_is_lost(visitor: Enter, site: str, prepare: Launch) -> None:
    options = ("--cors-allowed-origins", site, "--token-ttl-s", "3", "--quota-per-day", "2")
    server = prepare(*options, env={"QUEUE_EXT_DEMO_STEP_S": STEP_S}, entry="tests.journeys.entries:with_login").start()
    ann = visitor(server)

    def sign_in(password: str) -> None:
        ann.page.locator("[name=user]").fill("ann")
        ann.page.locator("[name=password]").fill(password)
        ann.page.get_by_role("button", name="Sign in").click()

    sign_in("wrong")
    _expect_text(ann.page.locator(".bad"), "The user name or the password is wrong.")
    sign_in("secret")
    ann.page.locator(LIVE).wait_for()
    job_id = ann.submit("over many steps", 200)
    _expect_text(ann.page.locator(".quota"), "1 left today")
    ann.page.get_by_text("Your login has expired").first.wait_for()
    sign_in("secret")
    ann.tile(job_id).wait_for()
    ann.submit("the last of today", 1)
    _expect_text(ann.page.locator(".quota"), "none left today")
    ann.page.locator("button.main:not([disabled])").click()
    ann.page.locator(".toast.bad", has_text="quota_per_day").wait_for()


def test_an_upload_of_20_mb_is_refused_with_the_reason(visitor: Enter, tmp_path: Path) -> None:
    large, broken = tmp_path / "large.png", tmp_path / "broken.png"
    large.write_bytes(b"\x89PNG" + bytes(20_000_000))
    broken.write_bytes(b"no picture")
    ann = visitor().enter()
    ann.page.locator("input[type=file]").set_input_files(large)
    ann.page.locator(".toast.bad", has_text="larger than 16 MB").wait_for()
    ann.page.locator("input[type=file]").set_input_files(broken)
    ann.page.locator(".toast.bad", has_text="picture").nth(1).wait_for()
    ann.tile(ann.submit("goes on", 2)).wait_for()


def test_two_hundred_jobs_are_in_the_list_and_the_line_moves(visitor: Enter, server: Server) -> None:
    ann = visitor().enter()
    server.post("/v1/queues/default/pause")
    try:
        ids = server.add_many(200, ann.secret)
        _expect_count(ann.page.locator(".line .job"), 200)
        _expect_text(ann.row(ids[-1]).locator(".place"), "200")
        ann.row(ids[0]).get_by_role("button", name="Cancel").click()
        _expect_text(ann.row(ids[-1]).locator(".place"), "199")
        ann.page.reload()
        _expect_count(ann.page.locator(".line .job"), 199)
        server.post("/v1/jobs/actions", {"action": "cancel", "ids": ids})
        _expect_count(ann.page.locator(".line .job"), 0)
    finally:
        server.post("/v1/queues/default/resume")


def test_a_page_of_a_wrong_origin_is_told_so(visitor: Enter, built: Built, server: Server) -> None:
    with hosted(built.site) as wrong:
        eve = visitor(page=wrong)
        eve.page.locator(".guest").click()
        refusal = eve.page.locator(".refusal")
        refusal.wait_for()
        assert f"Pages of {wrong} may not use this queue" in refusal.inner_text()
        eve.page.locator("[name=prompt]").fill("x")
        eve.page.locator("button.main").click()
        _heard(eve, lambda: any("CORS policy" in line for line in eve.console), "the console says why")
    assert server.said.count(f"a page of {wrong} was refused; allow it with the setting cors_allowed_origins") == 1


# --- the same without Vue ----------------------------------------------------------------------------------------------


def test_the_plain_page_shows_a_picture(browser: Any, built: Built, site: str, server: Server) -> None:
    if vendor.ensure() is None:
        require("the socket library cannot be had")
    shutil.copy(ROOT / "examples" / "plain" / "index.html", built.site / "plain.html")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/plain.html?server={server.root}")
    _expect_text(page.locator("#state"), "live")
    page.locator("input").fill("a lighthouse")
    page.locator("button").click()
    page.locator("#pictures img").wait_for()
    page.wait_for_function("document.querySelector('#pictures img').naturalWidth > 0")
    _expect_count(page.locator("#jobs li"), 0)
    page.close()
    assert not errors


def test_the_plain_page_comes_back_when_it_was_hung_up_on_or_not_greeted(
    browser: Any, built: Built, site: str, server: Server
) -> None:
    if vendor.ensure() is None:
        require("the socket library cannot be had")
    shutil.copy(ROOT / "examples" / "plain" / "index.html", built.site / "plain.html")
    page = browser.new_page()
    hello = LateHello(page.context)
    page.goto(f"{site}/plain.html?server={server.root}")
    _expect_text(page.locator("#state"), "live")
    hello.hang_up()
    _expect_text(page.locator("#state"), "connection lost, trying again")
    _expect_text(page.locator("#state"), "live")
    hello.hold()
    until(lambda: page.evaluate("true") and hello.held, "the page comes back and says hello")
    hello.refuse()
    _expect_text(page.locator("#state"), "The queue cannot store this now.")
    _expect_text(page.locator("#state"), "live")
    page.close()


def test_the_python_client_outlives_the_server_and_saves_its_picture(server: Server, tmp_path: Path) -> None:
    server.post("/v1/queues/default/pause")
    script = str(ROOT / "examples" / "python" / "client.py")
    client = subprocess.Popen(
        [sys.executable, "-u", script, server.root, "a lighthouse", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert client.stdout and "paused" in client.stdout.readline()
        server.kill()
        server.start()
        server.post("/v1/queues/default/resume")
        said = client.communicate(timeout=60)[0]
    finally:
        client.kill()
    assert client.returncode == 0, said
    assert Image.open(tmp_path / "picture-0.png").size == (512, 512)


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("curl") is None, reason="needs a shell and curl")
def test_the_curl_session_goes_as_it_is_written(server: Server, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "curl" / "session.sh")
    command = ["sh", script, server.root, 'a "quoted" lighthouse', str(tmp_path / "p.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "no_proxy": "*"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert Image.open(tmp_path / "p.png").size == (512, 512)
    assert "\ndeleted\n" in done.stdout and "must be an integer from 16 to 8192" in done.stdout
