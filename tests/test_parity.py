"""Everything the system this one replaces did with jobs, states, time and messages, line by line, on every database.

Each line of ``LINES`` has the test that is named after it.
"""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import socketio

from queue_ext.compat import parse
from queue_ext.errors import FilterFailed, LeaseLost, LimitReached, RequestRefused, UnexpectedState
from queue_ext.estimates import Estimates
from queue_ext.filters import Application, hookimpl
from queue_ext.identity import Owner, owner_of
from queue_ext.ids import new_id
from queue_ext.line import Line
from queue_ext.migrations import version_table
from queue_ext.models import State
from queue_ext.pipelines.demo import DemoPipeline
from queue_ext.schedules import Schedules
from queue_ext.shapes import ScheduleRequest
from queue_ext.store import Database, Filter, Limits, Store

from .support import (
    DEADLINE,
    FakePipeline,
    Gate,
    Served,
    Workbench,
    add,
    assert_counted,
    assert_endings_counted,
    claim,
    finish,
    new_job,
    order_of,
    pictures,
    running_app,
    served,
    until,
)  # fmt: skip
from .test_line import sign_on
from .test_namespace import NEWS, PROXIED, Browser, expected_news, off_loop, run

LINES = """
enqueued job survives a restart · two workers never claim one job · FIFO within priority · pipeline never overlaps ·
unknown task fails and the worker lives · unexpected-state transition changes nothing · history shows failed before the
retry's scheduled · throwing filter commits nothing · state, counters and event commit together ·
kill -9 mid-job re-runs it · lease renews during a long job · a stale worker cannot finish · graceful stop does not use an
attempt · retry returns to its own queue · requeue returns to its own queue · per-queue retries, unlisted queue gets 3 and
10 s · back-off within its formula · error class excluded from retry fails at once · requeue resets attempts ·
delayed job never early · cron Sunday 0 is 7 · `0 12 1 1 *` is yearly · DST gap and overlap fire once · three missed slots:
once 1, all 3, skip 0 · two schedulers, one slot, one job · re-saving an unchanged schedule keeps its next run · child waits
while parent failed and starts after its retry succeeded · deleted parent deletes a `succeeded` child ·
child of a finished parent starts at once · cancel waiting: never runs · cancel running: sampler stops, no result pushed ·
busy concurrency key never occupies a worker · expiry after retention, failed kept, bookmarked kept · same idempotency key,
same job · quota exact under parallel submits · ahead excludes self and includes the running one · asked and pushed counts
agree · dequeue, cancel and move each push positions · result to the owner alone · foreign client id refused · reconnect
with cursor: no gap, no repeat · oversized or unknown message: typed error, others unaffected
"""

ANN = Owner("ann")
ERROR = {"type": "RuntimeError", "message": "it broke", "attempt": 1}
BERLIN = ZoneInfo("Europe/Berlin")


def test_every_line_has_its_test() -> None:
    lines = [" ".join(line.split()) for line in LINES.split("·")]
    wanted = {"test_" + re.sub("[^a-z0-9]+", "_", line.lower()).strip("_") for line in lines}
    assert len(wanted) == 42 and not wanted - set(globals())


