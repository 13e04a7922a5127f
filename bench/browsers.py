"""500 browsers with one waiting job each: how soon the last one knows its new place, and in how many messages."""

import asyncio
import time
from typing import Any

import socketio

from bench.serving import queue_server
from bench.table import Figure, median, ms, show

BROWSERS = 500
STEPS = 40  # of each job, a twentieth of a second each
PATIENCE = 240.0  # seconds
STARTS = 5  # job starts that are measured
AT_ONCE = 25  # connections opened at a time


class Browser:
    """One connection with one job; it notes when it hears of places and of its job's start."""

    def __init__(self, number: int) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.number = number
        self.positions: list[tuple[float, dict[str, Any]]] = []
        self.started: float | None = None
        self.client.on("positions", self._on_positions, namespace="/queue")
        self.client.on("job", self._on_job, namespace="/queue")

    async def open(self, base: str) -> None:
        auth = {"client_id": f"bench-browser-{self.number:06d}"}
        await self.client.connect(
            base, socketio_path="/queue-ext/socket.io", namespaces=["/queue"], auth=auth, transports=["websocket"]
        )
        request = {"task": "txt2img", "payload": {"prompt": "x", "steps": STEPS, "width": 64, "height": 64}}
        answer = await self.client.call("enqueue", request, namespace="/queue", timeout=60)
        assert answer["ok"], answer

    async def _on_positions(self, data: dict[str, Any]) -> None:
        self.positions.append((time.perf_counter(), data))

    async def _on_job(self, job: dict[str, Any]) -> None:
        if job["state"] == "processing" and job["mine"]:
            self.started = time.perf_counter()


async def measure(base: str) -> list[tuple[float, float]]:
    """For each of some starts: milliseconds until the last browser knew, messages per browser."""
    browsers = [Browser(number) for number in range(BROWSERS)]
    for start in range(0, BROWSERS, AT_ONCE):
        await asyncio.gather(*(browser.open(base) for browser in browsers[start : start + AT_ONCE]))
    await _until(lambda: browsers[-1].positions)
    found = [await _one_start(browsers) for _ in range(STARTS + 1)][1:]
    for browser in browsers:
        await browser.client.disconnect()
    return found


async def _one_start(browsers: list[Browser]) -> tuple[float, float]:
    running = sum(1 for browser in browsers if browser.started is not None)
    await _until(lambda: sum(1 for browser in browsers if browser.started is not None) > running)
    began = max(browser.started or 0.0 for browser in browsers)
    waiting = [browser for browser in browsers if browser.started is None]
    await _until(lambda: all(browser.positions and browser.positions[-1][0] > began - 0.2 for browser in waiting))
    await asyncio.sleep(0.4)
    heard = [[at for at, _ in browser.positions if began - 0.2 < at] for browser in waiting]
    return (max(times[0] for times in heard) - began) * 1000, sum(map(len, heard)) / len(heard)


async def _until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the browsers did not hear what they should")
        await asyncio.sleep(0.005)


def main() -> list[Figure]:
    # Without fair_share every one of them stands behind all who came before, and every start moves all of them.
    with queue_server("--fair-share", "off", QUEUE_EXT_DEMO_STEP_S="0.05") as base:
        found = asyncio.run(measure(base))
    late = [late for late, _ in found]
    messages = [count for _, count in found]
    return [
        Figure(
            "a job's start to the last of 500 browsers", ms(median(late)), f"{ms(max(late))} at worst", "", "≤ 500 ms"
        ),
        Figure("messages of positions per browser and start", f"{median(messages):.2f}", "", "", "1"),
    ]


if __name__ == "__main__":
    show(main())
