"""The clock: due jobs never early and hardly late, lost workers found, old things forgotten, trouble survived."""

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES

from queue_ext.app import QueueApp
from queue_ext.errors import StorageUnavailable
from queue_ext.identity import Owner

from .support import DEADLINE, FakePipeline, Gate, running_app, settings_for, until
from .test_line import sign_on

ANN = Owner("ann")


def request(**values: Any) -> dict[str, Any]:
    return {"task": "txt2img", "payload": {"prompt": "x"}, **values}


def enqueue(app: QueueApp, **values: Any) -> str:
    return app.queue.enqueue(ANN, [request(**values)])[0]


def state(app: QueueApp, job_id: str) -> str:
    return app.store.job(job_id)["state"]


def history(app: QueueApp, job_id: str) -> dict[str, float]:
    return {row["state"]: row["at"] for row in app.store.history(job_id)}


def test_a_delayed_job_starts_neither_early_nor_late(tmp_path: Path) -> None:
    with running_app(tmp_path, schedule_poll_interval_s=3600) as app:
        asked = time.time()
        ids = {enqueue(app, delay_s=delay): delay for delay in (0.8, 0.3, 0.5)}
        for job_id, delay in ids.items():
            until(lambda job_id=job_id: state(app, job_id) == "succeeded")
            assert asked + delay <= app.store.job(job_id)["started_at"], delay  # late would be the backstop, an hour


def test_a_time_with_an_offset_is_that_moment(tmp_path: Path) -> None:
    from datetime import datetime, timedelta, timezone

    west = timezone(timedelta(hours=-9, minutes=-30))
    with running_app(tmp_path) as app:
        later, soon = (datetime.now(west) + timedelta(seconds=seconds) for seconds in (3600, 0.5))
        waits, runs = enqueue(app, run_at=later.isoformat()), enqueue(app, run_at=soon.isoformat())
        until(lambda: state(app, runs) == "succeeded")
        assert app.store.job(runs)["started_at"] >= soon.timestamp()
        assert abs(app.store.job(waits)["run_at"] - later.timestamp()) < 0.001


def test_an_earlier_job_that_comes_later_is_not_held_up(tmp_path: Path) -> None:
    with running_app(tmp_path, schedule_poll_interval_s=3600) as app:
        late, soon = enqueue(app, delay_s=3000), enqueue(app, delay_s=0.2)
        until(lambda: state(app, soon) == "succeeded")
        assert state(app, late) == "scheduled"
        far = enqueue(app, run_at="9999-12-30T00:00:00Z")
        soon = enqueue(app, delay_s=0.2)
        until(lambda: state(app, soon) == "succeeded")
        assert state(app, far) == "scheduled"


def test_a_job_that_a_crash_interrupted_is_the_first_to_run_after_the_restart(tmp_path: Path) -> None:
    with running_app(tmp_path, worker=False) as app:
        lost, waiting = enqueue(app), enqueue(app)
        sign_on(app.store, "dead", heartbeat_at=time.time() - 1000)
        assert app.store.claim("dead", (), 60)["id"] == lost
    with running_app(tmp_path) as app:
        until(lambda: state(app, waiting) == "succeeded")
        assert history(app, lost)["processing"] < history(app, waiting)["processing"]


def test_a_look_that_is_left_out_since_the_last_one_still_runs_is_not_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left_out, go_on = threading.Event(), threading.Event()
    with running_app(tmp_path, poll_interval_s=0.05) as app:
        app.clock._scheduler.add_listener(lambda _event: left_out.set(), EVENT_JOB_MAX_INSTANCES)
        monkeypatch.setattr(app.store, "workers", lambda: go_on.wait(DEADLINE) and [])
        assert left_out.wait(DEADLINE)
        go_on.set()
    assert not [record for record in caplog.records if "skipped" in record.getMessage()]


