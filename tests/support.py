"""What several test files share: jobs to store, pipelines to run them, a queue around a store, a server in a thread."""

import contextlib
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import func, select

from queue_ext.app import QueueApp
from queue_ext.errors import InvalidRequest
from queue_ext.filters import Election, hookimpl
from queue_ext.ids import new_id
from queue_ext.models import FINISHED, State
from queue_ext.pipelines import Cancellation, Picture, Progress, Request, Result
from queue_ext.settings import Settings
from queue_ext.store import Limits, NewJob, Store

MANY = Limits(1_000_000)
DEADLINE = 20.0  # seconds anything may take before a test gives up


def until(condition: Callable[[], Any], seconds: float = DEADLINE, what: str = "") -> Any:
    """The first true value of ``condition``; a failure when it does not come in time."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {seconds} s in vain {what}"
        time.sleep(0.005)


def new_job(owner: str = "ann", **values: Any) -> NewJob:
    return NewJob(**{"id": new_id(), "owner": owner, "queue": "default", "task": "txt2img", "payload": "{}", **values})


def add(store: Store, owner: str = "ann", **values: Any) -> str:
    """One more job; its id."""
    return store.add_jobs([new_job(owner, **values)], MANY, True)[0]


def claim(store: Store, worker: str = "w1", served: tuple[str, ...] = ()) -> Any:
    return store.claim(worker, served, 60.0)


def finish(store: Store, row: Any) -> None:
    store.succeed(row, [], "{}")


def finish_and_claim(store: Store, row: Any, worker: str = "w1", served: tuple[str, ...] = ()) -> Any:
    following, settle = store.succeed_and_claim(row, [], "{}", worker, served, 60.0)
    settle()
    return following


class Again:
    """A filter that sends failed attempts back, at ``run_at`` or at once."""

    def __init__(self, run_at: float | None, reason: str) -> None:
        self.run_at = run_at
        self.reason = reason

    @hookimpl
    def state_electing(self, election: Election) -> None:
        if election.candidate == State.FAILED:
            election.replace(State.SCHEDULED if self.run_at else State.ENQUEUED, self.reason, self.run_at)


def retry(store: Store, row: Any, error: dict[str, Any], run_at: float | None, reason: str) -> None:
    """Fail an attempt that is tried again."""
    store.filters.add(Again(run_at, reason), order=20)
    try:
        store.fail(row, error, error["message"])
    finally:
        store.filters.remove("Again")


def recount(store: Store) -> dict[tuple[str, str], int]:
    """Jobs by (queue, state), counted one by one."""
    job = store.tables.job
    with store.db.read() as conn:
        found = conn.execute(select(job.c.queue, job.c.state, func.count()).group_by(job.c.queue, job.c.state)).all()
    return {(queue, state): count for queue, state, count in found}


def recount_endings(store: Store, unit: str, seconds: int) -> dict[tuple[str, str, int], int]:
    """Endings by (kind, queue, bucket), counted one by one in the history of the jobs that are there. A state that a
    filter replaced stands there at the same moment as what replaced it, and is no ending."""
    history, job = store.tables.job_history, store.tables.job
    rows = select(history.c.job_id, history.c.state, history.c.at, job.c.queue).join(job, job.c.id == history.c.job_id)
    with store.db.read() as conn:
        found = conn.execute(rows.order_by(history.c.job_id, history.c.id)).all()
    ended = Counter[tuple[str, str, int]]()
    for row, following in zip(found, [*found[1:], None], strict=True):
        replaced = following is not None and (following.job_id, following.at) == (row.job_id, row.at)
        if row.state in FINISHED and not replaced:
            ended[f"{unit}_{row.state}", row.queue, int(row.at // seconds) * seconds] += 1
    return dict(ended)


def assert_endings_counted(store: Store) -> None:
    """The counters of every hour and day say what counting says, where no job was removed or changed its lane."""
    for unit, seconds in (("hour", 3600), ("day", 86400)):
        counted = {(row["kind"], row["queue"], row["bucket"]): row["value"] for row in store.endings(unit, 0)}
        assert counted == recount_endings(store, unit, seconds)


def assert_counted(store: Store) -> None:
    counted = {key: count for key, count in store.counts().items() if count}
    assert counted == recount(store)


def order_of(store: Store, queue: str = "default") -> list[str]:
    return [row.id for row in store.line(queue)]


def png(width: int = 64, height: int = 64, colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


class FakePipeline:
    """Runs whatever ``script`` says; without one it makes a small picture at once."""

    name = "fake"
    tasks: tuple[str, ...] = ("txt2img", "img2img", "extras", "ui:")

    def __init__(self, script: Callable[..., Result] | None = None) -> None:
        self.script = script
        self.ran: list[Request] = []
        self.closed = 0
        self.is_busy = False

    def check(self, task: str, payload: dict[str, Any]) -> None:
        if payload.get("sampler_name") == "unknown":
            raise InvalidRequest([{"loc": ["payload", "sampler_name"], "msg": "is not a sampler"}])

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        self.ran.append(request)
        if self.script is not None:
            return self.script(request, on_progress, cancelled)
        return pictures()

    def busy(self) -> bool:
        return self.is_busy

    def close(self) -> None:
        self.closed += 1


def pictures(count: int = 1) -> Result:
    made = tuple(
        Picture(png(colour=f"#00{number:02x}80"), 64, 64, 7 + number, f"picture {number}") for number in range(count)
    )
    return Result(made, {"seed": 7}, {"steps": 1})


class Gate:
    """A pipeline script that waits for the test: ``started`` tells the running job, ``open`` lets it go on."""

    def __init__(self, count: int = 1) -> None:
        self.open = threading.Event()
        self.started = threading.Event()
        self.count = count
        self.report: Callable[[Progress], None] | None = None

    def __call__(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        self.report = on_progress
        self.started.set()
        while not self.open.wait(0.005):
            if cancelled.is_set():
                return pictures(1)
        return pictures(self.count)


def settings_for(folder: Path, **values: Any) -> Settings:
    quick = {
        "data_dir": folder, "poll_interval_s": 0.1, "retry_delay_s": 0.05, "heartbeat_s": 1.0, "demo_step_s": 0.0,
        "shutdown_timeout_s": 5.0,
    }  # fmt: skip
    return Settings(**{**quick, **values})


@contextlib.contextmanager
def running_app(folder: Path, pipeline: Any = None, login: Any = None, **values: Any) -> Iterator[QueueApp]:
    """A whole queue that is not served."""
    app = QueueApp(settings_for(folder, **values), pipeline or FakePipeline(), *(login or ()))
    app.start()
    try:
        yield app
    finally:
        app.stop()


class Served:
    """A whole queue behind a real server, in a thread."""

    def __init__(self, app: QueueApp, port: int, server: Any, thread: threading.Thread) -> None:
        self.app = app
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}/queue-ext/v1"
        self._server = server
        self._thread = thread

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self.app.stop()


def serve_app(app: QueueApp, root_path: str = "") -> Served:
    import uvicorn
    from fastapi import FastAPI

    from queue_ext.__main__ import listen

    app.start()
    host = FastAPI(root_path=root_path)
    app.mount(host)
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(host, log_level="error", timeout_graceful_shutdown=2, lifespan="off", ws_ping_interval=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started)
    return Served(app, listening.getsockname()[1], server, thread)


@contextlib.contextmanager
def served(
    folder: Path, pipeline: Any = None, login: Any = None, root_path: str = "", **values: Any
) -> Iterator[Served]:
    app = QueueApp(settings_for(folder, **values), pipeline or FakePipeline(), *(login or ()))
    found = serve_app(app, root_path)
    try:
        yield found
    finally:
        found.stop()


class Workbench:
    """A queue on a store with its log's tail and one worker, none of it started."""

    def __init__(self, store: Store, folder: Path, pipeline: Any, **values: Any) -> None:
        from queue_ext.events import Bus, Tail
        from queue_ext.identity import Identity
        from queue_ext.media import Media
        from queue_ext.queue import JobQueue
        from queue_ext.views import Signer
        from queue_ext.worker import Worker

        self.settings = settings_for(folder, **values)
        self.settings.media_dir.mkdir(parents=True, exist_ok=True)
        self.store = store
        self.pipeline = pipeline
        self.queue = JobQueue(
            self.settings, store, Media(self.settings.media_dir), pipeline, Identity(self.settings), Signer(b"key")
        )
        self.bus = Bus()
        self.tail = Tail(store, self.bus, self.settings.poll_interval_s)
        store.on_commit = self.tail.hand
        self.progress: list[tuple[str, dict[str, Any], bytes | None]] = []
        self.worker = Worker(
            self.queue,
            self.bus,
            pipeline,
            lambda job, said, seen: self.progress.append((job["id"], said, seen)),
            lambda _job: True,
        )

    def __enter__(self) -> "Workbench":
        self.tail.start()
        self.worker.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.worker.stop()
        self.tail.stop()

    def add(self, owner: str = "ann", **request: Any) -> str:
        from queue_ext.identity import Owner

        return self.queue.enqueue(Owner(owner), [{"task": "txt2img", "payload": {"prompt": "x"}, **request}])[0]

    def state(self, job_id: str) -> str:
        return self.store.job(job_id)["state"]

    def becomes(self, job_id: str, *states: str) -> dict[str, Any]:
        until(lambda: self.state(job_id) in states, what=f"for {states}, it is {self.state(job_id)}")
        return self.store.job(job_id)

    def walked(self, job_id: str) -> list[str]:
        return [row["state"] for row in self.store.history(job_id)]
