"""The extension inside a WebUI: what it relies on there, and journeys through REST, Socket.IO and the page.

Without options the hosts are the two stand-ins, on the packages that AUTOMATIC1111 and Forge pin (Python 3.10 or 3.11);
``pytest tests/hosts --webui-dir PATH`` runs the same tests in a real checkout.
"""

import asyncio
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from ..journeys.browser import Browser
from ..journeys.server import until
from . import contract
from .hosts import HERE, Host
from .page import Page, opened

pytestmark = pytest.mark.timeout(900)  # the first test installs packages

SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler"}
TINT = HERE / "tint"
START = ["script", "before_ui", "ui_settings", "txt2img_generate", "ui_tabs", "app_started"]


def long(host: Host) -> dict[str, Any]:
    """A payload that takes about 10 s."""
    return {**SMALL, "width": 128, "height": 128, "steps": host.many_steps}


# --- part 1: the contract --------------------------------------------------------------------------------------------


def test_names_and_signatures_are_as_the_extension_expects(host: Host) -> None:
    found = host.facts()["names"]
    callables = {**contract.CALLABLES, **(contract.ONLY_FORGE_CALLABLES if host.is_forge else {})}
    values = {**contract.VALUES, **(contract.ONLY_FORGE_VALUES if host.is_forge else {})}
    wrong = {name: found[name] for name in (*callables, *values) if found[name] is None}
    for name, first in callables.items():
        if found[name] and (found[name]["parameters"] or [])[: len(first)] != first:
            wrong[name] = found[name]["parameters"]
    for name, kind in values.items():
        if found[name] and kind not in (None, found[name]["type"]):
            wrong[name] = found[name]["type"]
    assert not wrong


def test_the_host_calls_in_the_order_and_threads_the_extension_expects(host: Host) -> None:
    first = host.moments()[: len(START)]
    assert [moment["name"] for moment in first] == START
    assert [moment["listening"] for moment in first] == [False] * 5 + [True]
    assert first[-1]["is_main"] is not host.is_forge
    script, button, tabs = first[0], first[3], first[4]
    assert script["first_path"] == script["basedir"] and Path(script["basedir"]).name == "queue-ext-probe"
    assert button["row"] == "txt2img_generate_box"
    assert tabs["has_handler"] is False  # the root of the tab is not in any context any more


def test_who_waits_for_the_lock_is_seen_until_they_have_it(host: Host) -> None:
    assert host.facts()["line"] == {"while_waiting": True, "when_taken": False}


def test_the_page_has_the_elements_the_extension_looks_for(host: Host) -> None:
    assert not set(contract.ELEM_IDS) - set(host.facts()["elem_ids"])


@pytest.mark.parametrize("tab", contract.BUTTONS)
def test_a_generate_button_is_found_by_its_function_and_sends_its_controls(host: Host, tab: str) -> None:
    named = [item for item in host.facts()["buttons"][tab] if item["function"] == contract.BUTTONS[tab]]
    assert len(named) == 1
    inputs, arguments = named[0]["inputs"], named[0]["arguments"]
    assert arguments[0] == "id_task" and named[0]["js"].startswith("submit")
    assert named[0]["outputs"][0] == ["Gallery", f"{tab}_gallery"]
    for name, elem_id in contract.OWN_CONTROLS.get(tab, {}).items():
        assert inputs[arguments.index(name)][1] == elem_id, name


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_scripts_own_the_inputs_behind_those_of_the_tab(host: Host, tab: str) -> None:
    facts = host.facts()
    table = facts["scripts"][tab]
    main = next(item for item in facts["buttons"][tab] if item["function"] == tab)
    start = len(main["arguments"])
    assert table["selector"] == "script_list" and main["inputs"][start][1] == "script_list"
    assert len(main["inputs"]) == start + table["inputs"]
    for script in table["scripts"]:
        sent = [elem_id for _, elem_id in main["inputs"][start + script["from"] : start + script["to"]]]
        assert sent == script["elem_ids"], script["title"]
    for title, ends in contract.SCRIPT_CONTROLS.items():
        script = next(item for item in table["scripts"] if item["title"] == title)
        assert script["elem_ids"][: len(ends)] == [f"{tab}_{end}" for end in ends]


