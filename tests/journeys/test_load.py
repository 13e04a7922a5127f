"""Many browsers at once: all hear each change, in order, without gap or repeat, however often they come and go."""

import asyncio
import itertools
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from queue_ext.identity import owner_of

from .browser import Browser, off, until
from .checks import store_in
from .conftest import Launch
from .server import Server

BROWSERS = 50
OWNERS, JOBS_EACH = 6, 12
INTERVAL = 0.25  # seconds between two messages of positions to one browser
FULL = {"queue": "default", "count": BROWSERS}
STRANGER = {"X-Forwarded-For": "203.0.113.9"}  # not from this machine: no admin, who would hear of everybody's jobs
PRIVATE = {"QUEUE_EXT_VISIBILITY": "private", "QUEUE_EXT_PREVIEW_FPS": "0"}


def secret(number: int) -> str:
    return f"browser-{number:03d}-secret"


def test_fifty_browsers_with_a_job_each_hear_every_change(launch: Launch) -> None:
    server = launch(env={**PRIVATE, "QUEUE_EXT_DEMO_STEP_S": "0.03"})
    asyncio.run(_fifty(server))


async def _fifty(server: Server) -> None:
    await off(server.post, "/v1/queues/default/pause")
    browsers = [
        Browser(server, secret(number), "websocket" if number % 25 else "polling") for number in range(BROWSERS)
    ]
    await asyncio.gather(*(browser.open(**STRANGER) for browser in browsers))
    request = {"task": "txt2img", "payload": {"width": 64, "height": 64, "steps": 3}}
    jobs = [(await browser.ask("enqueue", request))["job"] for browser in browsers]
    assert [job["position"] for job in jobs] == list(range(1, BROWSERS + 1))
    for browser, job in zip(browsers, jobs, strict=True):
        await browser.until(lambda b=browser, i=job["id"]: b.states(i) == ["enqueued"], "its job in line")
        await browser.until(lambda b=browser: len(b.of("positions")), "its first position")
        await browser.until(lambda b=browser: b.of("waiting_count")[-1:] == [FULL], "the count of all")
        browser.heard.clear()  # what follows is told of the line as it moves, and nothing of how it grew
    began = time.monotonic()
    await off(server.post, "/v1/queues/default/resume")
    for browser, job in zip(browsers, jobs, strict=True):
        await browser.until(lambda b=browser: b.results(), f"the result of {job['id']}", 60)
    took = time.monotonic() - began
    for browser in browsers:
        await browser.until(lambda b=browser: b.of("waiting_count")[-1]["count"] == 0, "the count goes down to 0")
        await browser.until(lambda b=browser: b.of("positions")[-1] == {}, "its last position is none")

    for number, (browser, job) in enumerate(zip(browsers, jobs, strict=True)):
        assert browser.states(job["id"]) == ["processing", "succeeded"]
        assert browser.results() == [job["id"]]
        assert {data.get("id") or data["job_id"] for _, data in browser.news()} == {job["id"]}, "nobody else's"
        places = [data[job["id"]]["position"] for data in browser.of("positions") if data]
        assert places == sorted(places, reverse=True), "never back"
        # One message in 250 ms at most, and one at least while the line moved on.
        assert len(places) <= took / INTERVAL + 2
        assert number < 10 or len(places) >= number / BROWSERS * took / INTERVAL / 3
        counts = [data["count"] for data in browser.of("waiting_count")]
        assert counts == sorted(set(counts), reverse=True)
    await asyncio.gather(*(browser.cut() for browser in browsers))


