"""What people mistype about time is refused by the name of the field, with what is allowed."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .support import Served, served

TEN_YEARS = 10 * 365 * 86400
JOB = {"task": "txt2img", "payload": {"prompt": "x"}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("data"), worker=False) as server:
        yield server


def schedule(**values: Any) -> tuple[str, dict[str, Any]]:
    return "/schedules", {"name": "n", "cron": "@daily", "template": JOB, **values}


@pytest.mark.parametrize(
    ("where", "body", "field", "says"),
    [
        ("/jobs", {**JOB, "run_at": "2027-02-30T12:00:00Z"}, ["run_at"], "2026-11-22T09:30:00+01:00"),
        ("/jobs", {**JOB, "run_at": "tomorrow"}, ["run_at"], "2026-11-22T09:30:00+01:00"),
        ("/jobs", {**JOB, "run_at": "2027-02-03T12:00:00"}, ["run_at"], "offset"),
        ("/jobs", {**JOB, "delay_s": TEN_YEARS}, ["delay_s"], "0 to 31622400"),
        ("/jobs", {**JOB, "delay_s": -1}, ["delay_s"], "0"),
        ("/jobs", {**JOB, "retry": {"attempts": 1_000_000}}, ["retry", "attempts"], "100"),
        (*schedule(cron="0 0 30 2 *"), ["cron"], "no such date"),
        (*schedule(cron="* * * * * *"), ["cron"], "five fields"),
        (*schedule(cron="0 9 * * fryday"), ["cron"], "mon"),
        (*schedule(timezone="Europe/Atlantis"), ["timezone"], "Europe/Berlin"),
    ],
)
def test_the_message_says_what_is_allowed(found: Served, where: str, body: Any, field: list[str], says: str) -> None:
    answer = httpx.post(found.url + where, json=body, trust_env=False)
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert error["loc"] == field and says in error["msg"], error
