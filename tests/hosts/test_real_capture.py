"""Enqueue in a real WebUI: the same picture as Generate, also after a restart and after extensions came and went."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import WebUI
from .page import Page, opened

pytestmark = pytest.mark.timeout(900)
FLAGS = ["--api", "--gradio-allowed-path", "."]  # with a data folder of its own, Forge serves its own scripts only so
TINT = Path(__file__).resolve().parent / "tint"
COLOUR = (250, 10, 120)


def pixels(webui: WebUI, address: str) -> bytes:
    status, data = webui.ask("GET", address)
    assert status == 200
    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def made(webui: WebUI, job: Any) -> list[bytes]:
    assert job["state"] == "succeeded", job["error"]
    return [pixels(webui, image["url"]) for image in job["result"]["images"]]


def generated(webui: WebUI, page: Page, tab: str = "txt2img") -> bytes:
    """Press Generate twice, since a host's first picture may differ; the picture of its gallery."""
    shown = ""
    for _ in range(2):
        page.page.wait_for_selector(f"#{tab}_generate", state="visible")
        page.page.click(f"#{tab}_generate")
        page.page.wait_for_function(
            """([tab, before]) => (document.querySelector(`#${tab}_gallery img[src*="/file="]`)?.src || before) !== before
               && document.querySelector(`#${tab}_interrupt`).offsetParent === null""",
            arg=[tab, shown],
        )
        shown = page.page.locator(f"#{tab}_gallery img[src*='/file=']").first.evaluate("image => image.src")
    return pixels(webui, "/file=" + shown.partition("/file=")[2])


def enqueued(webui: WebUI, page: Page) -> str:
    assert "Queued" in page.enqueue()
    page.page.wait_for_timeout(500)
    return str(webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]["id"])


def pause(webui: WebUI, verb: str = "pause") -> None:
    webui.ask("POST", f"/queue-ext/v1/queues/default/{verb}", {})


def restart(webui: WebUI) -> None:
    webui.stop()
    webui.start()


def test_a_job_makes_the_picture_that_generate_makes(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("the same twice", steps=3, seed=7)
        picture = generated(webui, page)
        assert made(webui, webui.wait(enqueued(webui, page))) == [picture]


def test_a_selected_script_runs_as_generate_runs_it(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("rows of a plot", steps=2, seed=7)
        page.choose_script("Prompt matrix")
        job = webui.wait(enqueued(webui, page))
    assert job["payload"]["controls"]["script_list"]["value"] == "Prompt matrix"
    assert made(webui, job)


def test_generate_also_queues_and_shows_the_outcome_in_its_gallery(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("shown where it was asked for", steps=2, seed=7)
        page.page.evaluate("opts.queue_ext_generate = true")
        page.page.click("#txt2img_generate")
        page.page.wait_for_selector("#txt2img_gallery img")
        assert "shown where it was asked for" in page.page.locator("#html_info_txt2img").first.inner_text()
    assert webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]["task"] == "ui:txt2img_generate"


@pytest.mark.parametrize("target", ["img2img", "inpaint", "extras"])
def test_a_result_is_sent_to_a_tab(webui: WebUI, browser: Any, root: str, target: str) -> None:
    job = webui.wait(webui.enqueue({"prompt": "to be sent", "steps": 1, "width": 64, "height": 64}))
    image = job["result"]["images"][0]
    with opened(browser, root) as page:
        page.page.evaluate(
            "([to, url, text]) => queueExt.sendTo(to, url, text)", [target, image["url"], image["infotext"]]
        )
        tab = "extras" if target == "extras" else "img2img"
        page.page.wait_for_selector(f"#{tab}_generate", state="visible")
        page.page.wait_for_function(
            f"[...document.querySelectorAll('#tab_{tab} img')].some((image) => image.naturalWidth === 64)"
        )


def test_a_job_runs_as_captured_after_a_restart_and_after_its_extension_went(
    webui: WebUI, browser: Any, root: str, tmp_path: Path
) -> None:
    link, picture = webui.data / "extensions/tint", tmp_path / "tint.png"
    Image.new("RGB", (20, 20), COLOUR).save(picture)
    link.symlink_to(TINT)
    restart(webui)
    pause(webui)
    with opened(browser, root) as page:
        page.set("tinted", steps=2, seed=7)
        page.drop("script_txt2img_tint_tint_picture", picture)
        first, second = enqueued(webui, page), enqueued(webui, page)
    webui.ask("PATCH", f"/queue-ext/v1/jobs/{second}", {"run_at": "2099-01-01T00:00:00Z"})
    restart(webui)
    pause(webui, "resume")
    assert made(webui, webui.wait(first)) == [bytes(COLOUR) * 64 * 64]
    link.unlink()
    restart(webui)
    webui.ask("PATCH", f"/queue-ext/v1/jobs/{second}", {"run_at": None})
    job = webui.wait(second)
    assert made(webui, job) != [bytes(COLOUR) * 64 * 64]
    (note,) = job["result"]["info"]["captured"]["notes"]
    assert note.startswith("ignored, not there any more: ") and "script_txt2img_tint_tint_picture" in note


def test_an_extension_that_came_takes_its_defaults_and_that_is_said(webui: WebUI, browser: Any, root: str) -> None:
    pause(webui)
    with opened(browser, root) as page:
        page.set("before it came", steps=2, seed=7)
        job_id = enqueued(webui, page)
    link = webui.data / "extensions/tint"
    link.symlink_to(TINT)
    try:
        restart(webui)
        pause(webui, "resume")
        job = webui.wait(job_id)
    finally:
        link.unlink()
    assert made(webui, job)
    assert any("new, at its default: Tint: Tint on" in note for note in job["result"]["info"]["captured"]["notes"])