class Wanderer(Browser):
    """A browser that keeps what is news, above the cursor of its greeting, and comes back with the last number it has heard."""

    def __init__(self, server: Server, client_id: str) -> None:
        super().__init__(server, client_id)
        self.story: list[tuple[int, str, str]] = []  # seq, event, job
        self.first = 0  # the cursor of its first hello: its story begins behind it
        self.since: int | None = None

    def _keep(self, event: str, data: dict[str, Any]) -> None:
        self.story.append((data["seq"], event, data.get("id") or data["job_id"]))

    async def come(self) -> None:
        answer = await self.open(self.since, **STRANGER)
        if self.since is None:
            self.first = answer["cursor"]
        else:
            assert "replay" in answer, "the log reaches back to it"
            for item in answer["replay"]:
                self._keep(item["event"], item["data"])
        self.since = answer["cursor"]

    async def leave(self, rudely: bool) -> None:
        await (self.cut() if rudely else self.close())
        for event, data in self.heard[self.live_from :]:
            if event in ("job", "result", "failed") and data["seq"] > (self.since or 0):
                self._keep(event, data)
                self.since = data["seq"]


def expected(folder: Path, client_id: str) -> list[tuple[int, str, str]]:
    """The story as the log has it."""
    store = store_in(folder)
    event = store.tables.event
    with store.db.read() as conn:
        rows = (
            conn.execute(
                select(event).where(event.c.owner == owner_of(client_id), event.c.kind == "job").order_by(event.c.seq)
            )
            .mappings()
            .all()
        )
    store.db.close()
    story = []
    for row in rows:
        story.append((row["seq"] * 2, "job", row["job_id"]))
        data = json.loads(row["data"])
        if data["state"] == "succeeded" or data.get("error"):
            story.append((row["seq"] * 2 + 1, "result" if data["state"] == "succeeded" else "failed", row["job_id"]))
    return story


def test_browsers_that_come_and_go_miss_nothing_and_hear_nothing_twice(launch: Launch) -> None:
    server = launch("--retry-delay-s", "0", "--retry-attempts", "1", env={**PRIVATE, "QUEUE_EXT_DEMO_STEP_S": "0.01"})
    chance = random.Random(7)
    over = threading.Event()

    async def wander(browser: Wanderer) -> None:
        for round_ in itertools.count():
            await browser.come()
            if round_ and over.is_set():
                return
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await browser.leave(rudely=chance.random() < 0.5)
            await asyncio.sleep(chance.uniform(0.0, 0.2))

    async def submit() -> None:
        for number in range(JOBS_EACH):
            for owner in range(OWNERS):
                prompt = "!fail now" if number % 4 == 3 else "a lighthouse"
                await off(server.add, secret(owner), prompt=prompt)
                await asyncio.sleep(chance.uniform(0.0, 0.03))
        await off(server.wait_drained)
        over.set()

    async def journey() -> None:
        browsers = [Wanderer(server, secret(owner)) for owner in range(OWNERS)]
        await asyncio.gather(submit(), *(wander(browser) for browser in browsers))
        for browser in browsers:
            story = [item for item in expected(server.folder, str(browser.client_id)) if item[0] > browser.first]
            assert len(story) > JOBS_EACH * 3

            def all_heard(b: Wanderer = browser, last: int = story[-1][0]) -> bool:
                return any(data.get("seq", 0) >= last for _, data in b.heard[b.live_from :]) or any(
                    seq >= last for seq, _, _ in b.story
                )

            await until(all_heard, "the last of its news")
            await browser.leave(rudely=False)
            assert browser.story == story

    asyncio.run(journey())


def test_a_browser_that_missed_too_much_is_given_a_snapshot(launch: Launch) -> None:
    server = launch()
    server.add_many(30, secret(1))
    server.wait_drained()

    async def journey() -> None:
        browser = Browser(server, secret(1))
        future = await browser.open(since=10**9)
        assert future["snapshot"] is True and future["cursor"] < 10**9
        job_id = (await off(server.add, secret(1)))["id"]
        await browser.until(lambda: job_id in browser.results(), "and it is told what follows")
        await browser.close()
        first = await browser.open(since=0)
        assert "snapshot" not in first and len(first["replay"]) >= 30 * 4
        await browser.close()

    asyncio.run(journey())
