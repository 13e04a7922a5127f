"""Several processes on one database: who runs the jobs, and who takes over."""

import time
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from queue_ext.shapes import to_epoch
from queue_ext.store import Store

from .checks import check_history
from .conftest import Launch, Shared
from .server import tiny, until

TAKEOVER = 2.0  # seconds, of the issue
SLOW = {"QUEUE_EXT_DEMO_STEP_S": "0.05"}


def test_a_second_process_on_one_sqlite_file_serves_and_takes_over_when_the_first_dies(
    launch: Launch, shared_sqlite: str
) -> None:
    first = launch("--database-url", shared_sqlite, env=SLOW)
    running = first.add(steps=60)["id"]
    first.wait_state(running, "processing")
    second = launch("--database-url", shared_sqlite, env=SLOW)
    waiting = second.add(client="another-browser-16")["id"]
    assert second.job(waiting)["position"] == 1 and second.job(waiting)["ahead"] == 1
    health = until(lambda: (found := second.get("/v1/health"))["status"] == "waiting" and found, "the second one waits")
    assert "another process" in health["worker"]
    assert [worker["pid"] for worker in second.get("/v1/workers")["workers"]] == [first.process.pid]
    assert second.job(running)["state"] == "processing"

    first.kill()
    died = time.monotonic()
    until(lambda: second.job(running)["attempt"] == 2, "the job runs again", 10)
    assert time.monotonic() - died < TAKEOVER
    job = second.wait_state(running, "succeeded")
    assert [row["state"] for row in job["history"]] == ["enqueued", "processing", "enqueued", "processing", "succeeded"]
    assert check_history(job) == {"crash": 1}
    assert second.wait_state(waiting, "succeeded")["attempt"] == 1
    assert [worker["pid"] for worker in second.get("/v1/workers")["workers"]] == [second.process.pid]
    assert second.get("/v1/health")["worker"] == "running"


def test_an_orderly_stop_hands_the_jobs_to_the_next_process(launch: Launch, shared_sqlite: str) -> None:
    first = launch("--database-url", shared_sqlite, env=SLOW)
    second = launch("--database-url", shared_sqlite, env=SLOW)
    job_id = first.add(steps=40)["id"]
    first.wait_state(job_id, "processing")
    first.terminate()
    assert second.wait_state(job_id, "processing", deadline=TAKEOVER)["attempt"] == 1
    assert second.wait_state(job_id, "succeeded")["attempt"] == 1


@pytest.mark.parametrize("shared", ["postgresql", "mariadb"], indirect=True)
def test_two_workers_share_the_lanes_of_one_database(launch: Launch, shared: Shared) -> None:
    servers = [launch(*shared.arguments) for _ in range(2)]
    ids = servers[0].add_many(40, steps=4)
    assert servers[1].wait_drained() == {"succeeded": 40}
    workers = {by_worker(servers[0].job(job_id)) for job_id in ids}
    assert len(workers) == 2, "both of them ran some"
    assert {worker["pid"] for worker in servers[0].get("/v1/workers")["workers"]} == {s.process.pid for s in servers}


@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
def test_lanes_given_to_one_worker_are_run_by_it_alone(launch: Launch, shared: Shared) -> None:
    both = launch(*shared.arguments, "--queues", "default,night")
    day = launch(*shared.arguments, "--queues", "default")
    both.kill()
    lonely = day.post("/v1/jobs", {**tiny(), "queue": "night"}, 201)
    until(lambda: len(day.get("/v1/workers")["workers"]) == 1, "the dead worker is forgotten")
    assert "No worker serves the queue night" in day.job(lonely["id"])["message"]
    served = day.add()["id"]
    day.wait_state(served, "succeeded")
    assert day.job(lonely["id"])["state"] == "enqueued"
    both.start()
    assert both.wait_state(lonely["id"], "succeeded")["attempt"] == 1


def by_worker(job: dict[str, Any]) -> str:
    """The worker that ran a job at last."""
    return [row["data"]["worker"] for row in job["history"] if row["state"] == "processing"][-1]


def claimed_elsewhere(store: Store, job_id: str, lease_s: float, silent_s: float, until_s: float) -> None:
    """Make it look as if a worker of another machine ran a job, last heard of ``silent_s`` seconds ago."""
    now, job, worker = time.time(), store.tables.job, store.tables.worker
    claimed = store.claim("w-elsewhere", (), lease_s)
    assert claimed is not None and claimed["id"] == job_id
    with store.writing() as conn:
        conn.execute(
            insert(worker).values(
                id="w-elsewhere", host="a-machine-elsewhere", pid=1, born=now - 1000, pipeline="demo", queues="[]",
                started_at=now - 1000, heartbeat_at=now - silent_s, lease_s=lease_s, job_id=job_id, progress=None,
            )
        )  # fmt: skip
        conn.execute(update(job).where(job.c.id == job_id).values(lease_until=now + until_s))


@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
def test_the_job_of_a_machine_that_fell_silent_runs_when_its_lease_ends(launch: Launch, shared: Shared) -> None:
    paused = launch(*shared.arguments, "--worker", "off")
    job_id = paused.add()["id"]
    store = shared.store()
    claimed_elsewhere(store, job_id, lease_s=600.0, silent_s=0.0, until_s=600.0)
    server = launch(*shared.arguments)
    server.wait_state(server.add()["id"], "succeeded")
    assert server.job(job_id)["state"] == "processing", "its lease has not ended"
    ends, tables = time.time() + 1.0, store.tables
    with store.writing() as conn:
        conn.execute(update(tables.job).where(tables.job.c.id == job_id).values(lease_until=ends))
        conn.execute(
            update(tables.worker)
            .where(tables.worker.c.id == "w-elsewhere")
            .values(lease_s=1.0, heartbeat_at=ends - 1.0)
        )
    job = server.wait_state(job_id, "succeeded")
    starts = [to_epoch(row["at"]) for row in job["history"] if row["state"] == "processing"]
    assert starts[1] >= ends - 0.001, "not before its lease ended; the history tells milliseconds"
    assert check_history(job) == {"crash": 1}
    until(lambda: "w-elsewhere" not in {row["id"] for row in store.workers()}, "the silent worker is forgotten")
    store.db.close()


@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
def test_a_worker_that_comes_back_after_its_lease_cannot_overwrite_the_result(launch: Launch, shared: Shared) -> None:
    server = launch(*shared.arguments, "--worker", "off")
    job_id = server.add()["id"]
    store = shared.store()
    late = store.claim("w-late", (), 0.0)
    assert late is not None
    worker = launch(*shared.arguments)
    job = worker.wait_state(job_id, "succeeded")
    with pytest.raises(Exception, match="no longer held"):
        store.fail(late, {"type": "X", "message": "late", "attempt": 1}, "late")
    after = server.job(job_id)
    assert all(after[name] == job[name] for name in ("state", "attempt", "error", "result", "history"))
    with store.db.read() as conn:
        assert conn.execute(select(store.tables.job.c.crashes).where(store.tables.job.c.id == job_id)).scalar() == 1
    store.db.close()
