"""Takes the pictures of the Vue example: `python -m docs.take_vue_pictures` writes docs/vue.png and docs/both.webp.

The second is a recorded run: the tab on the left, the example on the right, and one line that moves in both.
`--all FOLDER` also writes every theme and width into FOLDER, for looking at them. Needs npm, Playwright and a Chromium.
"""

import argparse
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from bench.front import build, hosted
from docs.take_pictures import DOCS, SUBMIT, VIEWS, job, server, small
from tests.chromium import chromium

PROMPTS = ("a lighthouse at dusk", "a forest in winter", "the sea at dawn", "desert under the stars")
LINE = ("city lights at night, rain", "mountain lake in autumn", "a night train crossing the desert", "wild flowers")
OTHERS = ("a quiet street in the rain", "an old harbour in the fog")
FRAMES = 24
FRAME_MS = 500
SIDE = 640, 720  # pixels of each half of the recording


def submit(page: Any, *prompts: str, steps: int) -> None:
    page.locator("[name=steps]").fill(str(steps))
    for prompt in prompts:
        page.locator("[name=prompt]").fill(prompt)
        page.locator("button.main").click()
        page.locator("button.main:not([disabled])").wait_for()


def enter(page: Any, site: str, address: str) -> None:
    page.goto(f"{site}/?server={address}")
    page.locator(".guest").click()
    page.locator('.state[data-state="live"]').wait_for()


def fill(page: Any, tab: Any) -> None:
    """Pictures done, one forming, several waiting, two of them somebody else's."""
    submit(page, *PROMPTS, steps=2)
    page.locator(".tile img").nth(len(PROMPTS) - 1).wait_for(timeout=60_000)
    submit(page, LINE[0], steps=60)
    tab.evaluate(SUBMIT, [job(prompt, steps=30) for prompt in OTHERS])
    submit(page, *LINE[1:], steps=30)
    page.locator(".preview").wait_for()


def shot(page: Any) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def record(tab: Any, page: Any) -> None:
    """Both pages side by side while the line moves."""
    frames = []
    for _ in range(FRAMES):
        both = Image.new("RGB", (2 * SIDE[0] + 8, SIDE[1]), "#888")
        both.paste(shot(tab), (0, 0))
        both.paste(shot(page), (SIDE[0] + 8, 0))
        frames.append(both.resize((both.width * 3 // 4, both.height * 3 // 4), Image.Resampling.LANCZOS))
        page.wait_for_timeout(FRAME_MS)
    frames[0].save(
        DOCS / "both.webp", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=60, method=6
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--all", type=Path, metavar="FOLDER")
    folder = options.parse_args().all
    os.environ["QUEUE_EXT_CORS_ALLOWED_ORIGINS"] = "*"
    with (
        tempfile.TemporaryDirectory() as name,
        hosted(build(Path(name))) as site,
        server(0.08) as address,
        chromium() as browser,
    ):
        take(browser, site, address)
        if folder:
            take_all(browser, site, address, folder)


def take(browser: Any, site: str, address: str) -> None:
    tab = browser.new_context(viewport={"width": SIDE[0], "height": SIDE[1]}).new_page()
    tab.goto(address)
    tab.locator('.q-state[data-state="live"]').wait_for()
    page = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en").new_page()
    enter(page, site, address)
    fill(page, tab)
    page.locator(".toast").first.wait_for(state="hidden", timeout=60_000)
    (DOCS / "vue.png").write_bytes(small(page.screenshot()))
    page.set_viewport_size({"width": SIDE[0], "height": SIDE[1]})
    tab.locator(".q-row").first.scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.querySelector('.line').offsetTop - 70)")
    record(tab, page)


def take_all(browser: Any, site: str, address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for theme, width in VIEWS:
        locale = "zh-CN" if theme == "dark" else "en"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, locale=locale)
        page = context.new_page()
        enter(page, site, address)
        submit(page, *LINE[:3], steps=25)
        page.locator(".preview").wait_for()
        page.screenshot(path=folder / f"vue-{theme}-{width}.png", full_page=True)
        context.close()


if __name__ == "__main__":
    main()
