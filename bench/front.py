"""The Vue example in Chromium: its size, how soon a picture is on the page, and what an idle page sends.

Needs npm, Playwright and a Chromium.
"""

import functools
import gzip
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.serving import free_port, running
from bench.table import Figure, median, ms, percentile, show
from tests.chromium import chromium, missing

EXAMPLES = Path(__file__).parent.parent / "examples"
PICTURES = 20
STEPS = 8
IDLE_PINGS = 5
WATCH = """() => {
  window.seen = {};
  new MutationObserver(() => {
    for (const image of document.querySelectorAll(".tile img")) {
      const id = image.parentElement.dataset.id;
      if (id in window.seen) continue;
      window.seen[id] = null;
      image.decode().then(() => requestAnimationFrame(() => (window.seen[id] = Date.now())));
    }
  }).observe(document.body, { childList: true, subtree: true });
}"""


def serve() -> None:
    """Our server, whose demo writes down when each job had taken its last step."""
    from queue_ext.__main__ import main
    from queue_ext.pipelines.demo import DemoPipeline

    run = DemoPipeline.run
    notes = Path(os.environ["LAST_STEPS"])

    def noted(self: Any, request: Any, on_progress: Any, cancelled: Any) -> Any:
        def seen(progress: Any) -> None:
            if progress.step == progress.steps:
                last.append(time.time())
            on_progress(progress)

        last: list[float] = []
        result = run(self, request, seen, cancelled)
        with notes.open("a") as file:
            file.write(f"{request.job_id} {last[0]}\n")
        return result

    DemoPipeline.run = noted  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))


def build(folder: Path) -> Path:
    """The example, built from the lock file."""
    npm = shutil.which("npm") or "npm"
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("node_modules", "dist"))
    for command in (["ci"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=folder / "examples", check=True, stdout=subprocess.DEVNULL)
    return folder / "examples" / "vue" / "dist"


def size(site: Path) -> int:
    """Bytes of all files, each compressed."""
    return sum(len(gzip.compress(path.read_bytes())) for path in site.rglob("*") if path.is_file())


@contextmanager
def hosted(site: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def watch(base: str, site: str, notes: Path) -> tuple[list[float], list[Any]]:
    """Milliseconds from each last step to the picture on the page, and the frames an idle page sent."""
    with chromium() as browser:
        page = browser.new_page()
        frames: list[Any] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: frames.append(frame)))
        page.goto(f"{site}/?server={base}")
        page.locator(".guest").click()
        page.locator('.state[data-state="live"]').wait_for()
        page.evaluate(WATCH)
        page.locator("[name=prompt]").fill("a lighthouse at dusk")
        page.locator("[name=steps]").fill(str(STEPS))
        for count in range(1, PICTURES + 2):
            page.locator("button.main:not([disabled])").click()
            page.wait_for_function("n => Object.values(window.seen).filter(Boolean).length === n", arg=count)
        seen = page.evaluate("window.seen")
        asked: list[Any] = []
        page.on("request", lambda request: asked.append(request.url))
        start = len(frames)
        while len(frames) < start + IDLE_PINGS:
            page.wait_for_timeout(100)
    ended = dict(line.split() for line in notes.read_text().splitlines())
    taken = [seen[job_id] - float(moment) * 1000 for job_id, moment in ended.items()]
    return taken[1:], [frame for frame in frames[start:] if frame != "3"] + asked


def main() -> list[Figure]:
    if shutil.which("npm") is None or missing():
        print("the front-end is not measured: npm, Playwright or Chromium is missing", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        site = build(folder)
        port, notes = free_port(), folder / "last-steps"
        with hosted(site) as address:
            command = ["-c", "from bench.front import serve; serve()", "serve", "--no-page", "--port", str(port)]
            command += ["--data-dir", str(folder / "data"), "--cors-allowed-origins", address, "--ping-interval-s", "1"]
            environ = {"LAST_STEPS": str(notes), "QUEUE_EXT_DEMO_STEP_S": "0.02"}
            with running(command, port, "/queue-ext/v1/health", **environ) as base:
                taken, idle = watch(base, address, notes)
        weight = size(site)
    return [
        Figure("the Vue example with Vue and Socket.IO, compressed", f"{weight / 1000:.1f} KB", "", "", "≤ 80 KB"),
        Figure(
            "a job's last step to its picture on the page",
            ms(median(taken)),
            f"{ms(percentile(taken, 0.95))} at p95",
            "",
            "≤ 150 ms",
        ),
        Figure(f"what an idle page sends in {IDLE_PINGS} pings, besides them", f"{len(idle)} messages", "", "", "0"),
    ]


if __name__ == "__main__":
    show(main())
