"""The Queue tab with 10,000 waiting and 100,000 finished jobs, in a real Chromium: how soon it is usable, how it scrolls,
what it keeps, what a burst of events does to it, and what it asks for while nothing happens."""

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.filling import DAY, fill
from bench.serving import free_port, running
from bench.table import Figure, show
from queue_ext.migrations import prepare
from queue_ext.store import Database, Store
from tests.chromium import chromium

WAITING, FINISHED = 10_000, 100_000
BURST = 1_000
IDLE = 10.0  # seconds in which nothing may be asked
FIRST_ROW = """
new MutationObserver((_, seen) => {
  if (!document.querySelector('.q-row')) return;
  window.firstRow = performance.now();
  seen.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
OPENED = """() => window.firstRow - performance.getEntriesByType('resource').find((entry) => entry.name.endsWith('js/main.js')).startTime"""
SCROLLED = """async () => {
  const list = document.querySelector('.q-scroll');
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  while (frames.length < 240) {
    list.scrollTop += 60;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames.sort((a, b) => a - b);
}"""
LONG_TASKS = """() => {
  const seen = (list) => list.getEntries().forEach((entry) => (window.longest = Math.max(window.longest, entry.duration)));
  window.longest = 0;
  new PerformanceObserver(seen).observe({ type: 'longtask' });
}"""


@contextmanager
def _server() -> Iterator[str]:
    """A queue with very many jobs that nobody runs."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        db = Database(f"sqlite:///{Path(folder).as_posix()}/queue.sqlite3", "queue_")
        prepare(db)
        store = Store(db, 30 * DAY)
        store.put_queue("default", {"paused": True})
        fill(store, WAITING, FINISHED)
        db.close()
        port = free_port()
        arguments = ["-m", "queue_ext", "serve", "--port", str(port), "--data-dir", folder]
        environ = {"QUEUE_EXT_WORKER": "off", "QUEUE_EXT_MAX_WAITING": "100000"}
        with running(arguments, port, "/queue-ext/v1/health", **environ) as address:
            yield address


def _submit(address: str, count: int) -> None:
    jobs = [{"task": "txt2img", "payload": {"prompt": f"burst {number}", "steps": 1}} for number in range(count)]
    body = json.dumps({"jobs": jobs}).encode()
    request = urllib.request.Request(f"{address}/queue-ext/v1/jobs/batch", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()


def _opened(address: str, browser: Any) -> Any:
    """The page in a browser that has never seen it."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(FIRST_ROW)
    page.goto(address)
    page.locator(".q-row").nth(3).wait_for(timeout=60_000)
    return page


def measure(address: str, browser: Any) -> list[Figure]:
    _opened(address, browser).context.close()  # the server's own first time
    page = _opened(address, browser)
    page.locator('.q-state[data-state="live"]').wait_for()
    opened = page.evaluate(OPENED)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(IDLE * 1000)
    idle = len(asked)
    frames = page.evaluate(SCROLLED)
    page.evaluate(LONG_TASKS)
    _submit(address, BURST)
    page.wait_for_function(f"document.querySelector('.q-count b').textContent.replace(/\\D/g, '') == {WAITING + BURST}")
    page.wait_for_timeout(1500)
    longest = page.evaluate("() => window.longest")
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    heap = metrics["JSHeapUsedSize"] / 1e6
    return [
        Figure(
            f"the tab with {WAITING:,} waiting, {FINISHED:,} finished is usable", f"{opened:.0f} ms", "", "", "≤ 1 s"
        ),
        Figure("its line scrolls, frames at p95", f"{frames[int(0.95 * len(frames))]:.1f} ms", "", "", "≤ 17 ms"),
        Figure(
            f"{BURST:,} events at once block its input",
            f"{longest:.0f} ms" if longest else "below 50 ms",
            "",
            "",
            "≤ 100 ms",
        ),
        Figure("it keeps, with Gradio's page around it", f"{heap:.0f} MB", "", "", "≤ 150 MB"),
        Figure(f"it asks in {IDLE:.0f} s of rest", str(idle), "", "", "0"),
    ]


def main() -> list[Figure]:
    with _server() as address, chromium() as browser:
        return measure(address, browser)


if __name__ == "__main__":
    show(main())
