"""The WebUI's page in Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a route of Playwright's would stand still in time.sleep
]
DEADLINE = 120_000  # ms for anything to appear: a page of a thousand components on a busy machine

RENDERED = "addEventListener('render', () => (window.isRendered = true), true)"


class Page:
    """One tab of a browser, with the WebUI in it."""

    def __init__(self, page: Any, tab: str) -> None:
        self.page = page
        self.tab = tab

    def open(self, address: str) -> "Page":
        self.page.add_init_script(RENDERED)
        self.page.goto(address, wait_until="domcontentloaded")
        self.page.wait_for_function("window.isRendered")  # before that, gradio loses clicks
        self.page.wait_for_selector("#txt2img_generate", state="visible")
        self.page.wait_for_selector("#txt2img_generate_queue_split .queue-ext-enqueue", state="visible")
        if self.tab != "txt2img":
            self.click_tab(self.tab)
            self.page.wait_for_selector(f"#{self.tab}_generate", state="visible")
        return self

    def click_tab(self, label: str) -> None:
        tabs = self.page.locator("#tabs > .tab-nav > button")
        texts = [text.strip().lower() for text in tabs.all_inner_texts()]
        tabs.nth(texts.index(label.lower())).click()

    def write(self, elem_id: str, text: str) -> None:
        self.page.locator(f"#{self.tab}_{elem_id} textarea").fill(text)

    def number(self, elem_id: str, value: float) -> None:
        field = self.page.locator(f"#{elem_id} input[type=number]").first
        field.fill(str(value))
        field.press("Tab")

    def set(self, prompt: str, steps: int = 2, size: int = 64, seed: int = 1) -> "Page":
        """The smallest picture of a prompt."""
        self.write("prompt", prompt)
        for elem_id, value in (("steps", steps), ("width", size), ("height", size), ("seed", seed)):
            self.number(f"{self.tab}_{elem_id}", value)
        return self

    def drop(self, elem_id: str, file: Path) -> None:
        """Choose a picture and wait until the page shows it; Forge has a canvas of its own for some of them."""
        box = self.page.locator(f"#{elem_id}")
        box.locator("input[type=file]").first.set_input_files(str(file))
        shown = f"#{elem_id} img[src^='data:'], #{elem_id} img[src^='http'], #{elem_id} canvas[height='{height(file)}']"
        self.page.wait_for_selector(shown, state="attached")

    def choose_script(self, title: str) -> None:
        self.choose(f"#{self.tab}_script_container #script_list", title)

    def choose(self, dropdown: str, title: str) -> None:
        """One of the choices of a dropdown."""
        field = self.page.locator(f"{dropdown} input").first
        field.click()
        field.fill(title)
        self.page.locator(f"{dropdown} [role=option], ul.options li").filter(has_text=title).first.click()

    def enqueue(self) -> str:
        """Press Enqueue; what the message says."""
        self.page.click(f"#{self.tab}_generate_queue_split .queue-ext-enqueue")
        toast = self.page.locator(".queue-ext-toast").last
        toast.wait_for()
        return str(toast.inner_text())

    def press(self, elem_id: str) -> None:
        """A button that may be hidden: the page shows Interrupt only while its own Generate runs."""
        self.page.evaluate("id => document.getElementById(id).click()", elem_id)


def height(file: Path) -> int:
    from PIL import Image

    with Image.open(file) as image:
        return int(image.height)


@contextmanager
def opened(browser: Any, address: str, tab: str = "txt2img", **options: Any) -> Iterator[Page]:
    """The page as somebody new; nothing but this machine is asked."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, ignore_https_errors=True, **options)
    context.set_default_timeout(DEADLINE)
    try:
        yield Page(context.new_page(), tab).open(address)
    finally:
        context.close()
