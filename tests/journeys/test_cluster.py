"""Two processes, one database, one Redis: a browser on either hears of its jobs wherever they run."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import require
from .browser import Browser, off, until
from .checks import check_counters
from .conftest import Launch, Shared
from .server import Server, free_port

POSTGRES = pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
MARIADB = pytest.mark.parametrize("shared", ["mariadb"], indirect=True)
COUNTING = "tests.journeys.entries:counting"
ANN, BEN = "ann-has-a-secret-1", "ben-has-a-secret-1"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def pair(launch: Launch, shared: Shared, redis_url: str, runs: Path) -> list[Server]:
    return [
        launch(*shared.arguments, "--redis-url", redis_url, env=_environment(runs), entry=COUNTING) for _ in range(2)
    ]


def _environment(runs: Path, **more: str) -> dict[str, str]:
    # Polling alone would be too slow for what these tests wait for: it is Redis that wakes the other process.
    return {"RUNS_FILE": str(runs), "QUEUE_EXT_DEMO_STEP_S": "0.002", "QUEUE_EXT_POLL_INTERVAL_S": "5", **more}


def _run_once_each(runs: Path, ids: list[str], both: bool = True) -> None:
    lines = [line.split() for line in runs.read_text().splitlines()]
    assert Counter(job_id for _, job_id, _ in lines) == Counter(ids), "every job ran, none twice"
    assert {attempt for _, _, attempt in lines} == {"1"}
    if both:
        share = Counter(pid for pid, _, _ in lines)
        assert len(share) == 2 and min(share.values()) >= len(ids) // 5, share


async def _hears_everything(pair: list[Server], runs: Path, jobs: int, shared: Shared) -> None:
    """Each browser listens at one process and submits at the other one."""
    async with Browser(pair[0], ANN) as ann, Browser(pair[1], BEN) as ben:
        ids = {}
        for browser, door in ((ann, pair[1]), (ben, pair[0])):
            ids[browser] = await off(door.add_many, jobs // 2, browser.client_id, steps=3)
        await until(lambda: all(len(b.results()) >= jobs // 2 for b in ids), "both heard of all their results", 100)
        for browser, own in ids.items():
            assert sorted(browser.results()) == sorted(own), "each result once, and none of somebody else"
            for job_id in own:
                assert browser.states(job_id) == ["enqueued", "processing", "succeeded"]
            assert set(own) & {data["job_id"] for data in browser.of("progress")}
            numbers = [data["seq"] for _, data in browser.news()]
            assert numbers == sorted(set(numbers))
            assert browser.of("positions") and all(set(data) <= set(own) for data in browser.of("positions"))
            await browser.until(lambda b=browser: b.of("positions")[-1] == {}, "nobody waits any more")
            await browser.until(
                lambda b=browser: b.of("waiting_count")[-1] == {"queue": "default", "count": 0}, "the count is 0"
            )
    _run_once_each(runs, [job_id for own in ids.values() for job_id in own])
    store = shared.store()
    check_counters(store)
    store.db.close()


@POSTGRES
@pytest.mark.timeout(300)
def test_five_hundred_jobs_on_two_processes_run_once_each_and_are_heard_of_on_both(
    pair: list[Server], runs: Path, shared: Shared
) -> None:
    asyncio.run(_hears_everything(pair, runs, 500, shared))


@MARIADB
def test_the_same_on_mariadb(pair: list[Server], runs: Path, shared: Shared) -> None:
    asyncio.run(_hears_everything(pair, runs, 60, shared))


@POSTGRES
def test_cancel_skip_pause_and_previews_reach_the_process_that_runs_the_job(
    launch: Launch, shared: Shared, redis_url: str, runs: Path
) -> None:
    arguments = (*shared.arguments, "--redis-url", redis_url)
    env = _environment(runs, QUEUE_EXT_DEMO_STEP_S="0.05", QUEUE_EXT_PREVIEW_FPS="10")
    door = launch(*arguments, "--worker", "off", env=env)
    runner = launch(*arguments, env=env)

    async def journey() -> None:
        async with Browser(door, ANN) as ann, Browser(door, BEN) as ben:
            await ann.ask("preview", {"enabled": True})
            job = (await ann.ask("enqueue", {"task": "txt2img", "payload": {"width": 64, "height": 64, "steps": 200}}))[
                "job"
            ]
            seen = await ann.until(lambda: next((d for d in ann.of("progress") if "preview" in d), None), "a preview")
            assert seen["preview"].startswith(b"\xff\xd8") and seen["job_id"] == job["id"]
            assert not ben.of("progress"), "previews and progress are for the owner alone"
            await ann.ask("cancel", {"job_id": job["id"]})
            await ann.until(lambda: ann.states(job["id"])[-1] == "deleted", "the cancelled job has ended")
            assert (await off(runner.job, job["id"]))["reason"] == "cancelled by its owner"

            two = (
                await ann.ask(
                    "enqueue", {"task": "txt2img", "payload": {"width": 64, "height": 64, "steps": 100, "n_iter": 2}}
                )
            )["job"]
            await ann.until(lambda: ann.states(two["id"])[-1:] == ["processing"], "the job runs")
            await ann.ask("skip", {"job_id": two["id"]})
            await ann.until(
                lambda: any(d["job_id"] == two["id"] and d["image"] == 2 for d in ann.of("progress")),
                "the second picture",
            )
            await off(door.post, "/v1/queues/default/pause")
            await ann.ask("skip", {"job_id": two["id"]})
            await ann.until(lambda: ann.states(two["id"])[-1] == "succeeded", "both pictures were left")
            third = (await ann.ask("enqueue", {"task": "txt2img", "payload": {"width": 64, "height": 64, "steps": 1}}))[
                "job"
            ]
            assert "is paused" in third["message"]
            await off(runner.post, "/v1/queues/default/resume")
            await ann.until(lambda: third["id"] in ann.results(), "it runs after resuming elsewhere")
            assert [data["paused"] for data in ben.of("queue")][-2:] == [True, False]

    asyncio.run(journey())


class OwnRedis:
    """A Redis of the test's own, to be stopped and started."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: Any = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    if shutil.which("redis-server") is None:
        require("redis-server is not installed")
    made = OwnRedis()
    yield made
    made.stop()