def test_on_forge_other_handlers_of_the_click_fill_states_that_generate_takes(host: Host) -> None:
    if not host.is_forge:
        pytest.skip("only Forge has them")
    handlers = host.facts()["buttons"]["txt2img"]
    main = next(item for item in handlers if item["function"] == "txt2img")
    helpers = [item for item in handlers if item is not main and item["function"] not in (None, "enqueue")]
    assert helpers and all(item["outputs"] == [["State", None]] for item in helpers)
    assert sum(kind == "State" for kind, _ in main["inputs"]) >= len(helpers)


def test_the_api_has_the_routes_the_extension_uses(host: Host) -> None:
    wanted = {"/internal/progress", "/internal/pending-tasks"}
    wanted |= {f"/sdapi/v1/{name}" for name in ("txt2img", "img2img", "extra-single-image", "progress", "options")}
    assert not wanted - set(host.facts()["routes"])


def test_the_host_swallows_what_the_extension_refuses(host: Host) -> None:
    """If this fails, a check at the door is not needed any more."""
    assert host.ask("POST", "/sdapi/v1/txt2img", {**SMALL, "sampler_name": "Eular"})[0] == 200
    assert host.ask("POST", "/sdapi/v1/txt2img", {**SMALL, "override_settings": {"sd_model_checkpoint": "?"}})[0] == 200
    assert host.ask("POST", "/sdapi/v1/txt2img", {**SMALL, "steps": 0})[0] == 500
    assert host.ask("POST", "/sdapi/v1/txt2img", {**SMALL, "script_name": "?", "script_args": []})[0] == 422


# --- part 2: journeys ------------------------------------------------------------------------------------------------


def test_the_extension_is_loaded_and_healthy(host: Host) -> None:
    assert host.healthy()["status"] == "ok"
    facts = host.facts()
    assert "tab_queue_ext" in facts["elem_ids"]
    assert {"queue_ext_visibility", "queue_ext_retry_attempts", "queue_ext_shortcut"} <= set(facts["option_names"])


@pytest.mark.parametrize("task", ["txt2img", "img2img", "extras"])
def test_a_payload_becomes_a_picture(host: Host, task: str) -> None:
    payload = {**SMALL, "prompt": "an owl"}
    if task != "txt2img":
        picture = host.ask("POST", "/sdapi/v1/txt2img", SMALL)[1]["images"][0]
        payload = {**payload, "init_images": [picture]}
    if task == "extras":
        payload = {"image": picture, "upscaling_resize": 2, "upscaler_1": "Lanczos"}
    job = host.wait(host.enqueue(payload, task))
    assert job["state"] == "succeeded", job["error"]
    _, data = host.ask("GET", job["result"]["images"][0]["url"])
    assert data[:4] == b"\x89PNG"
    assert task == "extras" or "an owl" in job["result"]["images"][0]["infotext"]


def test_always_on_and_selectable_scripts_run_with_the_arguments_of_a_payload(host: Host) -> None:
    picture = host.ask("POST", "/sdapi/v1/txt2img", SMALL)[1]["images"][0]
    marks = {"alwayson_scripts": {"probe marks": {"args": [7]}}}
    job = host.wait(host.enqueue({**SMALL, **marks}))
    assert "Probe level: 7" in job["result"]["images"][0]["infotext"]
    refused = {**SMALL, "script_name": "probe pictur", "script_args": [picture, 0.5]}
    status, body = host.ask("POST", "/queue-ext/v1/jobs", {"task": "txt2img", "payload": refused})
    assert status == 422 and "probe picture" in body["errors"][0]["msg"]


def test_an_unknown_sampler_is_refused_with_the_nearest_names(host: Host) -> None:
    body = {"task": "txt2img", "payload": {**SMALL, "sampler_name": "Eular a"}}
    status, problem = host.ask("POST", "/queue-ext/v1/jobs", body)
    assert status == 422 and problem["errors"][0]["loc"] == ["payload", "sampler_name"]
    assert "Euler a" in problem["errors"][0]["msg"]