def test_a_job_that_falls_due_in_the_moment_a_look_ends_is_not_left_to_the_backstop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that asks for the next one is still running when that moment is now."""
    left_out: list[str] = []
    with running_app(tmp_path, schedule_poll_interval_s=3600) as app:
        # The first look is over.
        until(lambda: app.clock._scheduler.get_job("due").next_run_time.timestamp() > time.time() + 3000)
        app.clock._scheduler.add_listener(lambda event: left_out.append(event.job_id), EVENT_JOB_MAX_INSTANCES)
        real, made = app.store.next_due, []

        def next_due() -> "float | None":
            if threading.current_thread().name.startswith("ThreadPoolExecutor") and not made:
                made.append(enqueue(app, delay_s=0.1))
                until(lambda: (real() or 0) <= time.time())  # nothing is due where the insert outlasted the delay
            return real()

        monkeypatch.setattr(app.store, "next_due", next_due)
        first = enqueue(app, delay_s=0.5)
        until(lambda: state(app, first) == "succeeded")
        until(lambda: made and state(app, made[0]) == "succeeded")
    assert "next" not in left_out


def test_what_was_due_while_nothing_ran_starts_at_once(tmp_path: Path) -> None:
    with running_app(tmp_path) as app:
        job_id, due = enqueue(app, delay_s=1.5), time.time() + 1.5
    assert state_of_stopped(tmp_path, job_id) == "scheduled"
    until(lambda: time.time() > due)
    with running_app(tmp_path, schedule_poll_interval_s=3600) as app:
        until(lambda: state(app, job_id) == "succeeded")


def state_of_stopped(folder: Path, job_id: str) -> str:
    import sqlite3

    with sqlite3.connect(folder / "queue.sqlite3") as conn:
        return conn.execute("SELECT state FROM queue_job WHERE id = ?", (job_id,)).fetchone()[0]


def test_a_retry_comes_back_after_its_delay(tmp_path: Path) -> None:
    fails = [RuntimeError("first"), RuntimeError("second")]

    def script(*_args: Any) -> Any:
        if fails:
            raise fails.pop()
        from .support import pictures

        return pictures()

    with running_app(tmp_path, FakePipeline(script), schedule_poll_interval_s=3600) as app:
        job_id = enqueue(app, retry={"attempts": 3, "delay_s": 0.2})
        until(lambda: state(app, job_id) == "succeeded")
        began = [row["at"] for row in app.store.history(job_id) if row["state"] == "processing"]
    assert len(began) == 3 and began[1] - began[0] >= 0.18 and began[2] - began[1] >= 0.36


def test_the_job_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    with running_app(tmp_path, worker=False) as app:
        job_id = enqueue(app)
        import platform

        now = time.time()
        app.store.add_worker(
            {
                "id": "dead",
                "host": platform.node(),
                "pid": 2**22 - 1,
                "born": 1.0,
                "pipeline": "fake",
                "queues": "[]",
                "started_at": now,
                "heartbeat_at": now,
                "lease_s": 3600.0,
            }
        )
        app.store.claim("dead", (), 3600.0)
        until(lambda: state(app, job_id) == "enqueued")
        until(lambda: app.store.workers() == [])
        assert app.store.job(job_id)["crashes"] == 1


def test_ones_own_running_job_is_never_taken_back(tmp_path: Path) -> None:
    gate = Gate()
    with running_app(tmp_path, FakePipeline(gate), lease_s=1, heartbeat_s=0.9) as app:
        job_id = enqueue(app)
        assert gate.started.wait(10)
        began = time.time()
        until(lambda: time.time() - began > 1.5)
        assert state(app, job_id) == "processing" and app.store.job(job_id)["crashes"] == 0
        gate.open.set()
        until(lambda: state(app, job_id) == "succeeded")


def test_old_jobs_uploads_and_files_are_forgotten(tmp_path: Path) -> None:
    from .support import png

    with running_app(tmp_path, expiration_check_interval_s=1) as app:
        old, kept = enqueue(app), enqueue(app)
        for job_id in (old, kept):
            until(lambda job_id=job_id: state(app, job_id) == "succeeded")
        picture = app.store.files([old])[old][0]["sha256"]
        app.store.bookmark([kept])
        uploaded = app.queue.upload(ANN, png(99, 99))["id"].removeprefix("upload:")
        stray = app.queue.media.save(b"stray")
        for sha256 in (uploaded, stray, picture):
            os.utime(app.queue.media.path(sha256), (1.0, 1.0))
        with app.db.write() as conn:
            conn.execute(app.db.tables.job.update().values(expires_at=1.0))
        until(lambda: not app.store.jobs([old]))
        until(lambda: not app.queue.media.path(stray).exists())
        assert (
            app.store.jobs([kept])
            and app.queue.media.path(picture).exists()
            and app.queue.media.path(uploaded).exists()
        )


def test_the_clock_goes_on_when_the_database_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running_app(tmp_path, schedule_poll_interval_s=0.1) as app:
        promote, troubles = app.store.promote_due, [StorageUnavailable(reason="locked")] * 3

        def unreliable(*args: Any) -> int:
            if troubles:
                raise troubles.pop()
            return promote(*args)

        monkeypatch.setattr(app.store, "promote_due", unreliable)
        with caplog.at_level(logging.WARNING):
            job_id = enqueue(app, delay_s=0.3)
            until(lambda: not troubles)
            until(lambda: state(app, job_id) == "succeeded")


def test_a_stopped_clock_leaves_no_thread(tmp_path: Path) -> None:
    with running_app(tmp_path):
        assert any("APScheduler" in thread.name for thread in threading.enumerate())
    assert not any("APScheduler" in thread.name for thread in threading.enumerate())


def test_stopping_while_the_clock_looks_for_what_is_next_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = QueueApp(settings_for(tmp_path, schedule_poll_interval_s=0.1), FakePipeline())
    app.start()
    enqueue(app, delay_s=3600)
    looking, go = threading.Event(), threading.Event()

    def slow() -> float:
        looking.set()
        go.wait(20)
        return time.time() + 3600

    monkeypatch.setattr(app.store, "next_due", slow)
    assert looking.wait(10)
    stopping = threading.Thread(target=app.stop, daemon=True)
    stopping.start()
    threading.Timer(0.3, go.set).start()
    stopping.join(15)
    assert not stopping.is_alive()