@POSTGRES
def test_without_redis_the_processes_find_out_by_polling(
    launch: Launch, shared: Shared, own_redis: OwnRedis, runs: Path
) -> None:
    own_redis.start()
    arguments = (*shared.arguments, "--redis-url", own_redis.url)
    env = _environment(runs, QUEUE_EXT_POLL_INTERVAL_S="0.3")
    door = launch(*arguments, "--worker", "off", env=env, entry=COUNTING)
    runner = launch(*arguments, env=env, entry=COUNTING)

    async def journey() -> None:
        async with Browser(door, ANN) as ann:
            own_redis.stop()
            ids = await off(door.add_many, 20, ANN)
            await ann.until(lambda: len(ann.results()) == 20, "all results are heard without Redis", 15)
            assert sorted(ann.results()) == ids
            job_id = (await off(door.add, ANN, steps=1000, n_iter=20))["id"]
            await ann.until(lambda: ann.states(job_id)[-1:] == ["processing"], "it runs")
            await ann.ask("cancel", {"job_id": job_id})
            await ann.until(lambda: ann.states(job_id)[-1] == "deleted", "it is cancelled without Redis")
            own_redis.start()
            again = (await off(runner.add, ANN))["id"]
            await ann.until(lambda: again in ann.results(), "and it goes on when Redis is back")
            _run_once_each(runs, [*ids, job_id, again], both=False)

    asyncio.run(journey())


def test_a_redis_that_answers_nothing_holds_up_nobody(launch: Launch, runs: Path) -> None:
    """A connection that is taken and never answered is worse than one that is refused: every call could hang."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        server = launch(
            "--redis-url", f"redis://127.0.0.1:{silent.getsockname()[1]}/0", env=_environment(runs), entry=COUNTING
        )

        async def journey() -> None:
            async with Browser(server, ANN) as ann:
                ids = [
                    (await ann.ask("enqueue", {"task": "txt2img", "payload": {"width": 64, "height": 64, "steps": 3}}))[
                        "job"
                    ]["id"]
                    for _ in range(10)
                ]
                await ann.until(lambda: len(ann.results()) == 10, "all results; had each waited for Redis, in 50 s")
                assert ann.results() == ids
                assert {data["job_id"] for data in ann.of("progress")} <= set(ids)

        asyncio.run(journey())
        began = time.monotonic()
        server.terminate()
        assert time.monotonic() - began < 10


def test_a_redis_that_cannot_be_reached_holds_up_nobody(launch: Launch, runs: Path) -> None:
    server = launch("--redis-url", f"redis://127.0.0.1:{free_port()}/0", env=_environment(runs), entry=COUNTING)
    ids = server.add_many(10)
    assert server.wait_drained(5) == {"succeeded": 10}
    _run_once_each(runs, ids, both=False)
    assert server.said.count("Redis does not answer") <= 10, "said, but not over and over"