# --- what they share ---------------------------------------------------------------------------------------------------


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables, to see that nothing changed."""
    with store.db.read() as conn:
        return {
            name: sorted(map(repr, conn.execute(table.select()).all()))
            for name, table in store.tables.metadata.tables.items()
        }


def states(store: Store, *ids: str) -> list[str]:
    return [store.job(job_id)["state"] for job_id in ids]


def fail(store: Store, row: Any) -> None:
    store.fail(row, {**ERROR, "attempt": row["attempt"]}, "it broke")


def in_threads(count: int, action: Callable[[int], Any]) -> None:
    threads = [threading.Thread(target=action, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


class Script:
    """A pipeline script: an error in the prompt is raised as often as the prompt says, ``hold`` waits to be let go."""

    def __init__(self) -> None:
        self.failed: dict[str, int] = {}
        self.at_once = self.most_at_once = 0
        self.stopped: list[str] = []
        self.let_go: set[str] = set()
        self.began: list[str] = []

    def __call__(self, request: Any, _progress: Any, cancelled: Any) -> Any:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.began.append(request.job_id)
        try:
            return self._run(request, cancelled)
        finally:
            self.at_once -= 1

    def _run(self, request: Any, cancelled: Any) -> Any:
        word, _, times = request.payload["prompt"].partition(" ")
        if word == "refused":
            raise RequestRefused(reason="unknown sampler")
        if word == "fails" and self.failed.get(request.job_id, 0) < int(times or 1):
            self.failed[request.job_id] = self.failed.get(request.job_id, 0) + 1
            raise RuntimeError("it broke")
        while word == "hold" and request.job_id not in self.let_go:
            if cancelled.wait(0.005):
                self.stopped.append(request.job_id)
                break
        return pictures()


def body(prompt: str = "x", **values: Any) -> dict[str, Any]:
    return {"task": "txt2img", "payload": {"prompt": prompt}, **values}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def workshop(store: Store, tmp_path: Path, script: Script) -> Iterator[Workbench]:
    """A queue with its worker at work on the store."""
    store.put_queue("default", {})
    with Workbench(store, tmp_path, FakePipeline(script)) as bench:
        yield bench


@pytest.fixture
def patient(store: Store, tmp_path: Path) -> Workbench:
    """A queue with the settings as they come, whose worker does not work."""
    store.put_queue("default", {})
    return Workbench(store, tmp_path, FakePipeline(), retry_delay_s=10.0)


@pytest.fixture
def schedules(patient: Workbench) -> Schedules:
    return Schedules(patient.queue)


def put(schedules: Schedules, name: str = "often", cron: str = "* * * * *", **values: Any) -> str:
    request = {"name": name, "cron": cron, "template": body(), **values}
    return schedules.put(ANN, parse(ScheduleRequest, request))[0]


def made(store: Store, schedule_id: str) -> list[Any]:
    return store.page(Filter(schedule_id=schedule_id), False, None, 200)


@pytest.fixture(scope="module")
def crowd(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for browsers on the same database, under a prefix of its own; everyone sees their own jobs."""
    prefix = f"p{new_id()[-8:]}_"
    values: dict[str, Any] = {"table_prefix": prefix, "visibility": "private", "max_payload_mb": 1.0}
    url = url_of(shared_database)
    if shared_database.dialect == "sqlite":  # whose worker would wait for that of other tests on the same file
        url = f"sqlite:///{tmp_path_factory.mktemp('crowd').as_posix()}/queue.sqlite3"
    with served(tmp_path_factory.mktemp("data"), FakePipeline(Script()), database_url=url, **values) as found:
        yield found
        if shared_database.dialect != "sqlite":
            gone = Database(url, prefix)
            found.stop()
            with gone.engine.begin() as conn:
                gone.tables.metadata.drop_all(conn)
                conn.exec_driver_sql(f"DROP TABLE {version_table(gone)}")
            gone.close()


def script_of(found: Served) -> Script:
    pipeline: Any = found.app.pipeline
    return pipeline.script


def somebody() -> str:
    """The secret of a browser nobody has met yet."""
    return f"secret-of-{new_id()}"


async def held(browser: Browser, **values: Any) -> str:
    """A job that runs until it is let go; its id."""
    job_id = (await browser.asked("enqueue", body("hold", **values)))["job"]["id"]
    await browser.until(
        lambda browser: {"processing"} & {job["state"] for job in browser.of("job") if job["id"] == job_id}
    )
    return job_id


def let_go(found: Served, *ids: str) -> None:
    script_of(found).let_go |= set(ids)


# --- states and workers ------------------------------------------------------------------------------------------------


def test_enqueued_job_survives_a_restart(database: Database, tmp_path: Path) -> None:
    values = {"database_url": url_of(database), "table_prefix": database.tables.prefix}
    with running_app(tmp_path, worker=False, **values) as app:
        job_id = app.queue.enqueue(ANN, [body()])[0]
    with running_app(tmp_path, **values) as app:
        until(lambda: app.store.job(job_id)["state"] == "succeeded")


