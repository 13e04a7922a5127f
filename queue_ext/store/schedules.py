"""Schedules as rows: who fires one moves its next run from the old value to the new, so that a slot fires once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, true, update

from ..errors import ScheduleNotFound
from ..ids import new_id
from ..models import UNFINISHED
from .base import transactional
from .change import Change, Row
from .jobs import JobVerbs, Limits, NewJob


@dataclass(frozen=True)
class Firing:
    """A schedule that is due: its row, what is to stand in it then, and the jobs of its slots; ``without``: what is to
    stand in it where these may not be made."""

    row: Row
    values: Mapping[str, Any]
    jobs: Sequence[NewJob] = ()
    without: Mapping[str, Any] | None = None


class ScheduleVerbs(JobVerbs):
    """Keeping and firing schedules."""

    def schedules(self, owner: str | None = None) -> list[Row]:
        """All, or those of one owner, by name."""
        table = self.tables.schedule
        statement = select(table).order_by(table.c.name, table.c.id)
        if owner is not None:
            statement = statement.where(table.c.owner == owner)
        with self.db.read() as conn:
            return [dict(row) for row in conn.execute(statement).mappings()]

    def schedule(self, schedule_id: str) -> Row:
        """Raises ScheduleNotFound."""
        table = self.tables.schedule
        with self.db.read() as conn:
            found = conn.execute(select(table).where(table.c.id == schedule_id)).mappings().first()
        if found is None:
            raise ScheduleNotFound(schedule_id=schedule_id)
        return dict(found)

    @transactional
    def put_schedule(
        self, change: Change, owner: str, values: Mapping[str, Any], schedule_id: str | None = None
    ) -> tuple[str, bool]:
        """Make a schedule, or replace the owner's of the same name (or ``schedule_id``); its id, and whether it is new.

        One whose expression and zone stay the same keeps its next run.
        """
        table = self.tables.schedule
        which = (
            table.c.id == schedule_id if schedule_id else (table.c.owner == owner) & (table.c.name == values["name"])
        )
        found = change.conn.execute(select(table).where(which).with_for_update()).mappings().first()
        if found is None:
            row = {
                "id": new_id(),
                "owner": owner,
                "runs": 0,
                "created_at": change.now,
                "updated_at": change.now,
                **values,
            }
            change.conn.execute(table.insert().values(**row))
            self._tell(change, owner, row["id"], "made")
            return row["id"], True
        kept = dict(values)
        if (found["cron"], found["timezone"], bool(found["enabled"])) == (
            values["cron"],
            values["timezone"],
            values["enabled"],
        ):
            kept.pop("next_run_at")
        change.conn.execute(update(table).where(table.c.id == found["id"]).values(**kept, updated_at=change.now))
        self._tell(change, found["owner"], found["id"], "changed")
        return found["id"], False

    @transactional
    def change_schedule(self, change: Change, schedule_id: str, values: Mapping[str, Any]) -> None:
        """Raises ScheduleNotFound."""
        row = self._locked_schedule(change, schedule_id)
        table = self.tables.schedule
        change.conn.execute(update(table).where(table.c.id == schedule_id).values(**values, updated_at=change.now))
        self._tell(change, row["owner"], schedule_id, "changed")

    @transactional
    def delete_schedule(self, change: Change, schedule_id: str) -> None:
        """Forget a schedule; jobs it made stay. Raises ScheduleNotFound."""
        row = self._locked_schedule(change, schedule_id)
        change.conn.execute(delete(self.tables.schedule).where(self.tables.schedule.c.id == schedule_id))
        self._tell(change, row["owner"], schedule_id, "deleted")

    def _locked_schedule(self, change: Change, schedule_id: str) -> Row:
        table = self.tables.schedule
        found = change.conn.execute(select(table).where(table.c.id == schedule_id).with_for_update()).mappings().first()
        if found is None:
            raise ScheduleNotFound(schedule_id=schedule_id)
        return dict(found)

    def due_schedules(self, now: float, limit: int) -> list[Row]:
        """Schedules whose time has come, the longest overdue first."""

        def build() -> Any:
            table = self.tables.schedule
            due = select(table).where(table.c.enabled == true(), table.c.next_run_at <= bindparam("now"))
            return due.order_by(table.c.next_run_at).limit(bindparam("most"))

        with self.db.read() as conn:
            found = self.db.hot(conn, "due schedules", build, {"now": now, "most": limit})
            return [dict(row) for row in found.mappings()]

    def next_schedule_at(self) -> float | None:
        """When the next schedule is due, seconds since the epoch."""
        table = self.tables.schedule
        with self.db.read() as conn:
            return conn.execute(select(func.min(table.c.next_run_at)).where(table.c.enabled.is_(True))).scalar()

    def still_runs(self, schedule_id: str) -> bool:
        """Whether a job of this schedule has not ended."""
        job = self.tables.job
        which = select(job.c.id).where(
            job.c.schedule_id == schedule_id, job.c.state.in_([state.value for state in UNFINISHED])
        )
        with self.db.read() as conn:
            return conn.execute(which.limit(1)).first() is not None

    def last_job_of(self, schedule_id: str) -> str | None:
        job = self.tables.job
        with self.db.read() as conn:
            return conn.execute(select(func.max(job.c.id)).where(job.c.schedule_id == schedule_id)).scalar()

    @transactional
    def fire(self, change: Change, firings: Sequence[Firing], limits: Limits, fair: bool) -> None:
        """Move schedules on and add the jobs of their slots, in one transaction, but for those that another process has
        moved on. Raises LimitReached, and then nothing has changed.
        """
        jobs: dict[str, list[NewJob]] = {}
        # In one order, lest two processes wait for each other.
        for firing in sorted(firings, key=lambda firing: firing.row["id"]):
            if self._move_on(change, firing):
                self._tell(change, firing.row["owner"], firing.row["id"], "fired")
                jobs.setdefault(firing.row["owner"], []).extend(firing.jobs)
        for of_one in jobs.values():  # limits are an owner's
            if of_one:
                self._add(change, of_one, limits, fair)

    def _move_on(self, change: Change, firing: Firing) -> bool:
        """Whether this process is the one to fire it."""
        table = self.tables.schedule
        row, names = firing.row, sorted(firing.values)

        def build() -> Any:
            due = (
                table.c.id == bindparam("s_id"),
                table.c.next_run_at == bindparam("s_due"),
                table.c.enabled == true(),
            )
            values: dict[Any, Any] = {name: bindparam(name) for name in names}
            return update(table).where(*due).values(**values, runs=table.c.runs + bindparam("s_jobs"))

        fence = {"s_id": row["id"], "s_due": row["next_run_at"], "s_jobs": len(firing.jobs)}
        return change.run(("fire", *names), build, {**firing.values, **fence}).rowcount == 1

    @transactional
    def trigger(self, change: Change, row: Row, job: NewJob, limits: Limits, fair: bool) -> str:
        """Add a job of a schedule out of turn; its next run stays. Raises LimitReached."""
        table = self.tables.schedule
        change.conn.execute(
            update(table).where(table.c.id == row["id"]).values(runs=table.c.runs + 1, last_run_at=change.now)
        )
        self._tell(change, row["owner"], row["id"], "fired")
        return self._add(change, [job], limits, fair)[0]

    @staticmethod
    def _tell(change: Change, owner: str, schedule_id: str, what: str) -> None:
        change.event("schedule", owner, None, None, schedule_id=schedule_id, what=what)