def test_a_body_of_the_wrong_shape_is_refused_alike_by_both_versions_of_pydantic(host: Host) -> None:
    """Version 1 takes an empty list for an object."""
    bodies: dict[str, Any] = {"body": [], "payload": {"task": "txt2img", "payload": []}}
    for where, body in bodies.items():
        status, problem = host.ask("POST", "/queue-ext/v1/jobs", body)
        assert (status, problem["errors"]) == (422, [{"loc": [where], "msg": "must be an object"}])
    body = {"task": "txt2img", "payload": SMALL, "labels": "x"}
    assert host.ask("POST", "/queue-ext/v1/jobs", body)[1]["errors"] == [{"loc": ["labels"], "msg": "must be a list"}]


def test_a_browser_hears_its_job_through_the_socket(host: Host) -> None:
    with ThreadPoolExecutor(1) as pool:  # this thread has the loop of the page's driver
        states, results = pool.submit(asyncio.run, _listened(host)).result(60)
    assert states[-1] == "succeeded" and results == 1


async def _listened(host: Host) -> tuple[list[str], int]:
    browser = Browser(host, client_id="a-browser-of-the-tests")  # type: ignore[arg-type]
    async with browser:
        said = await browser.ask("enqueue", {"task": "txt2img", "payload": {**SMALL, "steps": 8}})
        job_id = said["job"]["id"]
        await browser.until(lambda: job_id in browser.results(), "the result is pushed")
        await browser.until(lambda: "succeeded" in browser.states(job_id), "the last state is pushed")
    return browser.states(job_id), browser.results().count(job_id)


def test_a_job_is_cancelled_while_it_runs(host: Host) -> None:
    job_id = host.enqueue(long(host))
    host.begun(job_id)
    assert host.ask("DELETE", f"/queue-ext/v1/jobs/{job_id}")[0] == 200
    assert host.wait(job_id, seconds=10)["state"] == "deleted"
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


def test_an_error_inside_the_host_fails_its_job_alone(host: Host) -> None:
    payload = {**SMALL, "alwayson_scripts": {"boom": {"args": ["error"]}}}
    job = host.wait(host.enqueue(payload, retry={"attempts": 0}))
    assert (job["state"], job["error"]["message"]) == ("failed", "boom inside the host's pipeline")
    assert host.get("/internal/pending-tasks")["size"] == 0
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


def test_api_calls_between_jobs_never_overlap_with_them(host: Host) -> None:
    before = len(host.runs())
    jobs = [host.enqueue({**SMALL, "prompt": f"job {n}", "steps": 10}) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(host.ask, "POST", "/sdapi/v1/txt2img", {**SMALL, "prompt": f"call {n}"}) for n in range(3)]
        assert [call.result()[0] for call in calls] == [200] * 3
    assert all(host.wait(job_id)["state"] == "succeeded" for job_id in jobs)
    marks = host.runs()[before:]
    assert [mark["what"] for mark in marks] == ["begin", "end"] * 6
    assert all(marks[n]["prompt"] == marks[n + 1]["prompt"] for n in range(0, 12, 2))


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def txt2img(host: Host, browser: Any) -> Any:
    with opened(browser, host.root) as page:
        yield page


