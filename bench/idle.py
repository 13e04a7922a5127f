"""How long the pipeline idles between two jobs while 1,000 wait, and how soon a submitted job starts on an idle queue."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.table import Figure, median, ms, percentile, show
from queue_ext.app import QueueApp
from queue_ext.identity import Owner
from queue_ext.pipelines import Cancellation, Picture, Progress, Request, Result
from queue_ext.settings import Settings

WAITING = 1_000
PICTURE = Picture(b"\x89PNG" + bytes(40_000), 512, 512)
ME = Owner("bench", True)
BODY = {"task": "txt2img", "payload": {"prompt": "a lighthouse at dusk", "steps": 1}}
PATIENCE = 300.0  # seconds


class Stopwatch:
    """A pipeline that takes no time and notes when it begins and ends. Its picture differs each time, so each is stored."""

    name = "stopwatch"
    tasks: tuple[str, ...] = ("txt2img",)

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []

    def check(self, task: str, payload: dict[str, Any]) -> None: ...

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        self.began.append(time.perf_counter())
        picture = Picture(PICTURE.data + request.job_id.encode(), PICTURE.width, PICTURE.height)
        self.ended.append(time.perf_counter())
        return Result((picture,))

    def busy(self) -> bool:
        return False

    def close(self) -> None: ...


def gaps() -> list[float]:
    """Milliseconds between the end of a job and the beginning of the next one, commits and picture files included."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        app = QueueApp(Settings(data_dir=Path(folder), queues=("later",)), watch)
        app.start()
        app.queue.enqueue(ME, [BODY] * WAITING, batch=True)
        app.stop()
        app = QueueApp(Settings(data_dir=Path(folder)), watch)
        app.start()
        _wait(lambda: len(watch.ended) >= WAITING)
        app.stop()
    return [(began - ended) * 1000 for ended, began in zip(watch.ended, watch.began[1:], strict=False)]


def starts(times: int = 50) -> list[float]:
    """Milliseconds from the moment a job is accepted to its start, on a queue that idles."""
    watch, taken = Stopwatch(), list[float]()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        app = QueueApp(Settings(data_dir=Path(folder)), watch)
        app.start()
        for _ in range(times):
            app.queue.enqueue(ME, [BODY])
            accepted = time.perf_counter()
            _wait(lambda: len(watch.ended) > len(taken))
            taken.append((watch.began[-1] - accepted) * 1000)
        app.stop()
    return taken


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the queue did not finish its jobs")
        time.sleep(0.001)


def main() -> list[Figure]:
    between, first = gaps(), starts()
    return [
        Figure(
            "the pipeline idles between two jobs, 1,000 waiting",
            ms(median(between)),
            f"{ms(percentile(between, 0.99))} at p99",
            "",
            "≤ 5 ms",
        ),
        Figure(
            "from accepted to started, idle queue",
            ms(median(first)),
            f"{ms(percentile(first, 0.99))} at p99",
            "",
            "≤ 50 ms",
        ),
    ]


if __name__ == "__main__":
    show(main())
