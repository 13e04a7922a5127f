"""Names for jobs and workers: they sort by the time they were made, and cannot be guessed."""

import secrets
import threading
import time

from .order import DIGITS

TIME_DIGITS = 11  # microseconds since the epoch in base 36, enough beyond the year 6000
RANDOM_DIGITS = 15  # 77 bits
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """26 characters 0-9 a-z, greater than every id this process has made before, whatever the clock does."""
    global _last
    with _lock:
        _last = moment = max(_last + 1, time.time_ns() // 1000)
    chance, last = divmod(secrets.randbelow(36 ** (RANDOM_DIGITS - 1) * 35), 35)
    # The last digit is never 0, so that as a fraction (order.between) it differs from every shorter one.
    return _digits(moment, TIME_DIGITS) + _digits(chance, RANDOM_DIGITS - 1) + DIGITS[1 + last]


def first_id(seconds: float) -> str:
    """Less than every id made at that time (seconds since the epoch) or later, greater than those made before."""
    return _digits(max(0, int(seconds * 1_000_000)), TIME_DIGITS)


def _digits(number: int, count: int) -> str:
    digits = ""
    for _ in range(count):
        number, rest = divmod(number, 36)
        digits = DIGITS[rest] + digits
    return digits