def test_two_workers_never_claim_one_job(store: Store) -> None:
    ids = [add(store) for _ in range(12)]
    taken: list[str] = []

    def work(number: int) -> None:
        while (row := claim(store, f"w{number}")) is not None:
            taken.append(row["id"])

    in_threads(2, work)
    assert sorted(taken) == ids


def test_fifo_within_priority(store: Store) -> None:
    first, urgent, second, urgent_too = add(store), add(store, priority=5), add(store), add(store, priority=5)
    assert [claim(store)["id"] for _ in range(4)] == [urgent, urgent_too, first, second]


def test_pipeline_never_overlaps(workshop: Workbench, script: Script) -> None:
    ids = [workshop.add(f"owner{n % 3}", queue=("default", "slow")[n % 2]) for n in range(12)]
    ids += [workshop.add(payload={"prompt": "fails 1"}, retry={"attempts": 1, "delay_s": 0}) for _ in range(3)]
    for job_id in ids:
        workshop.becomes(job_id, "succeeded")
    assert script.most_at_once == 1 and len(script.began) == len(ids) + 3


def test_unknown_task_fails_and_the_worker_lives(store: Store, tmp_path: Path) -> None:
    store.put_queue("default", {})
    with Workbench(store, tmp_path, DemoPipeline(0.0)) as bench:
        strange = add(store, task="txt2video")
        good = bench.add(payload={"prompt": "x", "width": 64, "height": 64, "steps": 1})
        assert "cannot run txt2video" in bench.becomes(strange, "failed")["reason"]
        bench.becomes(good, "succeeded")


def test_unexpected_state_transition_changes_nothing(store: Store) -> None:
    waiting, running = add(store), add(store)
    row = {**store.job(running), "state": "enqueued"}
    claim(store), claim(store, "w2")
    before = everything(store)
    with pytest.raises(UnexpectedState), store.changing() as change:
        change.transition([store.job(waiting), row], State.ENQUEUED, State.DELETED)
    assert everything(store) == before


def test_history_shows_failed_before_the_retry_s_scheduled(workshop: Workbench, store: Store) -> None:
    job_id = workshop.add(payload={"prompt": "fails 1"}, retry={"attempts": 2, "delay_s": 3600})
    workshop.becomes(job_id, "scheduled")
    assert workshop.walked(job_id) == ["enqueued", "processing", "failed", "scheduled"]
    failed, scheduled = store.history(job_id)[-2:]
    assert json.loads(failed["data"])["error"]["message"] == "it broke" and "attempt 1 of 3" in scheduled["reason"]


class Throws:
    """A filter that raises when a job enters a state."""

    def __init__(self, state: State) -> None:
        self.state = state

    @hookimpl
    def state_applied(self, application: Application) -> None:
        if application.state == self.state:
            raise ValueError("a defect")


def test_throwing_filter_commits_nothing(store: Store) -> None:
    waiting = add(store)
    for state, verb in (
        (State.ENQUEUED, lambda: add(store)),
        (State.DELETED, lambda: store.cancel([waiting], "cancelled")),
    ):
        store.filters.add(Throws(state), order=50)
        before = everything(store)
        with pytest.raises(FilterFailed):
            verb()
        assert everything(store) == before
        store.filters.remove("Throws")


def test_state_counters_and_event_commit_together(store: Store) -> None:
    job_id = add(store)
    row = claim(store)
    store.filters.add(Throws(State.SUCCEEDED), order=50)
    before = everything(store)
    with pytest.raises(FilterFailed):
        finish(store, row)
    assert everything(store) == before
    store.filters.remove("Throws")
    seq = store.last_seq()
    finish(store, row)
    events = store.events_after(seq, 10)
    assert [(event["job_id"], json.loads(event["data"])["state"]) for event in events] == [(job_id, "succeeded")]
    assert store.last_seq() == seq + 1 and store.history(job_id)[-1]["state"] == "succeeded"
    assert_counted(store)
    assert_endings_counted(store)


