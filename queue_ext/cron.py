"""Cron expressions: what they mean in words, and when they come next in a time zone. Pure functions of their arguments.

APScheduler's fields do the parsing and the searching, on the wall clock. What a zone does to the wall clock is decided
here: a time that a clock change skips comes as soon as the clock goes on; one that a change repeats comes once, the
first time, unless the expression means an interval ("every 15 minutes"), which goes on through both.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger

from .errors import invalid

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = ("minute", "hour", "day", "month", "day_of_week")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WORDS = {"day_of_week": "weekday"}  # fields that people call otherwise
LIMITS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "day_of_week": (0, 7)}
ENGLISH_NAMES = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday "
    "January February March April May June July August September October November December"
)
CHINESE_NAMES = "星期一 星期二 星期三 星期四 星期五 星期六 星期日 1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月"
NAMES = dict(zip(ENGLISH_NAMES.split(), CHINESE_NAMES.split(), strict=True))  # which the library leaves in English
YEARS = 9  # in which an expression must come at least once; 29 February does
LONGEST_GAP = timedelta(hours=26)  # no zone has ever moved its clock by more in one step
ALLOWED = (
    "five fields: minute hour day month weekday (0 or 7 is Sunday), such as 0 9 * * mon-fri, or a macro such as @daily"
)


class Cron:
    """One expression in one zone. Raises InvalidRequest (``loc`` is cron or timezone) for what does not make sense."""

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        self.expression = expression
        self.zone = _zone(zone)
        fields = _fields(expression)
        self._interval = any(re.search(r"[*/]", fields[name]) for name in ("minute", "hour"))
        self._triggers = [_trigger(part) for part in _either_day(fields)]
        self._plain = MACROS.get(expression.strip().lower(), expression)
        if self._wall_after(datetime.now(), YEARS) is None:
            raise invalid("cron", msg=f"never comes: there is no such date; allowed are {ALLOWED}")

    def next(self, after: float) -> float | None:
        """The first moment later than ``after``, both seconds since the epoch."""
        wall = datetime.fromtimestamp(after, self.zone).replace(tzinfo=None)
        found = self._wall_after(wall)
        if found is None:
            return None
        if self._steady(wall - LONGEST_GAP, max(found, wall) + LONGEST_GAP):
            return found.replace(tzinfo=self.zone).timestamp()
        return self._next_near_change(after, wall, found)

    def _steady(self, first: datetime, last: datetime) -> bool:
        """Whether no clock change lies near either end; what lies between them does not matter."""
        return all(
            (around - LONGEST_GAP).replace(tzinfo=self.zone).utcoffset()
            == (around + LONGEST_GAP).replace(tzinfo=self.zone).utcoffset()
            for around in (first + LONGEST_GAP, last - LONGEST_GAP)
        )

    def _next_near_change(self, after: float, wall: datetime, found: datetime) -> float | None:
        """The same where a clock change is near: every instant of the stretch is looked at."""
        later = [moment for moment in self._moments(wall - LONGEST_GAP, found + LONGEST_GAP) if moment > after]
        return min(later) if later else self.next((found + LONGEST_GAP).replace(tzinfo=self.zone).timestamp())

    def following(self, after: float, count: int) -> list[float]:
        """The next ``count`` moments."""
        moments: list[float] = []
        while len(moments) < count and (found := self.next(moments[-1] if moments else after)) is not None:
            moments.append(found)
        return moments

    def between(self, after: float, until: float, limit: int) -> list[float]:
        """The moments later than ``after`` up to and including ``until``, the earliest ``limit`` of them."""
        moments: list[float] = []
        moment = self.next(after)
        while moment is not None and moment <= until and len(moments) < limit:
            moments.append(moment)
            moment = self.next(moment)
        return moments

    def describe(self, lang: str = "en") -> str:
        """The expression in words, with its zone."""
        # Imported here: only people who look at schedules need it.
        from cron_descriptor import Options, get_description

        options = Options()
        options.use_24hour_time_format = True
        options.locale_code = {"zh": "zh_CN"}.get(lang, "en_US")
        said = get_description(self._plain, options)
        if lang == "zh":
            said = re.sub("|".join(NAMES), lambda found: NAMES[found[0]], said).replace(", ", "，")
            return f"{said}，{self.zone.key}"
        return f"{said}, {self.zone.key}"

    def _moments(self, wall: datetime, until: datetime) -> Iterator[float]:
        """The instants of all wall-clock times in a stretch around a possible clock change."""
        found = self._wall_after(wall)
        while found is not None and found <= until:
            yield from self._instants(found)
            found = self._wall_after(found)

    def _instants(self, wall: datetime) -> list[float]:
        """When a wall-clock time is: once, twice where a change repeats it, never for an interval where one skips it."""
        first = wall.replace(tzinfo=self.zone, fold=0)
        second = wall.replace(tzinfo=self.zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return [first.timestamp()]
        skipped = first.astimezone(timezone.utc).astimezone(self.zone).replace(tzinfo=None) != wall
        if skipped:
            return [] if self._interval else [first.timestamp()]
        return [first.timestamp(), second.timestamp()] if self._interval else [first.timestamp()]

    def _wall_after(self, wall: datetime, years: int | None = None) -> datetime | None:
        """The next time on a wall clock that knows no zones."""
        last = 9999 if years is None else wall.year + years
        start = wall.replace(tzinfo=timezone.utc, microsecond=0) + timedelta(seconds=1)
        found = [trigger(last).get_next_fire_time(None, start) for trigger in self._triggers]
        return min((moment.replace(tzinfo=None) for moment in found if moment is not None), default=None)


def _zone(name: str) -> ZoneInfo:
    try:
        if not name or name.startswith(("/", ".")):
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise invalid(
            "timezone", msg=f"{name!r} is not a known time zone; allowed are IANA names such as Europe/Berlin"
        ) from None


def _fields(expression: str) -> dict[str, str]:
    text = MACROS.get(expression.strip().lower(), expression).lower()
    parts = text.split()
    if len(parts) != len(FIELDS) or text.startswith("@"):
        raise invalid("cron", msg=f"must be {ALLOWED}; not {expression!r}")
    return {name: _field(name, part) for name, part in zip(FIELDS, parts, strict=True)}


def _field(name: str, text: str) -> str:
    """A field with numbers for names, weekdays as names: APScheduler counts them from Monday, cron from Sunday."""
    return ",".join(_item(name, item) for item in text.split(","))


def _item(name: str, item: str) -> str:
    found = re.fullmatch(r"(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/(\d+))?", item)
    if not found or (found[1] == "*" and found[2]) or found[3] == "0":
        raise invalid("cron", msg=f"the {WORDS.get(name, name)} {item!r} is not understood; allowed are {ALLOWED}")
    low, high = LIMITS[name]
    step = int(found[3] or 1)
    if found[1] == "*":
        return "*" if step == 1 else _spelled(name, range(low, (6 if name == "day_of_week" else high) + 1, step))
    first = _number(name, found[1])
    last = _number(name, found[2]) if found[2] else (high if found[3] else first)
    if name == "day_of_week" and found[3] and not found[2]:
        last = 6
    if first > last:
        raise invalid("cron", msg=f"the {WORDS.get(name, name)} {item!r} ends before it begins")
    return _spelled(name, range(first, last + 1, step))


def _number(name: str, text: str) -> int:
    low, high = LIMITS[name]
    names = {"day_of_week": DAYS, "month": MONTHS}.get(name, ())
    value = names.index(text) + (name == "month") if text in names else int(text) if text.isdigit() else -1
    if not low <= value <= high:
        raise invalid(
            "cron",
            msg=f"the {WORDS.get(name, name)} {text!r} is not one; allowed are {low} to {high}"
            + (" and names such as " + names[1] if names else ""),
        )
    return value


def _spelled(name: str, values: range) -> str:
    if name == "day_of_week":
        return ",".join(DAYS[value % 7] for value in values)
    return ",".join(map(str, values))


def _either_day(fields: dict[str, str]) -> list[dict[str, str]]:
    """Cron's old rule: where day and weekday are both given, either will do."""
    if fields["day"] == "*" or fields["day_of_week"] == "*":
        return [fields]
    return [{**fields, "day": "*"}, {**fields, "day_of_week": "*"}]


def _trigger(fields: dict[str, str]) -> Any:
    """Makes APScheduler's trigger on a clock without changes, for years up to a last one."""
    made: dict[int, CronTrigger] = {}

    def up_to(year: int) -> CronTrigger:
        if year not in made:
            made[year] = CronTrigger(**fields, second="0", year=f"1970-{year}", timezone=timezone.utc)
        return made[year]

    return up_to