@pytest.fixture
def img2img(host: Host, browser: Any) -> Any:
    with opened(browser, host.root, "img2img") as page:
        yield page


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A picture that is easily told."""
    file = tmp_path / "red.png"
    Image.new("RGB", (96, 80), (250, 20, 30)).save(file)
    return file


def clicked(host: Host, page: Page) -> str:
    """Press Enqueue; the id of the job."""
    before = host.get("/queue-ext/v1/jobs?limit=1")["total"]
    assert "Queued" in page.enqueue()
    until(lambda: host.get("/queue-ext/v1/jobs?limit=1")["total"] > before, "the job is listed")
    return str(host.newest()["id"])


def queued(host: Host, page: Page) -> Any:
    """Press Enqueue; the job as it ended."""
    return host.wait(clicked(host, page))


def test_enqueue_queues_what_is_on_screen_and_the_picture_appears_in_the_tab(host: Host, txt2img: Page) -> None:
    job = queued(host, txt2img.set("a heron in the reeds", steps=3, size=128, seed=77))
    assert (job["task"], job["state"]) == ("ui:txt2img_generate", "succeeded"), job["error"]
    picture = job["result"]["images"][0]
    assert (picture["width"], picture["height"]) == (128, 128)
    for part in ("a heron in the reeds", "Steps: 3", "Seed: 77"):
        assert part in picture["infotext"]
    txt2img.page.locator(".queue-ext-toast a").last.click()
    shown = txt2img.page.locator(f"#queue_ext img[src*='{job['id']}']").first
    shown.wait_for()
    txt2img.page.locator(".queue-ext-toast").first.wait_for(state="detached")  # though the mouse still rests on it
    until(lambda: shown.evaluate("image => image.naturalWidth") > 0, "the picture is loaded")


def test_a_chinese_browser_reads_the_name_of_our_tab(host: Host, browser: Any) -> None:
    with opened(browser, host.root, locale="zh-CN") as chinese:
        chinese.click_tab("队列")
        chinese.page.locator("#queue_ext .q-own", has_text="您").wait_for()
        chinese.page.locator("#tabs > .tab-nav > button.selected", has_text="队列").wait_for()


def test_a_captured_job_is_edited_and_its_picture_sent_on_in_the_tab(host: Host, txt2img: Page) -> None:
    """The tab in the host's page: its colours, its controls, its own tabs."""
    page = txt2img.page
    host.ask("POST", "/queue-ext/v1/queues/default/pause")
    job_id = clicked(host, txt2img.set("a kingfisher", steps=2, seed=5))
    page.locator(".queue-ext-toast a").last.click()
    row = page.locator(f".q-row[data-job='{job_id}']")
    row.locator(".q-open").focus()
    page.keyboard.press("e")
    dialog = page.locator(".q-viewer[open]")
    form = dialog.locator("form", has_text="Negative prompt")
    form.get_by_label("Steps", exact=True).fill("4")
    form.get_by_text(re.compile("controls of the page")).click()
    form.get_by_label("Denoising strength", exact=True).first.wait_for()
    form.get_by_label("Upscaler", exact=True).first.wait_for()  # as the page calls txt2img_hr_upscaler
    assert dialog.evaluate("dialog => getComputedStyle(dialog).backgroundColor") not in (
        "rgba(0, 0, 0, 0)",
        "transparent",
    )
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
    row.locator(".q-facts", has_text="4 steps").wait_for()
    assert "1" in page.locator("#tabs > .tab-nav > button", has=page.locator(".q-tab-count")).inner_text()
    page.keyboard.press("Escape")
    host.ask("POST", "/queue-ext/v1/queues/default/resume")
    assert "Steps: 4" in host.wait(job_id)["result"]["images"][0]["infotext"]
    page.locator(f"#queue_ext .q-tile:has(img[src*='{job_id}']) button").first.click()
    dialog.get_by_role("button", name="img2img").click()
    page.locator("#tabs > .tab-nav > button.selected", has_text="img2img").wait_for()


def test_generate_itself_still_works_beside_a_queued_job(host: Host, txt2img: Page) -> None:
    txt2img.set("a hedgehog", seed=5)
    waiting = host.enqueue({**SMALL, "steps": 40, "prompt": "runs before it"})
    txt2img.page.click("#txt2img_generate")
    txt2img.page.wait_for_selector("#txt2img_gallery img")
    assert "a hedgehog" in txt2img.page.locator("#html_info_txt2img").first.inner_text()
    assert host.wait(waiting)["state"] == "succeeded"


def test_enqueue_takes_the_picture_of_img2img(host: Host, img2img: Page, red: Path) -> None:
    img2img.set("a barn")
    img2img.drop("img2img_image", red)
    img2img.number("img2img_denoising_strength", 0.3)
    job = queued(host, img2img)
    assert (job["task"], job["state"]) == ("ui:img2img_generate", "succeeded"), job["error"]
    assert "Denoising strength: 0.3" in job["result"]["images"][0]["infotext"]