VICTIM = """
import sys, time
from pathlib import Path
from tests.support import FakePipeline, running_app
def script(*_args):
    print("runs", flush=True)
    time.sleep(600)
with running_app(Path(sys.argv[1]), FakePipeline(script), database_url=sys.argv[2], table_prefix=sys.argv[3]):
    time.sleep(600)
"""


def test_kill_9_mid_job_re_runs_it(database: Database, store: Store, tmp_path: Path) -> None:
    store.put_queue("default", {})
    job_id = add(store, payload='{"prompt": "x"}')
    values = (str(tmp_path), url_of(database), database.tables.prefix)
    with subprocess.Popen([sys.executable, "-c", VICTIM, *values], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "runs\n"
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    assert states(store, job_id) == ["processing"]
    with running_app(tmp_path, database_url=values[1], table_prefix=values[2]) as app:
        until(lambda: app.store.job(job_id)["state"] == "succeeded")
    row = store.job(job_id)
    assert (row["attempt"], row["crashes"]) == (2, 1)
    assert_counted(store)
    assert_endings_counted(store)


def test_lease_renews_during_a_long_job(store: Store, tmp_path: Path) -> None:
    store.put_queue("default", {})
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate), lease_s=2.0, heartbeat_s=0.1) as bench:
        job_id = bench.add()
        assert gate.started.wait(DEADLINE)
        first = store.job(job_id)["lease_until"]
        until(lambda: store.job(job_id)["lease_until"] > first)
        gate.open.set()
        bench.becomes(job_id, "succeeded")


def test_a_stale_worker_cannot_finish(store: Store) -> None:
    job_id = add(store)
    stale = claim(store, "w1")
    assert store.recover(["w1"], 3, 0.0, "") == [job_id]
    current = claim(store, "w2")
    before = everything(store)
    for verb in (finish, fail):
        with pytest.raises(LeaseLost):
            verb(store, stale)
    assert everything(store) == before
    finish(store, current)
    assert states(store, job_id) == ["succeeded"]


def test_graceful_stop_does_not_use_an_attempt(store: Store, tmp_path: Path) -> None:
    store.put_queue("default", {})
    gate = Gate()
    with Workbench(store, tmp_path, FakePipeline(gate)) as bench:
        first, second = bench.add(), bench.add()
        assert gate.started.wait(DEADLINE)
    row = store.job(first)
    assert (row["state"], row["attempt"], row["crashes"]) == ("enqueued", 0, 0)
    assert order_of(store) == [first, second]


# --- retries -----------------------------------------------------------------------------------------------------------


def test_retry_returns_to_its_own_queue(workshop: Workbench, store: Store) -> None:
    job_id = workshop.add(queue="slow", payload={"prompt": "fails 2"}, retry={"attempts": 2, "delay_s": 0})
    row = workshop.becomes(job_id, "succeeded")
    assert (row["queue"], row["attempt"]) == ("slow", 3)
    events = [event for event in store.events_after(0, 100) if event["job_id"] == job_id]
    assert {event["queue"] for event in events} == {"slow"}


def test_requeue_returns_to_its_own_queue(store: Store) -> None:
    job_id = add(store, queue="slow", priority=7)
    fail(store, claim(store))
    store.requeue([job_id], True)
    assert (store.job(job_id)["queue"], store.job(job_id)["priority"], order_of(store, "slow")) == ("slow", 7, [job_id])


def test_per_queue_retries_unlisted_queue_gets_3_and_10_s(patient: Workbench, store: Store) -> None:
    store.put_queue("stubborn", {"retry_attempts": 1, "retry_delay_s": 40.0})
    for queue, retries, delay in (("stubborn", 1, 40.0), ("plain", 3, 10.0)):
        job_id = patient.add(queue=queue)
        for attempt in range(1, retries + 2):
            row = claim(store, served=(queue,))
            assert row["attempt"] == attempt
            patient.queue.fail(row, RuntimeError("it broke"))
            waits = store.job(job_id)
            if attempt == 1:
                assert waits["run_at"] - store.history(job_id)[-1]["at"] == pytest.approx(delay, rel=0.11)
            if attempt <= retries:
                store.edit(job_id, True, {"run_at": None}, None, None, None)
        assert states(store, job_id) == ["failed"]


