"""Weeks in half a minute: a real server in real time, whose wall clock the test turns forward and back."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import time_machine

from tests.support import FakePipeline, Served, assert_counted, assert_endings_counted, pictures, served, until

START = datetime(2026, 3, 26, 12, tzinfo=timezone.utc)  # three days before Berlin's clocks go forward
BERLIN = ZoneInfo("Europe/Berlin")


class Clock:
    """The wall clock of this process; the steady one, by which everybody waits, goes on as it is."""

    def __init__(self, traveller: Any) -> None:
        self._traveller = traveller

    def turn_to(self, moment: datetime) -> None:
        self._traveller.move_to(moment)

    def turn_by(self, **span: float) -> None:
        self._traveller.shift(timedelta(**span))

    @property
    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class Desk:
    """What a person does by HTTP."""

    def __init__(self, found: Served) -> None:
        self.found = found
        self.http = httpx.Client(
            base_url=found.url, headers={"X-Queue-Client": "somebody-with-a-clock"}, trust_env=False
        )

    def send(self, prompt: str = "x", **values: Any) -> str:
        answer = self.http.post("/jobs", json={"task": "txt2img", "payload": {"prompt": prompt}, **values})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.http.get(f"/jobs/{job_id}").json()

    def becomes(self, job_id: str, state: str) -> dict[str, Any]:
        until(lambda: self.job(job_id).get("state") == state, what=f"for {state}")
        return self.job(job_id)

    def schedule(self, cron: str, **values: Any) -> str:
        body = {
            "name": cron,
            "cron": cron,
            "timezone": "Europe/Berlin",
            "template": {"task": "txt2img", "payload": {"prompt": "{date}"}},
        }
        return self.http.post("/schedules", json={**body, **values}).json()["id"]

    def runs(self, schedule_id: str) -> list[str]:
        """The prompts of the jobs of a schedule, which are the days they were for."""
        found = self.http.get("/jobs", params={"schedule_id": schedule_id, "limit": 200}).json()["jobs"]
        return sorted(job["prompt"] for job in found)

    def runs_become(self, schedule_id: str, *days: str) -> None:
        until(lambda: len(self.runs(schedule_id)) >= len(days), what=f"for runs on {days}")
        assert self.runs(schedule_id) == list(days)


def script(request: Any, *_rest: Any) -> Any:
    if request.payload["prompt"] == "fails" and request.attempt == 1:
        raise RuntimeError("it broke")
    if request.payload["prompt"] == "always fails":
        raise RuntimeError("it broke")
    return pictures()


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(START, tick=True) as traveller:
        yield Clock(traveller)


@pytest.fixture
def desk(clock: Clock, tmp_path: Path) -> Iterator[Desk]:
    with served(tmp_path, FakePipeline(script), quota_per_day=8, retry_delay_s=600, retry_delay_max_s=3600) as found:
        yield Desk(found)


def test_weeks_go_by_and_everything_comes_when_it_is_due_once(desk: Desk, clock: Clock) -> None:
    later = desk.send(run_at="2026-03-27T09:00:00Z")
    retried = desk.send("fails")
    impatient = desk.send(queue="asleep", ttl_s=7200, delay_s=1)
    desk.http.post("/queues/asleep/pause")
    nightly = desk.schedule("30 2 * * *", misfire="all")
    waits = desk.becomes(retried, "scheduled")
    assert 500 < (datetime.fromisoformat(waits["run_at"].replace("Z", "+00:00")) - clock.now).total_seconds() < 700

    clock.turn_by(minutes=12)
    assert desk.becomes(retried, "succeeded")["attempt"] == 2
    assert [desk.job(job_id)["state"] for job_id in (later, impatient)] == ["scheduled", "enqueued"]

    clock.turn_by(hours=2)
    assert desk.becomes(impatient, "deleted")["reason"] == "waited too long"

    clock.turn_to(datetime(2026, 3, 27, 8, 59, 58, tzinfo=timezone.utc))
    desk.runs_become(nightly, "2026-03-27")
    started = desk.becomes(later, "succeeded")
    assert started["run_at"] is None or started["started_at"] >= "2026-03-27T09:00:00"
    assert started["started_at"] < "2026-03-27T09:00:10"

    # The machine sleeps over a weekend in which a clock goes forward: 02:30 does not exist on the 29th.
    clock.turn_to(datetime(2026, 3, 30, 9, tzinfo=BERLIN))
    desk.runs_become(nightly, "2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30")

    # Somebody sets the clock back by an hour and then to where it was: nothing comes twice, and nothing stands still.
    clock.turn_by(hours=-8)
    impatient = desk.send(queue="asleep", ttl_s=1)
    desk.becomes(impatient, "deleted")
    desk.becomes(desk.send(), "succeeded")
    clock.turn_by(hours=8)
    desk.becomes(desk.send(delay_s=0.5), "succeeded")
    desk.runs_become(nightly, "2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30")

    # A day's quota ends with the day.
    clock.turn_to(datetime(2026, 3, 30, 22, 0, tzinfo=timezone.utc))
    used = desk.http.get("/me").json()["quota"]
    for _ in range(used["remaining"]):
        desk.send()
    refused = desk.http.post("/jobs", json={"task": "txt2img", "payload": {"prompt": "x"}})
    assert refused.status_code == 429 and 7000 < int(refused.headers["Retry-After"]) <= 7200
    clock.turn_to(datetime(2026, 3, 31, 0, 0, 1, tzinfo=timezone.utc))
    kept = desk.send()
    desk.becomes(kept, "succeeded")
    assert desk.http.get("/me").json()["quota"]["used"] == 1
    assert_counted(desk.found.app.store)
    assert_endings_counted(desk.found.app.store)

    # What ended a month ago is forgotten, but for what failed or is bookmarked.
    desk.http.patch(f"/jobs/{kept}", json={"bookmarked": True})
    failed = desk.send("always fails", retry={"attempts": 0})
    desk.becomes(failed, "failed")
    desk.http.patch(f"/schedules/{nightly}", json={"enabled": False})
    clock.turn_by(days=31)
    until(lambda: desk.http.get("/jobs").json()["total"] == 2, what="for old jobs to go")
    assert {job["id"] for job in desk.http.get("/jobs").json()["jobs"]} == {kept, failed}
    assert_counted(desk.found.app.store)
