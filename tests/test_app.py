"""The whole queue: it starts and stops without a trace, and hangs below any application, also one that runs already."""

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import socketio
import uvicorn
from fastapi import FastAPI

from queue_ext.__main__ import listen
from queue_ext.app import QueueApp
from queue_ext.errors import DatabaseTooNew, InvalidSetting, StorageUnavailable
from queue_ext.identity import Owner

from .support import FakePipeline, Gate, served, settings_for, until

REQUEST = {"task": "txt2img", "payload": {"prompt": "x"}}


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("queue-ext", "APScheduler"))]


def handles() -> int:
    gc.collect()
    return psutil.Process().num_fds()


def use(app: QueueApp) -> None:
    """Let it run a job."""
    job_id = app.queue.enqueue(Owner("ann"), [REQUEST])[0]
    until(lambda: app.store.job(job_id)["state"] == "succeeded")


def test_nothing_happens_before_start(tmp_path: Path) -> None:
    before = threading.active_count(), handles()
    QueueApp(settings_for(tmp_path / "new"), FakePipeline())
    assert (threading.active_count(), handles()) == before and not (tmp_path / "new").exists()


def test_ten_starts_and_stops_leave_no_thread_and_no_open_file(tmp_path: Path) -> None:
    pipeline = FakePipeline()
    app = QueueApp(settings_for(tmp_path), pipeline)
    app.start(), use(app), app.stop()
    threads, open_handles = threading.active_count(), handles()
    for _ in range(10):
        app.start()
        app.start()
        use(app)
        app.stop()
        app.stop()
    assert ours() == [] and threading.active_count() == threads
    assert handles() <= open_handles and not [
        file.path for file in psutil.Process().open_files() if str(tmp_path) in file.path
    ]
    assert pipeline.closed >= 11 and len(pipeline.ran) == 11


def test_ten_starts_and_stops_below_a_running_server_leave_no_task(tmp_path: Path) -> None:
    """As "Reload UI" does it: the server and its loop go on, with a browser that is connected."""

    async def scenario() -> None:
        host = FastAPI()

        @host.get("/alive")
        def alive() -> str:
            return "yes"

        listening = listen("127.0.0.1", 0)
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(host, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve([listening]))
        async with httpx.AsyncClient(base_url=base) as http:
            while not server.started:
                await asyncio.sleep(0.01)
            assert (await http.get("/alive")).status_code == 200
            app = QueueApp(settings_for(tmp_path), FakePipeline())
            seen = []
            for _ in range(10):
                app.start()
                app.mount(host)
                browser = socketio.AsyncClient(reconnection=False)
                await browser.connect(
                    base, namespaces=["/queue"], socketio_path="/queue-ext/socket.io", transports=["websocket"]
                )
                assert (await browser.call("hello", namespace="/queue"))["ok"]
                assert (await http.post("/queue-ext/v1/jobs", json=REQUEST)).status_code == 201
                await app.aclose()
                await browser.disconnect()
                assert (await http.get("/queue-ext/v1/me")).status_code == 404
                assert (await http.get("/alive")).status_code == 200
                for _ in range(200):
                    if not (
                        left := [task.get_name() for task in asyncio.all_tasks() if "queue-ext" in task.get_name()]
                    ):
                        break
                    await asyncio.sleep(0.01)
                assert left == [] and ours() == []
                seen.append((len(asyncio.all_tasks()), handles()))
        assert seen[-1][0] <= seen[1][0] and seen[-1][1] <= seen[1][1] + 1, seen
        server.should_exit = True
        await serving

    asyncio.run(asyncio.wait_for(scenario(), 90))


def test_stopping_from_another_thread_ends_the_loops_task_too(tmp_path: Path) -> None:
    with served(tmp_path) as found:
        assert httpx.get(f"{found.url}/health").status_code == 200
        assert found.app.namespace.loop is not None
        found.app.stop()
        assert found.app.namespace.loop is None and ours() == []
        assert httpx.get(f"{found.url}/health").status_code == 404
        found.app.start()