def test_back_off_within_its_formula(patient: Workbench, store: Store) -> None:
    job_id = patient.add(retry={"attempts": 9, "delay_s": 10})
    for attempt in range(1, 10):
        patient.queue.fail(claim(store), RuntimeError("it broke"))
        waits = store.job(job_id)["run_at"] - store.history(job_id)[-1]["at"]
        assert waits == pytest.approx(min(10 * 2 ** (attempt - 1), 600), rel=0.11), attempt
        store.edit(job_id, True, {"run_at": None}, None, None, None)


def test_error_class_excluded_from_retry_fails_at_once(workshop: Workbench) -> None:
    job_id = workshop.add(payload={"prompt": "refused"})
    assert workshop.becomes(job_id, "failed")["attempt"] == 1
    assert workshop.walked(job_id) == ["enqueued", "processing", "failed"]


def test_requeue_resets_attempts(patient: Workbench, store: Store) -> None:
    job_id = patient.add(retry={"attempts": 1, "delay_s": 0})
    for _ in range(2):
        patient.queue.fail(claim(store), RuntimeError("it broke"))
    assert (states(store, job_id), store.job(job_id)["attempt"]) == (["failed"], 2)
    patient.queue.requeue(ANN, job_id)
    assert store.job(job_id)["attempt"] == 0
    for _ in range(2):
        patient.queue.fail(claim(store), RuntimeError("it broke"))
    assert states(store, job_id) == ["failed"]


# --- time --------------------------------------------------------------------------------------------------------------


def test_delayed_job_never_early(database: Database, tmp_path: Path) -> None:
    values = {"database_url": url_of(database), "table_prefix": database.tables.prefix}
    with running_app(tmp_path, schedule_poll_interval_s=3600, **values) as app:
        asked, delays = time.time(), (0.4, 0.1, 0.25)
        ids = app.queue.enqueue(ANN, [body(delay_s=delay) for delay in delays], batch=True)
        for job_id, delay in zip(ids, delays, strict=True):
            until(lambda job_id=job_id: app.store.job(job_id)["state"] == "succeeded")
            assert app.store.job(job_id)["started_at"] >= asked + delay


def test_cron_sunday_0_is_7(schedules: Schedules, store: Store) -> None:
    zero, seven = (store.schedule(put(schedules, f"on {day}", f"0 9 * * {day}")) for day in (0, 7))
    assert zero["next_run_at"] == seven["next_run_at"]
    assert datetime.fromtimestamp(zero["next_run_at"], ZoneInfo("UTC")).strftime("%A %H") == "Sunday 09"


def test_0_12_1_1_is_yearly(schedules: Schedules, store: Store) -> None:
    shown = schedules.show(ANN, put(schedules, cron="0 12 1 1 *"))
    year = int(shown["next_runs"][0][:4])
    assert [run[:16] for run in shown["next_runs"]] == [f"{year + number}-01-01T12:00" for number in range(5)]


def test_dst_gap_and_overlap_fire_once(schedules: Schedules, store: Store) -> None:
    for month, days in ((3, (28, 29, 30)), (10, (24, 25, 26))):
        schedule_id = put(schedules, f"in {month}", "30 2 * * *", timezone="Europe/Berlin")
        moment = datetime(2026, month, days[0], 2, 30, tzinfo=BERLIN).timestamp()
        store.change_schedule(schedule_id, {"next_run_at": moment})
        for _ in range(4 * 24 * 2):
            schedules.fire_due(moment)
            moment += 1800
            if moment > datetime(2026, month, days[2], 4, tzinfo=BERLIN).timestamp():
                break
        slots = [datetime.fromtimestamp(row["slot"], BERLIN) for row in made(store, schedule_id)]
        assert sorted(slot.day for slot in slots) == list(days)
        store.delete_schedule(schedule_id)


