"""Takes the README's picture of the page: `python -m docs.take_pictures` starts a server and writes docs/page.png.

`--all FOLDER` also writes every theme and width into FOLDER, for looking at them. Needs Playwright and a Chromium.
"""

import argparse
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from bench.serving import free_port, running
from tests.chromium import chromium

DOCS = Path(__file__).parent
LARGEST = 300_000  # bytes of the picture in the README
VIEWS = [(theme, width) for theme in ("light", "dark") for width in (1280, 390)]

PAGES = {"queue": ".q-row", "done": ".q-shot", "later": ".q-card", "numbers": ".q-chart"}

DONE = (
    "a lighthouse at dusk, storm clouds over the sea",
    "flowers on a meadow in the morning",
    "city lights at night, rain",
    "mountain lake in autumn",
    "desert under the stars",
    "a forest in winter",
    "the sea at dawn",
    "a cat at the window, golden hour",
)
RUNNING = "sunset over the mountains, drifting haze, golden light"
WAITING = (
    ("an old harbour in the fog, fishing boats, first light", 768, 512, 24, 1),
    ("a night train crossing the desert", 512, 768, 20, 4),
    ("wild flowers by the road, watercolour", 512, 512, 20, 1),
    ("aurora over a winter forest, long exposure, very wide view, tiny cabin with one lit window", 1024, 512, 30, 2),
)
SUBMIT = """async (jobs) => {
  const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ jobs }) };
  const answer = await fetch('queue-ext/v1/jobs/batch', options);
  if (!answer.ok) throw new Error(await answer.text());
}"""


def job(prompt: str, width: int = 512, height: int = 512, steps: int = 4, images: int = 1) -> dict[str, Any]:
    payload = {"prompt": prompt, "width": width, "height": height, "steps": steps, "n_iter": images, "seed": 7}
    return {"task": "txt2img", "payload": payload}


@contextmanager
def server(step_s: float = 0.1) -> Iterator[str]:
    """The address of a server with an empty queue."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "queue_ext", "serve", "--port", str(port), "--data-dir", folder]
        with running(command, port, "/queue-ext/v1/health", QUEUE_EXT_DEMO_STEP_S=str(step_s)) as address:
            yield address


def fill(page: Any, other: Any, address: str) -> None:
    """Several pictures done, one forming, four waiting, two of them behind somebody else's."""
    for each in (page, other):
        each.goto(address)
        each.locator('.q-state[data-state="live"]').wait_for()
    page.evaluate(SUBMIT, [job(prompt) for prompt in DONE])
    page.locator(".q-tile img").nth(len(DONE) - 1).wait_for(timeout=60_000)
    page.evaluate(SUBMIT, [job(RUNNING, 768, 512, 150, 2)])
    page.locator(".q-frame img:not([hidden])").wait_for(timeout=30_000)
    other.evaluate(SUBMIT, [job("a quiet street in the rain", steps=20)])
    page.evaluate(SUBMIT, [job(*waiting) for waiting in WAITING])
    page.locator(".q-row").nth(len(WAITING)).wait_for()
    page.wait_for_function("document.querySelector('.q-bar')?.ariaValueNow >= 40", timeout=60_000)


def small(picture: bytes) -> bytes:
    """The same picture in fewer bytes; only where that is not enough in fewer colours."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    found = picture
    for each in (drawn, drawn.quantize(256)):
        out = io.BytesIO()
        each.save(out, "PNG", optimize=True)
        found = min(found, out.getvalue(), key=len)
        if len(found) <= LARGEST:
            break
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--all", type=Path, metavar="FOLDER")
    folder = options.parse_args().all
    with server() as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 936})
        fill(page, browser.new_context().new_page(), address)
        picture = small(page.screenshot())
        if len(picture) > LARGEST:
            raise SystemExit(f"the picture has {len(picture)} bytes, at most {LARGEST} are wanted")
        (DOCS / "page.png").write_bytes(picture)
        if folder:
            take_all(page, address, folder)


def take_all(page: Any, address: str, folder: Path) -> None:
    """Every page and dialog of the tab in every theme and width."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme, width in VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{address}/?__theme={theme}")
        page.locator(".q-frame img:not([hidden])").wait_for(timeout=30_000)
        for number, (name, there) in enumerate(PAGES.items()):
            page.get_by_role("tab").nth(number).click()
            page.locator(f"#q-panel-{name} :is({there})").first.wait_for()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / f"{theme}-{width}-{name}.png", full_page=True)
        page.get_by_role("tab").first.click()
        page.locator(".q-tile button").first.click()
        page.locator(".q-viewer .q-infotext").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / f"{theme}-{width}-job.png")
        page.keyboard.press("Escape")
        page.locator(".q-row .q-open").last.focus()
        page.keyboard.press("e")
        page.locator(".q-viewer .q-form").wait_for()
        page.screenshot(path=folder / f"{theme}-{width}-edit.png")
        page.keyboard.press("Escape")


if __name__ == "__main__":
    main()
