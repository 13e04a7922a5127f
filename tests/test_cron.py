"""Cron expressions, on clocks that change."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_ext.cron import Cron
from queue_ext.errors import InvalidRequest


def runs(expression: str, start: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The next runs after a local time, as local times with their offsets."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp()
    return [
        datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat()[:22]
        for at in Cron(expression, zone).following(after, count)
    ]


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "SUN"])
def test_sunday_is_0_and_7_and_has_a_name(sunday: str) -> None:
    found = runs(f"0 9 * * {sunday}", "2026-11-18T00:00", 2)
    assert [run[:16] for run in found] == ["2026-11-22T09:00", "2026-11-29T09:00"]


def test_noon_of_the_first_of_january_is_yearly() -> None:
    assert [run[:16] for run in runs("0 12 1 1 *", "2026-03-01T00:00", 3)] == [
        "2027-01-01T12:00",
        "2028-01-01T12:00",
        "2029-01-01T12:00",
    ]


def test_ranges_over_the_weekend_lists_and_steps_are_understood() -> None:
    assert [run[:10] for run in runs("0 9 * * 5-7,1", "2026-11-19T10:00", 4)] == [
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
    ]
    assert [run[11:16] for run in runs("5-20/5 8 * * *", "2026-11-19T00:00", 4)] == ["08:05", "08:10", "08:15", "08:20"]


def test_day_and_weekday_together_mean_either() -> None:
    assert [run[:10] for run in runs("0 9 13 * fri", "2026-10-31T00:00", 3)] == [
        "2026-11-06",
        "2026-11-13",
        "2026-11-20",
    ]


def test_a_time_that_the_clock_skips_comes_once_when_it_goes_on() -> None:
    assert runs("30 2 * * *", "2026-03-28T12:00", 2) == ["2026-03-29T03:30:00+02", "2026-03-30T02:30:00+02"]


def test_a_time_that_the_clock_repeats_comes_once() -> None:
    assert runs("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30:00+02", "2026-10-26T02:30:00+01"]


def test_an_interval_goes_on_through_both_hours_and_over_the_gap() -> None:
    autumn = runs("*/30 * * * *", "2026-10-25T01:45", 5)
    assert autumn == [
        "2026-10-25T02:00:00+02",
        "2026-10-25T02:30:00+02",
        "2026-10-25T02:00:00+01",
        "2026-10-25T02:30:00+01",
        "2026-10-25T03:00:00+01",
    ]
    assert runs("*/30 * * * *", "2026-03-29T01:20", 2) == ["2026-03-29T01:30:00+01", "2026-03-29T03:00:00+02"]


@given(
    st.integers(0, 2_000_000_000),
    st.sampled_from(["0 * * * *", "17 3 * * *", "*/20 1-3 * * *", "0 0 31 * *", "30 2 * * sun"]),
)
def test_runs_are_later_than_asked_for_and_in_order(after: int, expression: str) -> None:
    cron = Cron(expression, "Europe/Berlin")
    found = cron.following(float(after), 3)
    assert [float(after), *found] == sorted({float(after), *found}) and len(found) == 3


@given(st.integers(1_700_000_000, 1_900_000_000))
def test_no_run_is_passed_over(after: int) -> None:
    cron = Cron("15 2 * * *", "Europe/Berlin")
    first = cron.next(float(after))
    assert first is not None and cron.next(first - 1) == first
    assert 0 < first - after <= 26 * 3600


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 0 30 2 *", "no such date"),
        ("* * * * * *", "five fields"),
        ("61 * * * *", "0 to 59"),
        ("0 0 * * 8", "0 to 7"),
        ("5-1 * * * *", "ends before it begins"),
        ("*/0 * * * *", "not understood"),
        ("@fortnightly", "not '@fortnightly'"),
        ("", "five fields"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_allowed(expression: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Cron(expression)
    assert refused.value.errors[0]["loc"] == ["cron"] and says in refused.value.detail


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Cron("@daily", zone)
    assert refused.value.errors[0]["loc"] == ["timezone"]


def test_an_expression_is_put_in_words_with_its_zone() -> None:
    assert Cron("0 9 * * mon-fri", "Europe/Berlin").describe() == "At 09:00, Monday through Friday, Europe/Berlin"
    assert "在" in Cron("0 9 * * *", "Asia/Shanghai").describe("zh")
    said = Cron("0 9 * mar mon-fri", "Asia/Shanghai").describe("zh")
    assert said.isascii() is False and "星期一" in said and "3月" in said and "Mon" not in said and ", " not in said


def test_a_macro_is_what_it_stands_for() -> None:
    after = datetime(2026, 11, 22, 8, tzinfo=timezone.utc).timestamp()
    assert Cron("@weekly").next(after) == Cron("0 0 * * 0").next(after)
