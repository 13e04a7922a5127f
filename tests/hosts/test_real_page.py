"""What people do on the page of a real WebUI: draw masks, choose folders, plot, and press Generate while jobs run."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from ..journeys.server import until
from .conftest import WebUI
from .page import Page, opened

pytestmark = pytest.mark.timeout(900)
FLAGS = ["--api", "--gradio-allowed-path", "."]
SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler"}
DRAWN = {"Sketch": "img2img_sketch", "Inpaint": "img2maskimg", "Inpaint sketch": "inpaint_sketch"}


@pytest.fixture
def red(tmp_path: Path) -> Path:
    file = tmp_path / "red.png"
    Image.new("RGB", (64, 64), (250, 20, 30)).save(file)
    return file


def newest(webui: WebUI) -> Any:
    return webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]


def queued(webui: WebUI, page: Page) -> Any:
    """Press Enqueue; the job as it ended."""
    before = webui.get("/queue-ext/v1/jobs?limit=1")["total"]
    assert "Queued" in page.enqueue()
    until(lambda: webui.get("/queue-ext/v1/jobs?limit=1")["total"] > before, "the job is listed")
    job = webui.wait(newest(webui)["id"])
    assert job["state"] == "succeeded", job["error"]
    return job


def pictures(webui: WebUI, job: Any) -> list[Image.Image]:
    found = [webui.ask("GET", image["url"])[1] for image in job["result"]["images"]]
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in found]


def generated(webui: WebUI, page: Page) -> Image.Image:
    """Press Generate; the picture of its gallery."""
    gallery = page.page.locator(f"#{page.tab}_gallery img[src*='/file=']")
    before = gallery.first.evaluate("image => image.src") if gallery.count() else ""
    page.page.click(f"#{page.tab}_generate")
    page.page.wait_for_function(
        "([id, before]) => ![before, undefined].includes(document.querySelector(`#${id}_gallery img[src*='/file=']`)?.src)",
        arg=[page.tab, before],
    )
    address = str(gallery.first.evaluate("image => image.src"))
    _, data = webui.ask("GET", "/file=" + address.partition("/file=")[2])
    return Image.open(io.BytesIO(data)).convert("RGB")


PAINTED = """id => [...document.querySelectorAll(`#${id} canvas:not([key=interface])`)].map(each => each.toDataURL()).join()"""


def draw(page: Page, elem_id: str) -> None:
    """A stroke by hand through the middle of the left half. gradio 3's brush follows the mouse frame by frame, and
    misses one that begins in the frame in which it came over the picture: whoever sees nothing draws again."""
    before = page.page.evaluate(PAINTED, elem_id)
    for _ in range(5):
        stroke(page, elem_id)
        if page.page.evaluate(PAINTED, elem_id) != before:
            return
    pytest.fail("nothing can be drawn")


def stroke(page: Page, elem_id: str) -> None:
    box = page.page.locator(f"#{elem_id} canvas").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y - 100)
    page.page.wait_for_timeout(100)
    page.page.mouse.down()
    for way in (*range(-100, 101, 10), *range(100, -101, -10)):
        page.page.mouse.move(x, y + way)
        page.page.evaluate("new Promise(requestAnimationFrame)")
    page.page.mouse.up()
    page.page.wait_for_timeout(300)


def choose_mode(page: Page, mode: str) -> None:
    page.page.locator("#mode_img2img > .tab-nav > button").get_by_text(mode, exact=True).click()


@pytest.mark.parametrize("mode", DRAWN)
def test_what_is_drawn_by_hand_is_in_the_job(webui: WebUI, browser: Any, root: str, red: Path, mode: str) -> None:
    with opened(browser, root, "img2img") as page:
        page.set("drawn by hand", steps=8)
        choose_mode(page, mode)
        page.drop(DRAWN[mode], red)
        untouched = queued(webui, page)
        draw(page, DRAWN[mode])
        job = queued(webui, page)
        assert pictures(webui, job)[0].tobytes() != pictures(webui, untouched)[0].tobytes()
        assert pictures(webui, job)[0].tobytes() == generated(webui, page).tobytes()


def test_only_what_is_under_a_mask_drawn_by_hand_changes(webui: WebUI, browser: Any, root: str, red: Path) -> None:
    with opened(browser, root, "img2img") as page:
        page.set("under the mask", steps=8)
        choose_mode(page, "Inpaint")
        page.drop("img2maskimg", red)
        draw(page, "img2maskimg")
        picture = pictures(webui, queued(webui, page))[0]
    changed = ImageChops.difference(picture, Image.open(red)).crop((48, 0, 64, 64)).getextrema()
    assert all(most <= 8 for _, most in changed)  # far from the stroke


def test_a_folder_of_img2img_s_batch_is_worked_through(webui: WebUI, browser: Any, root: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), (20, 200, 30)).save(source / f"{name}.png")
    with opened(browser, root, "img2img") as page:
        page.set("a batch", steps=2)
        choose_mode(page, "Batch")
        from_folder = page.page.locator("#tab_img2img button[role=tab], #tab_img2img .tab-nav button")
        if from_folder.filter(has_text="From directory").count():
            from_folder.filter(has_text="From directory").first.click()
        page.page.locator("#img2img_batch_input_dir textarea, #img2img_batch_input_dir input").fill(str(source))
        page.page.locator("#img2img_batch_output_dir textarea, #img2img_batch_output_dir input").fill(str(target))
        queued(webui, page)
    assert len(list(target.glob("*.png"))) == 2


def test_a_plot_is_in_the_job(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("a plot", steps=1)
        page.choose_script("X/Y/Z plot")
        field = page.page.locator("#script_txt2img_xyz_plot_x_values textarea")
        page.choose("#script_txt2img_xyz_plot_x_type", "Seed")
        field.fill("11,12,13")
        job = queued(webui, page)
    assert job["payload"]["controls"]["script_list"]["value"] == "X/Y/Z plot"
    grid = pictures(webui, job)[0]
    assert grid.width >= 3 * 64


def test_generate_is_pressed_before_between_and_after_jobs(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("by hand", steps=30)
        before = generated(webui, page)
        # A line that is longer than a slow page takes to show its own picture.
        ids = [webui.enqueue({**SMALL, "steps": 80, "seed": seed}) for seed in range(4)]
        page.page.click("#txt2img_generate")  # waits in the host's own line, between two jobs
        page.page.wait_for_function("document.querySelector('#txt2img_interrupt').offsetParent === null")
        waiting = [webui.job(job_id)["state"] for job_id in ids]
        assert all(webui.wait(job_id)["state"] == "succeeded" for job_id in ids)
        after = generated(webui, page)
    assert before.tobytes() == after.tobytes()
    assert "enqueued" in waiting, "the click had to wait for the whole queue"


def test_a_job_that_is_submitted_while_generate_runs_waits_for_it(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.set("a long one", steps=100, size=128)
        page.page.click("#txt2img_generate")
        page.page.wait_for_selector("#txt2img_results .progressDiv")
        job_id = webui.enqueue(SMALL)
        assert webui.job(job_id)["ahead"] in (None, 0, 1)
        page.page.wait_for_selector("#txt2img_gallery img[src*='/file=']")
        assert webui.wait(job_id)["state"] == "succeeded"


def test_the_settings_page_has_a_section_for_the_queue(webui: WebUI, browser: Any, root: str) -> None:
    with opened(browser, root) as page:
        page.click_tab("Settings")
        page.page.locator("#settings > .tab-nav > button").get_by_text("Queue", exact=True).click()
        field = page.page.locator("#setting_queue_ext_retry_attempts textarea, #setting_queue_ext_retry_attempts input")
        field.fill("5")
        page.page.screenshot(path=str(webui.data / "settings.png"), full_page=True)
        page.page.click("#settings_submit")
        until(lambda: webui.job(webui.enqueue(SMALL))["max_attempts"] == 6, "the setting applies")
