"""Processes die, jobs do not: every accepted job has one result, and its history says what happened to it."""

import io
import random
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
import requests
from PIL import Image

from queue_ext.models import State

from .checks import check_counters, check_history, store_in
from .conftest import Launch
from .server import DEADLINE, LOOK, MAIN, Server, tiny, until

JOBS = 200
KILLS = 20
REAL = 4  # of them against the command of the README, the others against processes forked from a warm one
STOPS = 6
STEP = {"QUEUE_EXT_DEMO_STEP_S": "0.02", "QUEUE_EXT_MAX_CRASHES": "1000"}


class Customers(threading.Thread):
    """Submits jobs one by one, as somebody does who was told to try again with the same key until it is a 201."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__(daemon=True)
        self._server, self._count = server, count
        self.open = threading.Semaphore(0)  # how many jobs may be submitted
        self.accepted: list[tuple[str, str]] = []  # key, id of every 201
        self.sure: dict[str, str] = {}
        self.refused: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        for number in range(self._count):
            self.open.acquire()
            key = f"key-{number}"
            while not self.stopped.is_set() and not self._submit(key, number):
                time.sleep(LOOK)
            # As after a timeout of the client's own: it cannot know, so it asks again.
            if number % 5 == 0:
                self._submit(key, number)

    def _submit(self, key: str, number: int) -> bool:
        try:
            answer = requests.post(
                f"{self._server.url}/v1/jobs", json=tiny(seed=number, steps=2 + number % 2),
                headers={"Idempotency-Key": key, "Connection": "close"}, timeout=DEADLINE,
            )  # fmt: skip
        except requests.RequestException:
            return False
        if answer.status_code != 201:
            self.refused.append(answer.text)
            return False
        self.accepted.append((key, answer.json()["id"]))
        return True


def all_jobs(server: Server) -> list[dict[str, Any]]:
    found, cursor = [], None
    while True:
        page = server.get("/v1/jobs", params={"limit": 200, **({"cursor": cursor} if cursor else {})})
        found += page["jobs"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.timeout(300)  # half a minute on a machine of its own
def test_every_accepted_job_has_one_result_after_twenty_kills(prepare: Launch) -> None:
    server = prepare(env=STEP)
    chance = random.Random(20261122)
    customers = Customers(server, JOBS)
    customers.start()
    for number in range(KILLS):
        server.start(real=number % (KILLS // REAL) == 0)
        for _ in range(JOBS // KILLS):
            customers.open.release()
        time.sleep(chance.uniform(0.0, 0.7))
        server.kill()
    server.start()
    customers.join(DEADLINE)
    assert not customers.is_alive()
    assert server.wait_drained(120) == {"succeeded": JOBS}

    ids = {key: {job_id for k, job_id in customers.accepted if k == key} for key, _ in customers.accepted}
    assert len(ids) == JOBS and all(len(found) == 1 for found in ids.values()), "one key, one job"
    jobs = all_jobs(server)
    assert {job["id"] for job in jobs} == {job_id for found in ids.values() for job_id in found}
    lost: Counter[str] = Counter()
    for job in jobs:
        shown = server.job(job["id"])
        lost += check_history(shown)
        assert len(shown["result"]["images"]) == 1
    assert set(lost) <= {"crash"} and lost["crash"] >= KILLS // 4, "kills that hit nothing show nothing"
    picture = server.call("GET", jobs[0]["result"]["images"][0]["url"].removeprefix("/queue-ext"))
    assert picture.content.startswith(b"\x89PNG")
    assert not [line for line in customers.refused if "defect" in line]
    server.kill()
    check_counters(store_in(server.folder))


def test_a_stopped_server_puts_its_job_back_to_the_head_and_does_not_count_the_attempt(prepare: Launch) -> None:
    server = prepare(env={**STEP, "QUEUE_EXT_MAX_CRASHES": "1"}).start()
    ids = server.add_many(30, steps=3)
    for number in range(STOPS):
        if number:
            server.start(real=number == 1)
        running = until(lambda: server.get("/v1/jobs", params={"state": "processing"})["jobs"], "a job runs")[0]["id"]
        assert server.terminate() in (0, -signal.SIGTERM)
        store = store_in(server.folder)
        rows = sorted(store.unfinished("anonymous", 1000), key=lambda row: row["order_key"])
        unfinished = [row["id"] for row in rows]
        assert not store.workers(), "it signed off"
        assert {row["state"] for row in rows} == {State.ENQUEUED}
        # The one that was seen running may have ended and the next one begun before the signal came.
        assert unfinished[0] == ids[len(ids) - len(unfinished)] >= running
        store.db.close()
    server.start()
    assert server.wait_drained() == {"succeeded": len(ids)}
    lost: Counter[str] = Counter()
    for job_id in ids:
        job = server.job(job_id)
        assert job["attempt"] == 1
        lost += check_history(job)
    assert 1 <= lost["the process stopped"] <= STOPS and set(lost) == {"the process stopped"}
    server.kill()
    check_counters(store_in(server.folder))


def test_an_end_the_disk_has_not_taken_for_good_survives_a_kill_of_the_process(prepare: Launch) -> None:
    server = prepare(env=STEP, entry="tests.journeys.entries:slow_disk").start()
    server.post("/v1/queues/default/pause")
    done, running = server.add(steps=1)["id"], server.add(steps=900)["id"]
    server.post("/v1/queues/default/resume")
    server.wait_state(running, "processing")
    server.kill()
    server.entry = MAIN
    server.start()
    until(lambda: server.job(running)["attempt"] == 2, "the one that ran begins again")
    job = server.job(done)
    assert (job["state"], job["attempt"]) == ("succeeded", 1) and not check_history(job)
    [image] = job["result"]["images"]
    picture = server.call("GET", image["url"].removeprefix("/queue-ext"))
    Image.open(io.BytesIO(picture.content)).load()
    server.kill()
    check_counters(store_in(server.folder))


def test_a_job_that_kills_its_process_fails_and_the_others_go_on(prepare: Launch) -> None:
    server = prepare("--max-crashes", "2", entry="tests.journeys.entries:poison").start()
    server.post("/v1/queues/default/pause")
    before, poison, after = (server.add(prompt=prompt)["id"] for prompt in ("before", "poison", "after"))
    server.post("/v1/queues/default/resume")
    for _ in range(2):
        until(lambda: server.process.poll() is not None, "the job kills its process")
        server.start(ready=False)  # it may be dead again before it answers
    server.wait_ready()
    assert server.wait_drained() == {"succeeded": 2, "failed": 1}
    job = server.job(poison)
    assert job["error"] == {
        "type": "WorkerLost",
        "message": "the process died 2 times while it ran this job",
        "attempt": 2,
    }
    assert job["reason"] == job["error"]["message"]
    assert [row["state"] for row in job["history"]] == [
        State.ENQUEUED, State.PROCESSING, State.ENQUEUED, State.PROCESSING, State.FAILED,
    ]  # fmt: skip
    assert [server.job(job_id)["attempt"] for job_id in (before, after)] == [1, 1]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="zombies are a POSIX matter")
def test_a_killed_process_that_nobody_has_buried_yet_counts_as_dead(prepare: Launch, shared_sqlite: str) -> None:
    """In a container without an init process a killed worker stays as a zombie: its pid exists, it does not."""
    first = prepare("--database-url", shared_sqlite).start()
    second = prepare("--database-url", shared_sqlite).start()
    job = first.add(steps=900)
    first.wait_state(job["id"], "processing")
    first.process.send_signal(signal.SIGKILL)  # and no wait: it is a zombie now
    until(lambda: second.job(job["id"])["attempt"] == 2, "the job runs again, long before its lease ends")
