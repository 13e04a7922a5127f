"""What was measured is kept by machine, across restarts, and what waits is told anew, on every database."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queue_ext.durations import PRIOR
from queue_ext.estimates import Estimates
from queue_ext.identity import Owner
from queue_ext.pipelines.payloads import effort
from queue_ext.store import Filter, Measured, Store, machine
from queue_ext.store.measurements import KEPT
from tests.support import FakePipeline, add, claim, finish, pictures, running_app, until
from tests.test_line import sign_on

EFFORT = effort("txt2img", {"steps": 20, "width": 512, "height": 512})
TEXT = json.dumps(EFFORT)
HERE = machine("here", "fake")


def ran(store: Store, seconds: float, at: str = HERE, what: str = TEXT) -> None:
    add(store, "somebody", effort=what, priority=4000)
    store.succeed(claim(store), [], "{}", Measured(at, seconds))


def test_a_job_that_ran_is_measured_once_and_one_that_says_nothing_is_not(store: Store) -> None:
    ran(store, 3.0)
    add(store)
    finish(store, claim(store))
    assert store.newest_measurement() > 0
    rows = store.measurements()[HERE]
    assert [(row["seconds"], json.loads(row["effort"])) for row in rows] == [(3.0, EFFORT)]


def test_what_was_measured_survives_its_jobs_and_a_restart(store: Store) -> None:
    for _ in range(3):
        ran(store, 12.0)
    assert store.remove(store.ids(Filter())) == 3
    again = Estimates(store)
    assert again.known and again.seconds(EFFORT) == pytest.approx(12.0, rel=0.05)


def test_before_anything_ran_nobody_knows(store: Store) -> None:
    estimates = Estimates(store)
    job_id = add(store, effort=TEXT)
    assert not estimates.known and estimates.of(store.job(job_id)) is None
    assert estimates.seconds(EFFORT) == PRIOR.seconds(EFFORT)
    assert estimates.refresh() == 0


def test_who_must_not_wait_for_the_database_is_told_what_was_read_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = store.job(add(store, effort=TEXT))
    estimates = Estimates(store)
    assert estimates.remembered(row) is None
    ran(store, 12.0)
    estimates.refresh()
    for question in ("newest_measurement", "measurements"):
        monkeypatch.setattr(store, question, lambda *_args: pytest.fail("it was asked"))
    assert estimates.remembered(row) == pytest.approx(12.0, rel=0.05)


def test_learning_from_many_takes_little_of_the_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = [100.0], [0.0]
    estimates = Estimates(store)
    reads: list[float] = []

    def read() -> None:
        reads.append(now[0])
        used[0] += 0.02 if len(reads) > 1 else 0.0

    clock = SimpleNamespace(monotonic=lambda: now[0], thread_time=lambda: used[0])
    monkeypatch.setattr("queue_ext.estimates.time", clock)
    monkeypatch.setattr(estimates, "_read", read)
    for _ in range(300):
        estimates.models()
        now[0] += 0.1
    assert reads == pytest.approx([100.0, 102.1, 112.2, 122.3], abs=0.5), "the first one was quick"


def test_machines_that_run_jobs_now_count_and_others_do_not(store: Store) -> None:
    ran(store, 4.0)
    ran(store, 40.0, machine("there", "fake"))
    assert Estimates(store).seconds(EFFORT) == pytest.approx(40.0, rel=0.05), "nobody is signed on: the last one"
    sign_on(store)
    assert Estimates(store).seconds(EFFORT) == pytest.approx(4.0, rel=0.05)


def test_waiting_jobs_are_told_anew_and_others_left_alone(store: Store) -> None:
    waiting = [add(store, effort=TEXT, work=1.0) for _ in range(3)]
    plain, later = add(store, work=1.0), add(store, effort=TEXT, work=1.0, run_at=time.time() + 3600)
    ran(store, 8.0)
    before = store.last_seq()
    estimates = Estimates(store)
    assert estimates.refresh() == 3
    assert [store.job(job_id)["work"] for job_id in waiting] == pytest.approx([8.0] * 3, rel=0.05)
    assert [store.job(job_id)["work"] for job_id in (plain, later)] == [1.0, 1.0]
    assert store.last_seq() == before, "it is no news"
    assert estimates.refresh() == 0, "nothing new was learnt"


def test_who_comes_after_another_checkpoint_is_told_its_loading(store: Store) -> None:
    other = json.dumps({**EFFORT, "checkpoint": "other"})
    for number in range(12):
        ran(store, 2.0 + (5.0 if number % 3 != 1 else 0.0), what=TEXT if number % 3 == 2 else other)
    ids = [add(store, effort=what) for what in (TEXT, TEXT, other, other)]
    Estimates(store).refresh()
    work = [store.job(job_id)["work"] for job_id in ids]
    assert work == pytest.approx([2.0, 2.0, 7.0, 2.0], rel=0.25)


def test_only_the_newest_are_kept(store: Store) -> None:
    rows = [{"machine": HERE, "at": 0.0, "effort": TEXT, "seconds": float(n + 1)} for n in range(KEPT + 30)]
    with store.writing() as conn:
        conn.execute(store.tables.measurement.insert(), rows)
    store.forget_measurements()
    kept = store.measurements()[HERE]
    assert (len(kept), kept[0]["seconds"], kept[-1]["seconds"]) == (KEPT, 31.0, KEPT + 30.0)
    store.forget_measurements()
    assert len(store.measurements()[HERE]) == KEPT


def test_the_worker_measures_what_ran_to_its_end(tmp_path: Path) -> None:
    def script(request: Any, _progress: Any, _cancelled: Any) -> Any:
        if request.payload["prompt"] == "fails":
            raise RuntimeError("no")
        return pictures()

    def body(prompt: str) -> dict[str, Any]:
        return {"task": "txt2img", "payload": {"prompt": prompt}, "retry": {"attempts": 0}}

    with running_app(tmp_path, FakePipeline(script)) as app:
        app.queue.enqueue(Owner("ann"), [body("good"), body("fails"), body("good")], batch=True)
        until(lambda: app.store.counts().get(("default", "succeeded")) == 2)
        until(lambda: app.store.counts().get(("default", "failed")) == 1)
        rows = [row for rows in app.store.measurements().values() for row in rows]
    assert len(rows) == 2 and all(0 <= row["seconds"] < 5 for row in rows)
    with running_app(tmp_path, FakePipeline(script), worker=False) as app:
        assert app.queue.estimates.known
        shown = app.queue.show(Owner("ann"), app.queue.enqueue(Owner("ann"), [body("good")]))[0]
        assert shown["duration_estimate_s"] is not None