def test_three_missed_slots_once_1_all_3_skip_0(schedules: Schedules, store: Store) -> None:
    now = int(time.time() // 3600) * 3600 + 1800.0
    for misfire, jobs in (("once", 1), ("all", 3), ("skip", 0)):
        schedule_id = put(schedules, misfire, "0 * * * *", misfire=misfire)
        store.change_schedule(schedule_id, {"next_run_at": now - 1800 - 2 * 3600})
        schedules.fire_due(now)
        schedules.fire_due(now)
        assert len(made(store, schedule_id)) == jobs, misfire


def test_two_schedulers_one_slot_one_job(schedules: Schedules, store: Store, patient: Workbench) -> None:
    schedule_id = put(schedules)
    now = int(time.time() // 60) * 60.0
    store.change_schedule(schedule_id, {"next_run_at": now})
    in_threads(2, lambda _number: Schedules(patient.queue).fire_due(now + 1))
    assert [row["slot"] for row in made(store, schedule_id)] == [now]
    assert store.schedule(schedule_id)["runs"] == 1


def test_re_saving_an_unchanged_schedule_keeps_its_next_run(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules, cron="0 9 * * *")
    store.change_schedule(schedule_id, {"next_run_at": 12345.0})
    assert put(schedules, cron="0 9 * * *") == schedule_id
    assert store.schedule(schedule_id)["next_run_at"] == 12345.0
    put(schedules, cron="0 10 * * *")
    assert store.schedule(schedule_id)["next_run_at"] > time.time()


# --- continuations -----------------------------------------------------------------------------------------------------


def test_child_waits_while_parent_failed_and_starts_after_its_retry_succeeded(patient: Workbench, store: Store) -> None:
    parent = patient.add(retry={"attempts": 1, "delay_s": 3600})
    child = patient.add(after=[parent])
    patient.queue.fail(claim(store), RuntimeError("it broke"))
    assert states(store, parent, child) == ["scheduled", "awaiting"]
    store.edit(parent, True, {"run_at": None}, None, None, None)
    patient.queue.fail(claim(store), RuntimeError("it broke"))
    assert states(store, parent, child) == ["failed", "awaiting"]
    store.requeue([parent], True)
    finish(store, claim(store))
    assert states(store, parent, child) == ["succeeded", "enqueued"]


def test_deleted_parent_deletes_a_succeeded_child(store: Store) -> None:
    parent = add(store)
    wants_success, wants_any = add(store, after=(parent,)), add(store, after=(parent,), after_on="finished")
    store.cancel([parent], "cancelled")
    assert states(store, wants_success, wants_any) == ["deleted", "enqueued"]
    assert "did not end as succeeded" in store.job(wants_success)["reason"]


def test_child_of_a_finished_parent_starts_at_once(store: Store) -> None:
    parent = add(store)
    finish(store, claim(store))
    child = add(store, after=(parent,))
    assert claim(store)["id"] == child


# --- cancelling, limits, keeping ---------------------------------------------------------------------------------------


def test_cancel_waiting_never_runs(store: Store) -> None:
    first, cancelled, last = add(store), add(store), add(store)
    assert store.cancel([cancelled], "cancelled by its owner") == [cancelled]
    assert [claim(store)["id"], claim(store)["id"], claim(store)] == [first, last, None]
    assert [row["state"] for row in store.history(cancelled)] == ["enqueued", "deleted"]


def test_cancel_running_sampler_stops_no_result_pushed(crowd: Served) -> None:
    async def scenario() -> None:
        async with Browser(crowd, somebody()) as ann:
            job_id = await held(ann)
            await ann.asked("cancel", {"job_id": job_id})
            await ann.until(lambda ann: ann.of("job")[-1]["state"] == "deleted")
            assert script_of(crowd).stopped[-1] == job_id
            await ann.quiet()
            assert ann.of("result", "failed") == []

    run(scenario())


def test_busy_concurrency_key_never_occupies_a_worker(store: Store) -> None:
    first, second = add(store, concurrency_key="lora"), add(store, concurrency_key="lora")
    third = add(store)
    running = claim(store, "w1")
    assert (running["id"], claim(store, "w2")["id"], claim(store, "w3")) == (first, third, None)
    finish(store, running)
    assert claim(store, "w3")["id"] == second


def test_expiry_after_retention_failed_kept_bookmarked_kept(database: Database) -> None:
    store = Store(database, -1.0)  # as if the time of all that ends now were over
    done, marked, failed = add(store), add(store), add(store)
    finish(store, claim(store))
    finish(store, claim(store))
    fail(store, claim(store))
    gone = add(store)
    store.cancel([gone], "cancelled")
    store.bookmark([marked])
    waiting = add(store)
    later = Store(database, 3600.0)
    add(later, priority=1)
    finish(later, young := claim(later))
    assert store.expire() == 2
    assert store.ids(Filter()) == [marked, failed, waiting, young["id"]] and done not in store.ids(Filter())
    assert_counted(store)


def test_same_idempotency_key_same_job(store: Store) -> None:
    ids: list[str] = []
    in_threads(8, lambda _number: ids.append(add(store, idempotency_key="order-1", digest="d")))
    assert len(ids) == 8 and len(set(ids)) == 1
    assert add(store, "ben", idempotency_key="order-1", digest="d") not in ids


def test_quota_exact_under_parallel_submits(store: Store) -> None:
    outcomes: list[bool] = []

    def submit(_number: int) -> None:
        try:
            store.add_jobs([new_job("greedy")], Limits(1000, per_day=5), True)
            outcomes.append(True)
        except LimitReached:
            outcomes.append(False)

    in_threads(20, submit)
    assert (outcomes.count(True), len(outcomes)) == (5, 20)


def test_ahead_excludes_self_and_includes_the_running_one(store: Store) -> None:
    sign_on(store)
    line = Line(store, 60.0, Estimates(store))
    alone = add(store, "A")
    assert line.places(store.jobs([alone]))[alone].ahead == 0
    claim(store)
    waiting = [add(store, owner) for owner in "AABC"]
    places = line.places(store.jobs(waiting))
    assert [places[job_id].ahead for job_id in waiting] == [3, 4, 1, 2]


# --- browsers ----------------------------------------------------------------------------------------------------------


def test_asked_and_pushed_counts_agree(crowd: Served) -> None:
    async def scenario() -> None:
        async with Browser(crowd, somebody()) as ann, Browser(crowd, somebody(), **PROXIED) as ben:
            running = await held(ann)
            waiting = [(await ann.asked("enqueue", body()))["job"]["id"] for _ in range(3)]
            for count in (3, 2):
                told = {"queue": "default", "count": count}
                for browser in (ann, ben):
                    await browser.until(lambda browser, told=told: told in browser.of("waiting_count")[-1:])
                    assert (await browser.asked("waiting_count", {"queue": "default"}))["count"] == count
                await ann.asked("cancel", {"job_id": waiting[count - 1]})
            let_go(crowd, running)
            await ann.until(lambda ann: ann.of("waiting_count")[-1]["count"] == 0)
            assert (await ben.asked("waiting_count"))["count"] == 0

    run(scenario())


def test_dequeue_cancel_and_move_each_push_positions(crowd: Served) -> None:
    async def scenario() -> None:
        async with Browser(crowd, somebody()) as ann:
            first = await held(ann)
            ids = [(await ann.asked("enqueue", body("hold")))["job"]["id"] for _ in range(4)]

            async def told(*expected: str) -> None:
                def right(ann: Browser) -> bool:
                    places = ann.of("positions")[-1:]
                    line = sorted(places[0], key=lambda job_id: places[0][job_id]["position"]) if places else []
                    return line == list(expected)

                await ann.until(right)
                ahead = [ann.of("positions")[-1][job_id]["ahead"] for job_id in expected]
                assert ahead == list(range(1, len(expected) + 1))

            await told(*ids)
            let_go(crowd, first)
            await told(*ids[1:])
            await ann.asked("cancel", {"job_id": ids[1]})
            await told(ids[2], ids[3])
            await ann.asked("move", {"job_id": ids[3], "to": "front"})
            await told(ids[3], ids[2])
            let_go(crowd, *ids)
            await ann.until(lambda ann: len(ann.of("result")) == 4)

    run(scenario())


def test_result_to_the_owner_alone(crowd: Served) -> None:
    async def scenario() -> None:
        secret = somebody()
        async with (
            Browser(crowd, secret, **PROXIED) as ann,
            Browser(crowd, secret, **PROXIED) as second_tab,
            Browser(crowd, somebody(), **PROXIED) as ben,
        ):
            job = (await ann.asked("enqueue", body()))["job"]
            for tab in (ann, second_tab):
                result = (await tab.until(lambda tab: tab.of("result")))[0]
                assert (result["job_id"], len(result["images"])) == (job["id"], 1)
            await ben.quiet()
            assert ben.of("job", "result", "failed", "progress") == []

    run(scenario())


def test_foreign_client_id_refused(crowd: Served) -> None:
    async def scenario() -> None:
        secret = somebody()
        async with Browser(crowd, secret, **PROXIED) as ann:
            job = (await ann.asked("enqueue", body()))["job"]
            await ann.until(lambda ann: ann.of("result"))
            async with Browser(crowd, job["owner"], **PROXIED) as thief:  # who knows but the public name
                said = await thief.asked("hello")
                assert said["owner"] not in (job["owner"], owner_of(secret)) and said["jobs"] == []
                assert await thief.refused("watch", {"job_id": job["id"]}) == "job_not_found"
                assert await thief.refused("requeue", {"job_id": job["id"]}) == "job_not_found"
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Browser(crowd, "short").connect()

    run(scenario())


def test_reconnect_with_cursor_no_gap_no_repeat(crowd: Served) -> None:
    async def scenario() -> None:
        secret = somebody()
        async with Browser(crowd, secret, **PROXIED) as ann:
            cursor = (await ann.asked("hello"))["cursor"]
        owner, heard, since = owner_of(secret), list[int](), cursor
        for _ in range(3):
            ids = await off_loop(
                crowd.app.queue.enqueue, Owner(owner), [body(), body("fails 9", retry={"attempts": 0})], True
            )
            await off_loop(crowd.app.queue.enqueue, Owner("ben"), [body()])
            async with Browser(crowd, secret, since=since, **PROXIED) as ann:
                said = await ann.asked("hello")
                assert "snapshot" not in said
                await off_loop(
                    until,
                    lambda ids=ids: {row["state"] for row in crowd.app.store.jobs(ids)} == {"succeeded", "failed"},
                )
                await ann.quiet()
                heard += [item["data"]["seq"] for item in said["replay"]] + [news["seq"] for news in ann.of(*NEWS)]
            since = heard[-1]
        assert heard == [seq for seq in expected_news(crowd, owner) if seq > cursor]

    run(scenario())


def test_oversized_or_unknown_message_typed_error_others_unaffected(crowd: Served) -> None:
    async def scenario() -> None:
        async with Browser(crowd, somebody(), **PROXIED) as ann, Browser(crowd, somebody(), **PROXIED) as ben:
            assert await ben.refused("enqueue", body("x" * 100_001)) == "invalid_request"
            assert await ben.refused("dance", {"now": True}) == "unknown_event"
            assert await ben.refused("cancel", ["not", "an", "object"]) == "invalid_request"
            assert (await ben.asked("waiting_count"))["count"] == 0, "its connection goes on"
            with pytest.raises((asyncio.TimeoutError, socketio.exceptions.SocketIOError)):
                await ben.sio.call("enqueue", body("x" * 3_000_000), namespace="/queue", timeout=2)
            await ann.asked("enqueue", body())
            await ann.until(lambda ann: ann.of("result"))
        async with Browser(crowd, somebody(), **PROXIED) as again:
            await again.asked("hello")

    run(scenario())