def test_enqueue_takes_the_selected_script_with_its_picture(host: Host, txt2img: Page, red: Path) -> None:
    txt2img.set("a fox")
    txt2img.choose_script("Probe picture")
    txt2img.drop("script_txt2img_probe_picture_picture", red)
    txt2img.number("script_txt2img_probe_marks_level", 4)
    job = queued(host, txt2img)
    assert job["state"] == "succeeded", job["error"]
    assert "Probe picture: 96x80 fa141e 0.5" in job["result"]["images"][0]["infotext"]
    assert "Probe level: 4" in job["result"]["images"][0]["infotext"]


def test_the_shortcut_queues_as_the_button_does(host: Host, txt2img: Page) -> None:
    txt2img.set("a shortcut")
    before = host.get("/queue-ext/v1/jobs?limit=1")["total"]
    txt2img.page.keyboard.press("Control+Shift+Enter")
    until(lambda: host.get("/queue-ext/v1/jobs?limit=1")["total"] == before + 1, "one job is queued")
    assert host.wait(host.newest()["id"])["state"] == "succeeded"


def test_a_click_that_reached_nobody_is_not_said_to_have_queued_anything(host: Host, txt2img: Page) -> None:
    button, listed = "#txt2img_generate_queue_split .queue-ext-enqueue", "/queue-ext/v1/jobs?limit=1"
    page = txt2img.set("before and after the cut").page
    assert queued(host, txt2img)["state"] == "succeeded"
    total = host.get(listed)["total"]
    page.evaluate("const now = Date.now; Date.now = () => now() + 5000")  # it is some time later
    page.context.set_offline(True)
    page.click(button)
    page.locator(".queue-ext-toast", has_text="This could not be queued").wait_for()
    page.context.set_offline(False)
    assert host.get(listed)["total"] == total
    page.click(button)
    until(lambda: host.get(listed)["total"] == total + 1, "the next click is queued")
    assert host.wait(host.newest()["id"])["state"] == "succeeded"


def test_img2img_without_a_picture_fails_as_the_click_would_and_the_next_job_runs(host: Host, img2img: Page) -> None:
    img2img.set("nothing to start from")
    job = host.wait(clicked(host, img2img), "scheduled", "failed")
    assert job["error"]["message"]
    host.ask("DELETE", f"/queue-ext/v1/jobs/{job['id']}")
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


def test_interrupt_on_the_page_ends_the_job_as_cancelled(host: Host, txt2img: Page) -> None:
    job_id = host.enqueue(long(host))
    host.begun(job_id)
    txt2img.press("txt2img_interrupt")
    job = host.wait(job_id, seconds=15)
    assert (job["state"], job["reason"]) == ("deleted", "interrupted in the WebUI")
    assert len(job["result"]["images"]) == 1  # what was made is kept
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


def test_generate_also_queues_and_tells_where_generate_would(host: Host, txt2img: Page) -> None:
    page = txt2img.set("shown where it was asked for", steps=40, size=128).page
    page.evaluate("opts.queue_ext_generate = true")
    host.ask("POST", "/queue-ext/v1/queues/default/pause", {})
    page.click("#txt2img_generate")
    toast = page.locator(".queue-ext-toast").last
    toast.wait_for()
    assert "default is paused" in toast.inner_text()
    page.wait_for_function("document.querySelector('.queue-ext-bar')?.innerText.includes('is paused')")
    page.reload()  # what was asked for is not forgotten
    page.wait_for_function("document.querySelector('.queue-ext-bar')?.innerText.includes('is paused')")
    host.ask("POST", "/queue-ext/v1/queues/default/resume", {})
    page.wait_for_function("document.querySelector('.queue-ext-bar')?.innerText.includes('is running')")
    page.wait_for_selector("#txt2img_gallery img[src*='/file=']")
    page.wait_for_selector(".queue-ext-bar", state="detached")
    assert "shown where it was asked for" in page.locator("#html_info_txt2img").first.inner_text()


def test_a_button_whose_function_takes_the_lock_itself_can_be_queued(host: Host, txt2img: Page) -> None:
    txt2img.click_tab("Probe")
    txt2img.page.click("#probe_paint_queue_split .queue-ext-enqueue")
    txt2img.page.locator(".queue-ext-toast").last.wait_for()
    until(lambda: host.newest()["task"] == "ui:probe_paint", "the click is queued")
    job = host.wait(host.newest()["id"], seconds=15)
    assert job["state"] == "succeeded" and job["result"]["images"][0]["width"] == 24
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


