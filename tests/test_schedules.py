"""Recurring jobs: one job for each slot, whoever fires it."""

import json
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from queue_ext.compat import given, parse
from queue_ext.errors import InvalidRequest, ScheduleNotFound
from queue_ext.identity import Identity, Owner
from queue_ext.media import Media
from queue_ext.queue import JobQueue
from queue_ext.schedules import Schedules
from queue_ext.settings import Settings
from queue_ext.shapes import ScheduleChanges, ScheduleRequest
from queue_ext.store import Filter, Store
from queue_ext.views import Signer
from tests.support import FakePipeline, claim, finish, running_app, until

ANN = Owner("ann")
MINUTE = 60.0


@pytest.fixture
def schedules(store: Store, tmp_path: Path) -> Schedules:
    settings = Settings(data_dir=tmp_path)
    queue = JobQueue(settings, store, Media(tmp_path / "media"), FakePipeline(), Identity(settings), Signer(b"key"))
    (tmp_path / "media").mkdir()
    store.put_queue("default", {})
    return Schedules(queue)


def put(schedules: Schedules, name: str = "often", **values: Any) -> str:
    payload = values.pop("payload", {"prompt": "a cat", "seed": 5})
    template = {"task": "txt2img", "payload": payload, **values.pop("template", {})}
    request = {"name": name, "cron": "* * * * *", "template": template, **values}
    return schedules.put(ANN, parse(ScheduleRequest, request))[0]


