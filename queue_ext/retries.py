"""How often and when a failed job is tried again: a filter that elects ``scheduled`` where a job was to fail."""

import random
import time
from collections.abc import Callable
from typing import Any

from .filters import Election, Row, hookimpl
from .models import State
from .settings import Settings


class Retries:
    """Per job, per queue, else by the settings; ``lane`` gives the row of a job's queue."""

    def __init__(self, settings: Settings, lane: Callable[[Row], Row]) -> None:
        self._settings = settings
        self._lane = lane

    @hookimpl
    def state_electing(self, election: Election) -> None:
        job = election.job
        if election.candidate != State.FAILED or election.previous != State.PROCESSING or election.final:
            return
        allowed = self.max_attempts(job)
        if job["attempt"] >= allowed:
            return
        why, delay = f"attempt {job['attempt']} of {allowed} failed: {election.reason}", self.delay(job)
        if delay:
            election.replace(State.SCHEDULED, why, run_at=time.time() + delay)
        else:
            election.replace(State.ENQUEUED, why)

    def max_attempts(self, job: Row) -> int:
        """How many attempts a job gets, the first one included."""
        lane = self._lane(job)
        return 1 + int(first_given(job["retry_attempts"], lane.get("retry_attempts"), self._settings.retry_attempts))

    def delay(self, job: Row) -> float:
        """Seconds before the next attempt: doubling, up to a limit, a tenth more or less lest all come at once."""
        lane = self._lane(job)
        first = first_given(job["retry_delay_s"], lane.get("retry_delay_s"), self._settings.retry_delay_s)
        most = first_given(lane.get("retry_delay_max_s"), self._settings.retry_delay_max_s)
        return min(first * 2 ** (job["attempt"] - 1), max(most, first)) * random.uniform(0.9, 1.1)


def first_given(*values: Any) -> Any:
    """The first that is not None; None if there is no other."""
    return next((value for value in values if value is not None), None)