def test_a_captured_job_whose_checkpoint_has_gone_says_so(host: Host, txt2img: Page) -> None:
    payload = queued(host, txt2img.set("a model that goes"))["payload"]
    models = Path(host.command[host.command.index("--ckpt-dir") + 1])
    going = models / "queue-ext-going.safetensors"
    going.write_bytes(b"")
    try:
        host.ask("POST", "/sdapi/v1/refresh-checkpoints")
        body = {"task": "ui:txt2img_generate", "payload": {**payload, "checkpoint": going.name}, "delay_s": 2}
        status, job = host.ask("POST", "/queue-ext/v1/jobs", body)
        assert status == 201, job
    finally:
        for file in models.glob("queue-ext-going*"):
            file.unlink()
    host.ask("POST", "/sdapi/v1/refresh-checkpoints")
    job = host.wait(job["id"])
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert job["error"]["message"] == f"The checkpoint {going.name} is not there any more."


def test_the_menu_queues_at_the_front_several_times_for_checkpoints_and_for_later(host: Host, txt2img: Page) -> None:
    page = txt2img.set("from the menu").page
    host.ask("POST", "/queue-ext/v1/queues/default/pause")
    behind = host.enqueue(SMALL)

    def choose(entry: str) -> Any:
        page.locator("#txt2img_generate_queue_split .queue-ext-more").click()
        page.evaluate("document.body.click()")  # as the host's token counter does while somebody reads the menu
        page.get_by_role("menuitem", name=entry).click()
        return page.locator(".queue-ext-dialog")

    def line(length: int) -> list[Any]:
        """Those that wait, in the order they will run."""

        def jobs() -> Any:
            found = host.get("/queue-ext/v1/jobs?order=line")["jobs"]
            return found if len(found) == length else None

        return list(until(jobs, f"{length} jobs wait"))

    choose("Enqueue at the front")
    until(lambda: line(2)[1]["id"] == behind, "the new one is before it")
    dialog = choose("several times")
    dialog.locator("input").fill("3")
    dialog.locator("[type=submit]").click()
    line(5)
    dialog = choose("several checkpoints")
    dialog.get_by_label("All", exact=True).check()
    checkpoints = dialog.locator(".queue-ext-list label:not(.queue-ext-all)").count()
    dialog.locator("[type=submit]").click()
    ids = [job["id"] for job in line(5 + checkpoints)]
    dialog = choose("Enqueue for later")
    dialog.locator("input").fill("2099-01-01T10:00")
    dialog.locator("[type=submit]").click()
    until(lambda: host.newest()["state"] == "scheduled", "one is for later")
    assert checkpoints >= 2 and host.newest()["run_at"].startswith(("2098-12-31", "2099-01-01"))
    for job_id in (*ids, host.newest()["id"]):
        host.ask("DELETE", f"/queue-ext/v1/jobs/{job_id}")
    host.ask("POST", "/queue-ext/v1/queues/default/resume", {})


# --- the host comes and goes -----------------------------------------------------------------------------------------


def test_reload_ui_in_the_middle_of_a_job_runs_it_once_more_and_the_others_once(host: Host, browser: Any) -> None:
    captured = _captured_after(host, browser)
    seen = len(host.moments())
    host.reload()
    host.healthy()
    names = [moment["name"] for moment in host.moments()[seen:]]
    assert names[:3] == ["before_reload", "script_unloaded", "script"] and names[-1] == "app_started"
    for job_id, runs in ((captured["running"], 2), (captured["waiting"], 1)):
        job = host.wait(job_id)
        states = [entry["state"] for entry in job["history"]]
        assert (job["state"], states.count("processing"), states.count("succeeded")) == ("succeeded", runs, 1), states
    assert len(host.get("/queue-ext/v1/workers")["workers"]) == 1
    with opened(browser, host.root) as page:  # and the new page's button works
        assert queued(host, page.set("after Reload UI"))["state"] == "succeeded"