def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = handles()
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(StorageUnavailable):
        QueueApp(settings_for(tmp_path / "blocked"), FakePipeline()).start()
    with pytest.raises((InvalidSetting, StorageUnavailable)):
        QueueApp(settings_for(tmp_path, database_url="sqlite:////proc/no/such.sqlite3"), FakePipeline()).start()
    with pytest.raises(StorageUnavailable):
        QueueApp(settings_for(tmp_path, database_url="postgresql://x@127.0.0.1:1/none"), FakePipeline()).start()

    def too_new(*_args: Any) -> None:
        raise DatabaseTooNew(found="9", known="1")

    monkeypatch.setattr("queue_ext.app.prepare", too_new)
    with pytest.raises(DatabaseTooNew):
        QueueApp(settings_for(tmp_path), FakePipeline()).start()
    assert ours() == [] and handles() <= before + 1


def test_the_running_job_is_next_after_a_restart(tmp_path: Path) -> None:
    gate = Gate()
    app = QueueApp(settings_for(tmp_path), FakePipeline(gate))
    app.start()
    job_id = app.queue.enqueue(Owner("ann"), [REQUEST])[0]
    assert gate.started.wait(10)
    app.stop()
    gate.open.set()
    app.start()
    until(lambda: app.store.job(job_id)["state"] == "succeeded")
    assert app.store.job(job_id)["attempt"] == 1 and app.store.job(job_id)["crashes"] == 0
    app.stop()


@pytest.mark.parametrize("root_path", ["", "/sdui", "/a/b"])
def test_it_hangs_below_an_application_and_leaves_the_rest_alone(tmp_path: Path, root_path: str) -> None:
    with served(tmp_path, root_path=root_path) as found:
        assert httpx.get(f"{found.url}/me").status_code == 200
        assert httpx.get(f"{found.base}/openapi.json").json()["paths"] == {}
        assert httpx.get(f"{found.base}/nothing").json() == {"detail": "Not Found"}
        handshake = httpx.get(f"{found.base}/queue-ext/socket.io/?EIO=4&transport=polling")
        assert handshake.status_code == 200 and '"sid"' in handshake.text
        assert "/v1/jobs" in httpx.get(f"{found.url}/openapi.json").json()["paths"]


def test_two_queues_live_in_one_process(tmp_path: Path) -> None:
    with served(tmp_path / "one") as one, served(tmp_path / "two") as two:
        made = httpx.post(f"{one.url}/jobs", json=REQUEST).json()
        assert httpx.get(f"{one.url}/jobs/{made['id']}").status_code == 200
        assert httpx.get(f"{two.url}/jobs/{made['id']}").status_code == 404


def test_a_process_that_runs_no_jobs_accepts_and_shows_them(tmp_path: Path) -> None:
    with served(tmp_path, worker=False) as found:
        job = httpx.post(f"{found.url}/jobs", json=REQUEST).json()
        assert job["state"] == "enqueued" and "No worker" in job["message"]
        assert httpx.get(f"{found.url}/workers").json()["workers"] == []
        assert httpx.get(f"{found.url}/health").json()["worker"] == "off"


def test_redis_wakes_the_other_process_at_once(tmp_path: Path, redis_url: str) -> None:
    """Two apps on one database; the one with the worker looks by itself only every minute."""
    prefix = f"r{time.time_ns() % 10**8}_"
    slow = {"redis_url": redis_url, "poll_interval_s": 60, "table_prefix": prefix}
    worker = QueueApp(settings_for(tmp_path, **slow), FakePipeline())
    door = QueueApp(settings_for(tmp_path, worker=False, **slow), FakePipeline())
    worker.start(), door.start()
    try:
        until(lambda: worker.store.workers())
        began = time.monotonic()
        job_id = door.queue.enqueue(Owner("ann"), [REQUEST])[0]
        until(lambda: door.store.job(job_id)["state"] == "succeeded", 10)
        assert time.monotonic() - began < 10
    finally:
        door.stop(), worker.stop()
    assert ours() == []
