"""Whether the queue has run empty, and that it is said once, however many processes see it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from ..filters import Application, hookimpl
from ..models import FINISHED, State
from .base import StoreBase, transactional
from .change import Change
from .deliveries import to_deliver

LEFT, TOLD = "line_left", "line_told"  # counters: jobs that left the line for good, and how many had when it was said
APART = 1  # their bucket: 0 counts jobs by state
IN_LINE = (State.ENQUEUED, State.PROCESSING)


class Departures:
    """A filter: counts the jobs that leave the line for good."""

    @hookimpl
    def state_applied(self, application: Application) -> None:
        if application.previous in IN_LINE and application.state in FINISHED:
            application.change.count("", LEFT, +1, APART)


class Emptiness(StoreBase):
    """Looking for the moment when nothing is left to do."""

    def watch_line(self) -> None:
        """Count from now on; what was emptied before is nobody's business any more."""
        self.filters.add(Departures(), order=960)
        self._begin_empty()

    @transactional
    def _begin_empty(self, change: Change) -> None:
        table = self.tables.counter
        for kind in (LEFT, TOLD):
            change.insert_new(table, {"kind": kind, "queue": "", "bucket": APART, "value": 0})
        if self._counted_jobs(change, IN_LINE) == 0:
            self._settle_empty(change, self._counter(change, LEFT), self._counter(change, TOLD))

    @transactional
    def run_empty(self, change: Change, webhook: Mapping[str, str] | None) -> bool:
        """Whether the queue is empty and nobody has said so; then it is said, here and now, to ``webhook`` too.

        Empty means that no job is in line, runs, or is to be tried again. Delayed jobs and those that wait for others
        do not count.
        """
        left, told = self._counter(change, LEFT), self._counter(change, TOLD)
        if (
            left == told
            or self._counted_jobs(change, IN_LINE)
            or self._retry_waits(change)
            or not self._settle_empty(change, left, told)
        ):
            return False
        change.event("empty", "", None, None)
        if webhook is not None:
            change.insert(self.tables.delivery, [to_deliver("queue.empty", webhook, change.now)])
        return True

    def _settle_empty(self, change: Change, left: int, told: int) -> bool:
        table = self.tables.counter
        mine = (table.c.kind == TOLD) & (table.c.queue == "") & (table.c.bucket == APART) & (table.c.value == told)
        return change.conn.execute(update(table).where(mine).values(value=left)).rowcount == 1

    def _counter(self, change: Change, kind: str) -> int:
        table = self.tables.counter
        one = select(table.c.value).where(table.c.kind == kind, table.c.queue == "", table.c.bucket == APART)
        return change.conn.execute(one).scalar() or 0

    def _retry_waits(self, change: Change) -> Any:
        job = self.tables.job
        return change.conn.execute(
            select(job.c.id).where(job.c.state == State.SCHEDULED.value, job.c.attempt > 0).limit(1)
        ).first()