def missed(store: Store, schedule_id: str, minutes: int) -> float:
    """Set the next run back by whole minutes, as if nobody had looked at the clock; the moment it is now."""
    now = int(time.time() // MINUTE) * MINUTE + 1
    store.change_schedule(schedule_id, {"next_run_at": now - 1 - minutes * MINUTE})
    return now


def made(store: Store, schedule_id: str) -> list[Any]:
    return sorted(store.page(Filter(schedule_id=schedule_id), False, None, 200), key=lambda row: row["slot"] or 0)


def test_a_slot_makes_one_job_and_the_next_run_is_later(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules)
    now = missed(store, schedule_id, 0)
    schedules.fire_due(now)
    jobs = made(store, schedule_id)
    assert len(jobs) == 1 and jobs[0]["slot"] == now - 1 and jobs[0]["owner"] == "ann"
    row = store.schedule(schedule_id)
    assert row["next_run_at"] > now and row["runs"] == 1
    schedules.fire_due(now)
    assert len(made(store, schedule_id)) == 1


@pytest.mark.parametrize(("misfire", "jobs"), [("once", 1), ("all", 3), ("skip", 0)])
def test_three_missed_slots_make_as_many_jobs_as_the_policy_says(
    schedules: Schedules, store: Store, misfire: str, jobs: int
) -> None:
    schedule_id = put(schedules, cron="0 * * * *", misfire=misfire)
    now = int(time.time() // 3600) * 3600 + 1800.0
    store.change_schedule(schedule_id, {"next_run_at": now - 1800 - 2 * 3600})
    schedules.fire_due(now)
    assert len(made(store, schedule_id)) == jobs
    assert store.schedule(schedule_id)["next_run_at"] == now + 1800


def test_all_missed_runs_are_caught_up_to_a_hundred(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules, misfire="all")
    schedules.fire_due(missed(store, schedule_id, 500))
    assert len(made(store, schedule_id)) == 100


def test_two_schedulers_and_one_slot_make_one_job(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules)
    now = missed(store, schedule_id, 0)
    threads = [threading.Thread(target=schedules.fire_due, args=(now,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made(store, schedule_id)) == 1 and store.schedule(schedule_id)["runs"] == 1


def test_saving_an_unchanged_schedule_again_keeps_its_next_run_and_its_id(schedules: Schedules, store: Store) -> None:
    first = put(schedules)
    store.change_schedule(first, {"next_run_at": 12345.0})
    assert put(schedules) == first and store.schedule(first)["next_run_at"] == 12345.0
    put(schedules, cron="5 * * * *")
    assert store.schedule(first)["next_run_at"] != 12345.0


def test_a_disabled_schedule_does_not_fire(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules, enabled=False)
    assert schedules.fire_due(missed(store, schedule_id, 3)) == 0 and not made(store, schedule_id)


def test_the_prompt_is_filled_in_and_other_braces_stay(schedules: Schedules, store: Store) -> None:
    prompt = "{date} {run} {random:red|red} {a|b} {other}"
    schedule_id = put(schedules, timezone="Asia/Shanghai", payload={"prompt": prompt})
    now = missed(store, schedule_id, 0)
    schedules.fire_due(now)
    day = datetime.fromtimestamp(now - 1, ZoneInfo("Asia/Shanghai")).date()
    assert made(store, schedule_id)[0]["prompt"] == f"{day} 1 red {{a|b}} {{other}}"


@pytest.mark.parametrize(("how", "seeds"), [("fixed", [5, 5]), ("counting", [5, 6]), ("random", [-1, -1])])
def test_the_seed_is_fixed_counting_or_random(schedules: Schedules, store: Store, how: str, seeds: list[int]) -> None:
    schedule_id = put(schedules, seed=how)
    ids = [schedules.trigger(ANN, schedule_id) for _ in range(2)]
    assert [json.loads(store.body(job_id)["payload"])["seed"] for job_id in ids] == seeds


def test_a_run_is_left_out_while_the_one_before_has_not_ended(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules, overlap="skip")
    schedules.fire_due(missed(store, schedule_id, 0))
    schedules.fire_due(missed(store, schedule_id, 0) + 60)
    assert len(made(store, schedule_id)) == 1 and "left out" in store.schedule(schedule_id)["reason"]
    assert "跳过" in schedules.show(ANN, schedule_id, "zh")["reason"]
    finish(store, claim(store))
    schedules.fire_due(store.schedule(schedule_id)["next_run_at"])
    assert len(made(store, schedule_id)) == 2


def test_queued_runs_never_overlap(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules, overlap="queue")
    for _ in range(2):
        schedules.trigger(ANN, schedule_id)
    assert claim(store) and claim(store, "w2") is None


def test_a_schedule_ends_after_its_runs_and_at_its_end(schedules: Schedules, store: Store) -> None:
    counted, ended = put(schedules, "counted", max_runs=1), put(schedules, "ended", end_at="2029-12-31T23:59:30Z")
    schedules.fire_due(missed(store, counted, 0))
    assert not store.schedule(counted)["enabled"] and "1 times" in store.schedule(counted)["reason"]
    store.change_schedule(ended, {"next_run_at": 1893455940.0})
    schedules.fire_due(1893455999.0)
    assert not store.schedule(ended)["enabled"] and store.schedule(ended)["next_run_at"] is None


def test_a_template_that_no_longer_fits_switches_the_schedule_off_and_says_why(
    schedules: Schedules, store: Store
) -> None:
    schedule_id = put(schedules)
    broken = {"task": "txt2img", "payload": {"prompt": "x", "sampler_name": "unknown"}}
    store.change_schedule(schedule_id, {"template": json.dumps(broken)})
    schedules.fire_due(missed(store, schedule_id, 0))
    row = store.schedule(schedule_id)
    assert not row["enabled"] and "sampler_name" in row["reason"] and not made(store, schedule_id)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"payload": {"prompt": "x", "width": 0}}, ["template", "payload", "width"]),
        ({"template": {"run_at": "2030-01-01T00:00:00Z"}}, ["template", "run_at"]),
        ({"cron": "0 0 30 2 *"}, ["cron"]),
        ({"timezone": "Mars/Base"}, ["timezone"]),
        ({"misfire": "twice"}, ["misfire"]),
        ({"end_at": "2026-02-30T00:00:00Z"}, ["end_at"]),
        ({"end_at": "2020-01-01T00:00:00Z"}, ["end_at"]),
        ({"jitter_s": -1}, ["jitter_s"]),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place_and_nothing_is_kept(
    schedules: Schedules, store: Store, values: dict[str, Any], where: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        put(schedules, **values)
    assert refused.value.errors[0]["loc"] == where and not store.schedules()


def test_a_patch_changes_what_it_names_and_keeps_the_rest(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules)
    changes = parse(ScheduleChanges, {"enabled": False})
    schedules.patch(ANN, schedule_id, changes, given(changes))
    shown = schedules.show(ANN, schedule_id)
    assert shown["enabled"] is False and shown["cron"] == "* * * * *" and shown["next_runs"] == []


def test_deleting_a_schedule_keeps_its_jobs(schedules: Schedules, store: Store) -> None:
    schedule_id = put(schedules)
    job_id = schedules.trigger(ANN, schedule_id)
    schedules.delete(ANN, schedule_id)
    assert store.job(job_id)["schedule_id"] == schedule_id
    with pytest.raises(ScheduleNotFound):
        schedules.show(ANN, schedule_id)


def test_the_clock_fires_a_schedule_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    with running_app(tmp_path, schedule_poll_interval_s=3600.0) as app:
        template = {"task": "txt2img", "payload": {"prompt": "x"}}
        request = parse(ScheduleRequest, {"name": "soon", "cron": "* * * * *", "template": template})
        schedule_id, _ = app.schedules.put(ANN, request)
        due = time.time() + 0.5
        app.store.change_schedule(schedule_id, {"next_run_at": due})
        job = until(lambda: app.store.page(Filter(schedule_id=schedule_id), True, None, 1))[0]
        assert due <= job["created_at"]  # long before the backstop, which comes once an hour here
