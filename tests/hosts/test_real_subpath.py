"""A WebUI with a login behind a proxy with a path: Enqueue by the person who logged in, and the tab of the queue."""

from collections.abc import Iterator
from typing import Any

import pytest

from ..journeys.server import until
from .conftest import WebUI
from .page import DEADLINE, Page
from .proxy import cutting
from .test_real_login import logged_in

pytestmark = pytest.mark.timeout(900)
FLAGS = ["--api", "--gradio-auth", "ann:secret", "--subpath", "/sdui", "--gradio-allowed-path", "."]


@pytest.fixture
def page(webui: WebUI, browser: Any) -> Iterator[Page]:
    """The page as ann sees it, by the proxy's address."""
    with cutting("/sdui", webui.port) as address:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.set_default_timeout(DEADLINE)
        inside = context.new_page()
        inside.goto(f"{address}/", wait_until="domcontentloaded")
        inside.wait_for_selector("input[type=password]")
        inside.locator("input:not([type=password]), textarea").first.fill("ann")
        inside.fill("input[type=password]", "secret")
        inside.get_by_role("button", name="Login").click()
        inside.wait_for_selector("#txt2img_generate", state="visible")
        yield Page(inside, "txt2img").open(f"{address}/")
        context.close()


def test_enqueue_by_who_is_logged_in_and_the_picture_in_the_tab(webui: WebUI, page: Page) -> None:
    ann = logged_in(webui, "ann", "secret")

    def newest() -> Any:
        jobs = webui.ask("GET", "/queue-ext/v1/jobs?limit=1", headers=ann)[1]["jobs"]
        return jobs[0] if jobs else None

    page.set("behind a proxy")
    assert "Queued" in page.enqueue()
    until(lambda: (newest() or {}).get("state") == "succeeded", "the job is done")
    job = newest()
    assert (job["owner"], job["task"], job["prompt"]) == ("ann", "ui:txt2img_generate", "behind a proxy")
    page.page.locator(".queue-ext-toast a").last.click()
    shown = page.page.locator(f"#queue_ext img[src*='{job['id']}']").first
    shown.wait_for()
    assert "/sdui/queue-ext/" in shown.evaluate("image => image.src")
    until(lambda: shown.evaluate("image => image.naturalWidth") > 0, "the picture is loaded")
