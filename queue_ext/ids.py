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
    digits = _digits(moment)
    # The last digit is never 0, so that as a fraction (order.between) it differs from every shorter one.
    return digits + "".join(secrets.choice(DIGITS) for _ in range(RANDOM_DIGITS - 1)) + secrets.choice(DIGITS[1:])


def first_id(seconds: float) -> str:
    """Less than every id made at that time (seconds since the epoch) or later, greater than those made before."""
    return _digits(max(0, int(seconds * 1_000_000)))


def _digits(moment: int) -> str:
    digits = ""
    for _ in range(TIME_DIGITS):
        moment, rest = divmod(moment, 36)
        digits = DIGITS[rest] + digits
    return digits