def test_reload_ui_comes_back_although_a_page_was_closed_between_a_click_and_its_turn(host: Host) -> None:
    """gradio 3.41 waits for such a page for ever, and AUTOMATIC1111 with it; gradio 4 has no such door."""
    if host.is_forge:
        pytest.skip("a click of gradio 4 comes by another door")
    with ThreadPoolExecutor(1) as pool:  # this thread has the loop of the page's driver
        pool.submit(asyncio.run, _closed_at_once(host)).result(60)
    host.reload()
    host.healthy()
    assert host.wait(host.enqueue(SMALL))["state"] == "succeeded"


async def _closed_at_once(host: Host) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{host.root}/queue/join") as page:
        await page.receive_json()
        await page.send_json({"session_hash": "closed-at-once", "fn_index": 0})


def test_a_job_runs_after_the_extension_whose_script_and_sampler_it_chose_has_gone(
    host: Host, browser: Any, red: Path
) -> None:
    link = host.data / "extensions/queue-ext-tint"
    link.symlink_to(TINT)
    host.reload()
    host.healthy()
    with opened(browser, host.root) as page:
        page.set("a guest that left")
        page.choose_script("Tint mirror")
        page.drop("script_txt2img_tint_mirror_mirror_picture", red)
        page.choose("#txt2img_sampling", "Tint Euler")
        job = queued(host, page)
        infotext = job["result"]["images"][0]["infotext"]
        assert "Tint mirror: 96x80" in infotext and "Sampler: Tint Euler" in infotext
        host.ask("POST", "/queue-ext/v1/queues/default/pause", {})
        waiting = clicked(host, page)
    link.unlink()
    host.reload()
    host.healthy()
    host.ask("POST", "/queue-ext/v1/queues/default/resume", {})
    job = host.wait(waiting)
    assert job["state"] == "succeeded", job["error"]
    assert "Tint" not in job["result"]["images"][0]["infotext"]
    (note,) = job["result"]["info"]["captured"]["notes"]
    assert note.startswith("ignored, not there any more: ")
    for gone in ("“Tint Euler”", "“Tint mirror”", "script_txt2img_tint_mirror_mirror_picture", "Tint/Tint strength"):
        assert gone in note


def _captured_after(host: Host, browser: Any) -> dict[str, str]:
    """A job that runs, and a captured one that waits behind it."""
    with opened(browser, host.root) as page:
        page.set("captured before Reload UI")
        running = host.enqueue(long(host))
        page.enqueue()
        until(lambda: host.newest()["task"].startswith("ui:"), "the click is queued")
        host.begun(running)
        return {"running": running, "waiting": host.newest()["id"]}


def test_without_a_page_jobs_run_and_captured_ones_are_refused(bare_host: Host) -> None:
    bare_host.healthy()
    job = bare_host.wait(bare_host.enqueue(SMALL))
    assert job["state"] == "succeeded", job["error"]
    body = {"task": "ui:txt2img_generate", "payload": {"controls": {}}}
    assert bare_host.ask("POST", "/queue-ext/v1/jobs", body)[0] == 422
    moment = bare_host.moments()[-1]
    assert (moment["name"], moment["has_page"], moment["listening"]) == ("app_started", False, False)
    call = threading.Thread(target=bare_host.ask, args=("POST", "/sdapi/v1/txt2img", {**SMALL, "steps": 20}))
    call.start()
    assert bare_host.wait(bare_host.enqueue(SMALL))["state"] == "succeeded"
    call.join()


def test_a_webui_that_is_stopped_in_the_middle_of_a_job_has_not_crashed(host: Host) -> None:
    """By Ctrl+C and as a service manager does it: two crashes would have ended the job. A stand-in takes one of them."""
    # Minutes, until it is cancelled: it must outlast every start.
    running, waiting = host.enqueue({**long(host), "n_iter": 50}), host.enqueue(SMALL)
    one = signal.SIGTERM if host.is_forge else signal.SIGINT
    for how in (signal.SIGINT, signal.SIGTERM) if host.is_real else (one,):
        host.begun(running)
        host.stop(how)
        host.start()
        host.healthy()
    job = host.begun(running)
    assert job["attempt"] == 1, job["history"]
    assert host.job(waiting)["state"] == "enqueued"
    host.ask("DELETE", f"/queue-ext/v1/jobs/{running}")
    assert host.wait(waiting)["state"] == "succeeded"
