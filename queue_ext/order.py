"""The order of a line: priority, fair turn, arrival, as one key that sorts as plain text. Pure functions.

A key is 4 digits of priority (higher first), 10 digits of turn and the arrival, a fraction in base 36 that begins as
the job's id. Between two keys there is always room for another one: that is how a job is moved.

Turns are start tags of start-time fair queueing (Goyal, Vin and Cheng, 1996) with every job counting as one.
"""

from collections.abc import Sequence

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PRIORITY_LIMIT = 4999
PREFIX = 14  # characters before the arrival
KEY_LIMIT = 200  # characters of the stored column
SPREAD = 10  # digits of arrivals that are spread anew


def key(priority: int, turn: int, arrival: str) -> str:
    """The place of a job that arrives. ``priority`` is within ±PRIORITY_LIMIT, ``arrival`` its id."""
    return f"{PRIORITY_LIMIT + 1 - priority:04d}{turn:010d}{arrival}"


def turn_of(order_key: str) -> int:
    return int(order_key[4:PREFIX])


def priority_of(order_key: str) -> int:
    return PRIORITY_LIMIT + 1 - int(order_key[:4])


def priority_range(priority: int) -> tuple[str, str]:
    """First and last text a key of this priority can begin with, to look between."""
    digits = f"{PRIORITY_LIMIT + 1 - priority:04d}"
    return digits, digits + "~"


def next_turn(started: int, own: Sequence[int]) -> int:
    """The turn of a new job: that of the job that started last, or behind the owner's own ones if that is later."""
    return max([started, *(turn + 1 for turn in own)])


def before(neighbour: str, previous: str | None) -> str:
    """A key right before ``neighbour``, behind ``previous``, the key that stands there now (None: nothing does)."""
    prefix, high = neighbour[:PREFIX], neighbour[PREFIX:]
    low = previous[PREFIX:] if previous and previous[:PREFIX] == prefix else ""
    return prefix + between(low, high)


def after(neighbour: str, following: str | None, arrival: str) -> str:
    """A key right behind ``neighbour``, before ``following`` (None: nothing does) and before what arrives later than
    ``arrival``, an id made now."""
    prefix, low = neighbour[:PREFIX], neighbour[PREFIX:]
    if following and following[:PREFIX] == prefix:
        return prefix + between(low, following[PREFIX:])
    return prefix + (arrival if low < arrival else between(low, None))


def between(low: str, high: str | None) -> str:
    """A base-36 fraction strictly between two others; "" is zero, None is one. It never ends in 0."""
    digits: list[str] = []
    place = 0
    while True:
        floor = DIGITS.index(low[place]) if place < len(low) else 0
        ceiling = DIGITS.index(high[place]) if high is not None and place < len(high) else 36
        if high is not None and place >= len(high):
            ceiling = 0
        if ceiling - floor > 1:
            return "".join(digits) + DIGITS[(floor + ceiling) // 2]
        digits.append(DIGITS[floor])
        if ceiling != floor:
            high = None  # from here on everything above low fits
        place += 1


def spread(count: int, arrival: str) -> list[str]:
    """``count`` arrivals with even room around each, for when moving has made keys too long; all of them before
    ``arrival``, an id made now, so that nobody who comes later is before them."""
    step = int(arrival[:SPREAD], 36) // (count + 1)
    return [_base36((index + 1) * step, SPREAD) + "i" for index in range(count)]


def _base36(value: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        value, rest = divmod(value, 36)
        digits = DIGITS[rest] + digits
    return digits


def lanes_of(served: Sequence[str], existing: Sequence[str]) -> list[str]:
    """The queues a worker serves, in its order: the configured ones, or all with ``default`` first."""
    if served:
        return [name for name in served if name in existing]
    return sorted(existing, key=lambda name: (name != "default", name))
