"""The worker: what becomes of a job whatever its pipeline does, and whatever happens to the worker meanwhile."""

import json
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from queue_ext import worker as module
from queue_ext.errors import InvalidRequest, PipelineUnavailable, RequestRefused, StorageUnavailable
from queue_ext.media import Media
from queue_ext.pipelines import Picture, Progress, Result
from queue_ext.store import Store
from queue_ext.worker import is_dead

from .support import FakePipeline, Gate, Workbench, assert_counted, pictures, png, until

WAITS = ["enqueued", "processing"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_FIRST", 0.05)
    monkeypatch.setattr(module, "PATIENCE_MOST", 0.1)


def raising(*errors: BaseException) -> Any:
    """A script that raises these one after the other and then succeeds."""
    left = list(errors)

    def script(*_args: Any) -> Result:
        if left:
            raise left.pop(0)
        return pictures()

    return script


# --- outcomes ----------------------------------------------------------------------------------------------------------


def test_success_stores_pictures_and_what_the_pipeline_said(store: Store, tmp_path: Path) -> None:
    with Workbench(store, tmp_path, FakePipeline(lambda *_: pictures(3))) as bench:
        job_id = bench.add(payload={"prompt": "x", "steps": 3})
        bench.becomes(job_id, "succeeded")
    assert [file["infotext"] for file in store.files([job_id])[job_id]] == ["picture 0", "picture 1", "picture 2"]
    assert json.loads(store.body(job_id)["result"]) == {"info": {"seed": 7}, "parameters": {"steps": 1}}
    assert bench.pipeline.ran[0].payload == {"prompt": "x", "steps": 3} and bench.pipeline.ran[0].attempt == 1
    assert bench.walked(job_id) == [*WAITS, "succeeded"]
    assert store.workers() == []
    assert_counted(store)


def test_a_raise_is_retried_and_then_fails(store: Store, tmp_path: Path) -> None:
    script = raising(RuntimeError("first"), ValueError("second"), OSError("third"))
    with Workbench(store, tmp_path, FakePipeline(script)) as bench:
        job_id = bench.add(retry={"attempts": 2, "delay_s": 0})
        row = bench.becomes(job_id, "failed")
    assert (row["attempt"], row["reason"]) == (3, "third")
    assert json.loads(row["error"]) == {"type": "OSError", "message": "third", "attempt": 3}
    walked = bench.walked(job_id)
    assert walked.count("failed") == 3 and walked.count("processing") == 3 and walked[-1] == "failed"
    assert_counted(store)


def test_a_retry_that_succeeds_forgets_nothing_of_its_failure(sqlite_store: Store, tmp_path: Path) -> None:
    with Workbench(sqlite_store, tmp_path, FakePipeline(raising(RuntimeError("first")))) as bench:
        job_id = bench.add(retry={"attempts": 1, "delay_s": 0})
        row = bench.becomes(job_id, "succeeded")
    assert row["attempt"] == 2 and "failed" in bench.walked(job_id)


@pytest.mark.parametrize(
    "error", [RequestRefused(reason="unknown sampler"), InvalidRequest([{"loc": ["x"], "msg": "unknown sampler"}])]
)
def test_what_cannot_get_better_is_not_retried(sqlite_store: Store, tmp_path: Path, error: Exception) -> None:
    with Workbench(sqlite_store, tmp_path, FakePipeline(raising(error))) as bench:
        row = bench.becomes(bench.add(), "failed")
    assert row["attempt"] == 1 and "unknown sampler" in row["reason"]


def test_an_absent_pipeline_keeps_the_job_waiting_at_the_head(store: Store, tmp_path: Path) -> None:
    away = threading.Event()
    away.set()

    def script(*_args: Any) -> Result:
        if away.is_set():
            raise PipelineUnavailable(pipeline="remote", reason="connection refused")
        return pictures()

    with Workbench(store, tmp_path, FakePipeline(script)) as bench:
        first, second = bench.add(), bench.add()
        until(lambda: len(bench.pipeline.ran) >= 3)
        assert {request.job_id for request in bench.pipeline.ran} == {first}
        assert "connection refused" in until(lambda: bench.worker.trouble)
        away.clear()
        assert bench.becomes(first, "succeeded")["attempt"] == 1
        bench.becomes(second, "succeeded")
    assert bench.worker.trouble is None
    assert_counted(store)


def test_a_cancelled_job_stops_and_keeps_what_it_made(store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate)) as bench:
        job_id = bench.add()
        assert gate.started.wait(10)
        assert store.cancel([job_id], "cancelled by its owner") == [job_id]
        row = bench.becomes(job_id, "deleted")
        assert len(store.files([job_id])[job_id]) == 1
        gate.open.set()
        bench.becomes(bench.add(), "succeeded")
    assert "cancelled" in row["reason"] and bench.walked(job_id) == [*WAITS, "deleted"]
    assert_counted(store)


def test_a_cancel_between_claim_and_start_is_not_lost(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled after the claim was committed and before the worker knows that it runs something."""
    gate = Gate()
    bench = Workbench(sqlite_store, tmp_path, FakePipeline(gate))
    claim = bench.queue.claim

    def claim_and_cancel(worker_id: str) -> Any:
        job = claim(worker_id)
        if job is not None:
            seen = bench.tail.seq
            sqlite_store.cancel([job["id"]], "cancelled by its owner")
            until(lambda: bench.tail.seq > seen)
            until(lambda: job["id"] in bench.worker._early)
        return job

    monkeypatch.setattr(bench.queue, "claim", claim_and_cancel)
    with bench:
        row = bench.becomes(bench.add(), "deleted")
    assert row["attempt"] == 1


def test_an_old_cancel_does_not_stop_a_requeued_job(sqlite_store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(sqlite_store, tmp_path, FakePipeline(gate)) as bench:
        job_id = bench.add()
        assert gate.started.wait(10)
        sqlite_store.cancel([job_id], "cancelled by its owner")
        bench.becomes(job_id, "deleted")
        gate.open.set()
        sqlite_store.requeue([job_id], True)
        bench.becomes(job_id, "succeeded")


def test_a_skip_reaches_the_running_attempt_alone(sqlite_store: Store, tmp_path: Path) -> None:
    skipped = threading.Event()
    started = threading.Event()

    def script(_request: Any, _progress: Any, cancelled: Any) -> Result:
        started.set()
        until(cancelled.take_skip)
        skipped.set()
        return pictures()

    with Workbench(sqlite_store, tmp_path, FakePipeline(script)) as bench:
        job_id = bench.add()
        assert started.wait(10)
        sqlite_store.request_skip(job_id)
        bench.becomes(job_id, "succeeded")
    assert skipped.is_set()


def test_a_timeout_counts_as_a_failed_attempt(sqlite_store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(sqlite_store, tmp_path, FakePipeline(gate)) as bench:
        row = bench.becomes(bench.add(timeout_s=1, retry={"attempts": 0}), "failed")
    assert json.loads(row["error"])["type"] == "TimeoutError" and "1 s" in row["reason"]


def test_somebody_else_interrupting_the_pipeline_cancels_the_job(sqlite_store: Store, tmp_path: Path) -> None:
    script = lambda *_: Result(pictures().pictures, interrupted="interrupted on the page")  # noqa: E731
    with Workbench(sqlite_store, tmp_path, FakePipeline(script)) as bench:
        job_id = bench.add()
        row = bench.becomes(job_id, "deleted")
    assert row["reason"] == "interrupted on the page" and len(sqlite_store.files([job_id])[job_id]) == 1


def test_text_no_database_takes_does_not_hold_up_the_queue(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "queue_ext.worker")  # its half characters would break the report of this run
    bad = "broken \0 half \ud83d\ude00 \ud800 text"
    made = Result((Picture(png(), 64, 64, 1, bad),), {"infotexts": [bad], "nan": float("nan")}, {"prompt": bad})
    scripts = {
        "raise": raising(RuntimeError(bad)),
        "make": lambda *_: made,
        "interrupt": lambda *_: Result(interrupted=bad),
    }
    with Workbench(store, tmp_path, FakePipeline(lambda request, *_: scripts[request.payload["prompt"]]())) as bench:
        failed = bench.add(payload={"prompt": "raise"}, retry={"attempts": 0})
        made_id = bench.add(payload={"prompt": "make"})
        interrupted = bench.add(payload={"prompt": "interrupt"})
        assert "broken" in bench.becomes(failed, "failed")["reason"]
        bench.becomes(made_id, "succeeded"), bench.becomes(interrupted, "deleted")
    assert "broken" in store.files([made_id])[made_id][0]["infotext"]
    json.dumps(json.loads(store.body(made_id)["result"])).encode()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"text": "猫 \\u0000"}, {"text": "猫 \\u0000"}),  # says it, is none
        ({"text": "no\0body"}, {"text": "nobody"}),
        ({"text": "half \ud800"}, {"text": "half ?"}),
        ({"n": [1, float("nan"), -float("inf")]}, {"n": [1, None, None]}),
        ({"path": Path("a.png"), "pair": (1, 2), 3: None}, {"path": "a.png", "pair": [1, 2], "3": None}),
    ],
)
def test_what_a_pipeline_told_is_kept_as_far_as_json_and_databases_take_it(
    store: Store, tmp_path: Path, told: Any, kept: Any
) -> None:
    with Workbench(store, tmp_path, FakePipeline(lambda *_: Result(info=told))) as bench:
        job_id = bench.add()
        bench.becomes(job_id, "succeeded")
    assert json.loads(store.body(job_id)["result"]) == {"info": kept, "parameters": {}}


def test_a_result_that_cannot_be_written_down_fails_the_job_and_not_the_worker(
    sqlite_store: Store, tmp_path: Path
) -> None:
    made = Result((Picture("not bytes", 64, 64),))  # type: ignore[arg-type]
    with Workbench(sqlite_store, tmp_path, FakePipeline(raising())) as bench:
        bench.pipeline.script = lambda request, *_: made if request.payload["prompt"] == "odd" else pictures()
        odd = bench.add(payload={"prompt": "odd"}, retry={"attempts": 0})
        fine = bench.add()
        bench.becomes(odd, "failed")
        bench.becomes(fine, "succeeded")


# --- stopping ----------------------------------------------------------------------------------------------------------


def test_stopping_gives_the_job_back_uncounted_and_next(store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate)) as bench:
        running, waiting = bench.add(), bench.add()
        assert gate.started.wait(10)
    assert [bench.state(running), bench.state(waiting)] == ["enqueued", "enqueued"]
    assert store.job(running)["attempt"] == 0 and [row.id for row in store.line("default")] == [running, waiting]
    assert store.workers() == []
    gate.open.set()
    with Workbench(store, tmp_path, FakePipeline(gate)) as bench:
        bench.becomes(waiting, "succeeded")
    assert bench.state(running) == "succeeded"
    assert_counted(store)


def test_a_stubborn_pipeline_does_not_hold_up_stopping_and_its_late_result_is_turned_away(
    store: Store, tmp_path: Path
) -> None:
    started, release = threading.Event(), threading.Event()

    def script(*_args: Any) -> Result:
        started.set()
        release.wait(30)
        return pictures()

    with Workbench(store, tmp_path, FakePipeline(script), shutdown_timeout_s=0.2) as bench:
        job_id = bench.add()
        assert started.wait(10)
        thread = bench.worker._threads[0]
        began = time.monotonic()
    assert time.monotonic() - began < 5 and bench.state(job_id) == "enqueued"
    release.set()
    thread.join(10)
    assert not thread.is_alive() and bench.state(job_id) == "enqueued" and store.files([job_id]) == {}
    assert_counted(store)


def test_a_job_claimed_in_the_moment_of_stopping_is_given_back(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    bench = Workbench(sqlite_store, tmp_path, FakePipeline(gate))
    claim = bench.queue.claim
    stopping = threading.Event()

    def slow_claim(worker_id: str) -> Any:
        job = claim(worker_id)
        if job is not None:
            stopping.set()
            until(bench.worker._stopping.is_set)
        return job

    monkeypatch.setattr(bench.queue, "claim", slow_claim)
    with bench:
        job_id = bench.add()
        assert stopping.wait(10)
    assert bench.state(job_id) == "enqueued"


# --- leases ------------------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_while_a_long_job_runs(store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate), lease_s=2, heartbeat_s=0.1) as bench:
        job_id = bench.add()
        assert gate.started.wait(10)
        first = store.job(job_id)["lease_until"]
        until(lambda: store.job(job_id)["lease_until"] > first + 0.3)
        assert store.recover([], 2, time.time(), "another") == []
        gate.open.set()
        bench.becomes(job_id, "succeeded")


def test_a_lost_lease_stops_the_attempt_and_its_result_is_not_stored(store: Store, tmp_path: Path) -> None:
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate), heartbeat_s=0.1) as bench:
        job_id = bench.add()
        assert gate.started.wait(10)
        gate.started.clear()
        assert store.recover([bench.worker.id], 5, 0.0, "another") == [job_id]
        until(gate.started.is_set)
        gate.open.set()
        row = bench.becomes(job_id, "succeeded")
    assert (row["attempt"], row["crashes"]) == (2, 1) and len(bench.pipeline.ran) == 2
    assert bench.walked(job_id) == [*WAITS, *WAITS, "succeeded"]


def test_a_worker_taken_for_dead_signs_on_again(store: Store, tmp_path: Path) -> None:
    with Workbench(store, tmp_path, FakePipeline(), heartbeat_s=0.1) as bench:
        first = until(store.workers)[0]["id"]
        store.remove_workers([first])
        second = until(store.workers)[0]["id"]
        assert second != first
        bench.becomes(bench.add(), "succeeded")
    assert store.workers() == []


def test_a_heartbeat_outlives_any_trouble(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beat, troubles = sqlite_store.beat, [StorageUnavailable(reason="locked"), RuntimeError("odd"), OSError("odd")]
    beats: list[float] = []

    def troubled(*args: Any) -> bool:
        if troubles:
            raise troubles.pop()
        beats.append(time.monotonic())
        return beat(*args)

    monkeypatch.setattr(sqlite_store, "beat", troubled)
    with Workbench(sqlite_store, tmp_path, FakePipeline(), heartbeat_s=0.1):
        until(lambda: len(beats) >= 2)


def test_an_outcome_is_stored_as_soon_as_the_database_is_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    away.set()
    succeed, tries = store.succeed_and_claim, []

    def unreliable(*args: Any) -> Any:
        tries.append(1)
        if away.is_set():
            raise StorageUnavailable(reason="the disk is full")
        return succeed(*args)

    monkeypatch.setattr(store, "succeed_and_claim", unreliable)
    with Workbench(store, tmp_path, FakePipeline()) as bench:
        job_id = bench.add()
        until(lambda: len(tries) >= 2)
        assert "the disk is full" in until(lambda: bench.worker.trouble) and bench.state(job_id) == "processing"
        away.clear()
        bench.becomes(job_id, "succeeded")
        until(lambda: bench.worker.trouble is None)
    assert len(bench.pipeline.ran) == 1


def test_an_end_that_was_committed_although_the_connection_broke_loses_no_job_claimed_with_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed, gone = store.succeed_and_claim, []

    def unreliable(*args: Any) -> Any:
        following, settle = succeed(*args)
        if not gone:
            gone.append(following["id"])
            raise StorageUnavailable(reason="the answer was lost")
        return following, settle

    monkeypatch.setattr(store, "succeed_and_claim", unreliable)
    store.put_queue("default", {"paused": True})
    with Workbench(store, tmp_path, FakePipeline()) as bench:
        ids = [bench.add() for _ in range(3)]
        store.put_queue("default", {"paused": False})
        for job_id in ids:
            bench.becomes(job_id, "succeeded")
    assert gone == [ids[1]] and len(bench.pipeline.ran) == 3
    assert [store.job(job_id)["attempt"] for job_id in ids] == [1, 1, 1]
    assert_counted(store)


def test_a_job_claimed_with_the_end_of_the_last_is_given_back_when_it_is_time_to_stop(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Workbench(store, tmp_path, FakePipeline())
    finish, stopping = bench.queue.finish_and_claim, threading.Event()

    def slow_finish(*args: Any) -> Any:
        found = finish(*args)
        stopping.set()
        until(bench.worker._stopping.is_set)
        return found

    monkeypatch.setattr(bench.queue, "finish_and_claim", slow_finish)
    store.put_queue("default", {"paused": True})
    with bench:
        first, second = bench.add(), bench.add()
        store.put_queue("default", {"paused": False})
        assert stopping.wait(10)
    assert [bench.state(first), bench.state(second)] == ["succeeded", "enqueued"]
    assert store.job(second)["attempt"] == 0 and store.workers() == []
    assert_counted(store)


def of_many(number: int) -> Any:
    """A script that makes another picture every time, so many times."""
    made = iter(range(number))
    return lambda *_args: Result((Picture(png(colour=f"#0000{next(made):02x}"), 64, 64),))


def test_the_next_job_begins_before_the_disk_has_the_end_of_the_last_and_that_is_told_of_when_it_has(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes a kill between the two harmless: the end is committed by then, only the disk is waited for."""
    disk, told = threading.Event(), []
    settle = Media.settle
    monkeypatch.setattr(Media, "settle", lambda *args: disk.wait(20) and settle(*args))
    bench = Workbench(sqlite_store, tmp_path, FakePipeline(of_many(3)), poll_interval_s=60)
    bench.bus.subscribe(lambda events: told.extend((e.job_id, e.data.get("state")) for e in events))
    sqlite_store.put_queue("default", {"paused": True})
    with bench:
        ids = [bench.add() for _ in range(3)]
        sqlite_store.put_queue("default", {"paused": False})
        until(lambda: len(bench.pipeline.ran) == 2)
        assert [bench.state(job_id) for job_id in ids] == ["succeeded", "processing", "enqueued"]
        assert len(bench.queue.pictures(ids[0])) == 1 and "succeeded" not in [state for _, state in told]
        disk.set()
        until(lambda: [one[0] for one in told if one[1] == "succeeded"] == ids)


def test_of_no_more_than_one_end_the_disk_may_still_know_nothing(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    before: list[int] = []
    succeed = sqlite_store.succeed_and_claim
    monkeypatch.setattr(Media, "settle", lambda _media, sha256: settled.append(sha256))
    monkeypatch.setattr(sqlite_store, "succeed_and_claim", lambda *args: before.append(len(settled)) or succeed(*args))
    sqlite_store.put_queue("default", {"paused": True})
    with Workbench(sqlite_store, tmp_path, FakePipeline(of_many(5))) as bench:
        last = [bench.add() for _ in range(5)][-1]
        sqlite_store.put_queue("default", {"paused": False})
        bench.becomes(last, "succeeded")
    assert (before, len(settled)) == ([0, 1, 2, 3, 4], 5)


def test_an_end_the_disk_does_not_take_is_told_of_and_the_queue_goes_on(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any) -> None:
        raise StorageUnavailable(reason="the disk has an I/O error")

    monkeypatch.setattr(Media, "settle", broken)
    heard: list[str | None] = []
    bench = Workbench(sqlite_store, tmp_path, FakePipeline(of_many(3)), poll_interval_s=60)
    bench.bus.subscribe(lambda events: heard.extend(e.job_id for e in events if e.data.get("state") == "succeeded"))
    sqlite_store.put_queue("default", {"paused": True})
    with bench:
        ids = [bench.add() for _ in range(3)]
        sqlite_store.put_queue("default", {"paused": False})
        until(lambda: heard == ids)
    assert "perhaps not on the disk yet" in caplog.text and "the disk has an I/O error" in caplog.text


def test_stopping_waits_until_the_disk_has_what_was_done(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    asked, disk = threading.Event(), threading.Event()

    def slow(_media: Media, sha256: str) -> None:
        asked.set()
        assert disk.wait(20)
        settled.append(sha256)

    monkeypatch.setattr(Media, "settle", slow)
    gate = Gate()
    scripts = iter([lambda *_args: pictures(), gate])
    bench = Workbench(sqlite_store, tmp_path, FakePipeline(lambda *args: next(scripts)(*args)))
    sqlite_store.put_queue("default", {"paused": True})
    with bench:
        first, second = bench.add(), bench.add()
        sqlite_store.put_queue("default", {"paused": False})
        assert asked.wait(20) and gate.started.wait(20)
        threading.Timer(0.2, disk.set).start()
    assert settled == [file["sha256"] for file in sqlite_store.files([first])[first]]
    assert [bench.state(first), bench.state(second)] == ["succeeded", "enqueued"]


def test_a_claim_goes_on_when_the_database_is_back(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Workbench(sqlite_store, tmp_path, FakePipeline())
    claim, troubles = (
        bench.queue.claim,
        [StorageUnavailable(reason="locked"), RuntimeError("odd"), StorageUnavailable(reason="x")],
    )

    def unreliable(worker_id: str) -> Any:
        if troubles:
            raise troubles.pop()
        return claim(worker_id)

    monkeypatch.setattr(bench.queue, "claim", unreliable)
    with bench:
        bench.becomes(bench.add(), "succeeded")


# --- progress ----------------------------------------------------------------------------------------------------------


def test_progress_is_passed_on_at_most_four_times_a_second_and_the_last_always(
    sqlite_store: Store, tmp_path: Path
) -> None:
    looked: list[float] = []

    def preview() -> bytes:
        looked.append(time.monotonic())
        return b"jpeg"

    def script(_request: Any, on_progress: Any, _cancelled: Any) -> Result:
        for step in range(1, 101):
            on_progress(Progress(step / 100, step, 100, 1, 1, preview))
            time.sleep(0.006)
        return pictures()

    with Workbench(sqlite_store, tmp_path, FakePipeline(script), preview_fps=2) as bench:
        bench.becomes(bench.add(), "succeeded")
    said = [progress for _, progress, _ in bench.progress]
    assert 2 <= len(said) <= 8 and said[-1]["fraction"] == 1.0
    assert [progress["fraction"] for progress in said] == sorted(progress["fraction"] for progress in said)
    assert 1 <= len(looked) <= 4 and any(seen == b"jpeg" for _, _, seen in bench.progress)


def test_the_first_step_does_not_tell_how_long_the_rest_takes(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds what comes before all steps: those who wait were told five times as long, and a moment later the truth."""

    def script(_request: Any, on_progress: Any, _cancelled: Any) -> Result:
        for fraction, ran in ((0.02, 1.0), (0.5, 4.0), (0.95, 8.0)):
            on_progress._told_at, on_progress._running.began = 0.0, time.monotonic() - ran
            on_progress(Progress(fraction, 1, 50, 1, 1, None))
        return pictures()

    bench = Workbench(sqlite_store, tmp_path, FakePipeline(script))
    for expected in (10.0, None):
        monkeypatch.setattr(bench.queue.estimates, "remembered", lambda _row, told=expected: told)
        bench.add()
        bench.worker._step()
    told = [said["eta_s"] for _, said, _ in bench.progress]
    by_pace = [49.0, 4.0, 8.0 / 19]
    assert told == pytest.approx([10.6, 4.5, 0.4, *by_pace], abs=0.15), "what was learnt first, the pace at the end"


def test_a_preview_that_cannot_be_drawn_costs_no_job(sqlite_store: Store, tmp_path: Path) -> None:
    def preview() -> bytes:
        raise ValueError("no picture yet")

    def script(_request: Any, on_progress: Any, _cancelled: Any) -> Result:
        on_progress(Progress(0.5, 1, 2, 1, 1, preview))
        return pictures()

    with Workbench(sqlite_store, tmp_path, FakePipeline(script)) as bench:
        assert bench.becomes(bench.add(retry={"attempts": 0}), "succeeded", "failed")["state"] == "succeeded"


# --- who is the worker -------------------------------------------------------------------------------------------------


def test_one_process_of_a_host_runs_the_jobs_of_a_file_and_the_next_takes_over(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as first:
        until(lambda: first.worker.registered)
        with Workbench(sqlite_store, tmp_path, FakePipeline()) as second:
            assert "another process" in until(lambda: second.worker.trouble)
            first.becomes(first.add(), "succeeded")
            assert second.pipeline.ran == []
            first.worker.stop()
            until(lambda: second.worker.registered)
            second.becomes(second.add(), "succeeded")
            assert len(second.pipeline.ran) == 1


def row(**values: Any) -> dict[str, Any]:
    me = psutil.Process()
    return {
        "host": platform.node(),
        "pid": me.pid,
        "born": me.create_time(),
        "heartbeat_at": 0.0,
        "lease_s": 60.0,
        **values,
    }


def test_a_living_process_of_this_host_is_alive_however_silent() -> None:
    assert not is_dead(row(), time.time())


def test_a_process_that_is_gone_or_was_replaced_is_dead_at_once() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_dead(row(pid=gone.pid, heartbeat_at=time.time()), time.time())
    assert is_dead(row(born=1.0, heartbeat_at=time.time()), time.time())


def test_a_process_whose_parent_has_not_noticed_yet_is_dead_too() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    born = psutil.Process(child.pid).create_time()
    os.kill(child.pid, 9)
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert is_dead(row(pid=child.pid, born=born, heartbeat_at=time.time()), time.time())
    child.wait()


def test_a_process_of_another_host_is_dead_when_its_lease_is_over() -> None:
    now = time.time()
    assert not is_dead(row(host="elsewhere", heartbeat_at=now - 59), now)
    assert is_dead(row(host="elsewhere", heartbeat_at=now - 61), now)
