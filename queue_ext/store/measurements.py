"""What jobs took, by machine, and what those that wait are expected to take."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from ..models import State
from .base import StoreBase, transactional
from .change import Change, Row

KEPT = 200  # newest measurements of a machine that are looked at
PAGE = 200  # waiting jobs read at once


class Measurements(StoreBase):
    """Reading what was measured, and writing what follows for waiting jobs."""

    def newest_measurement(self) -> int:
        """The number of the newest measurement; 0 if there is none."""
        with self.db.read() as conn:
            return self.db.hot(conn, "newest measurement", self._newest_number, {}).scalar() or 0

    def _newest_number(self) -> Any:
        return select(func.max(self.tables.measurement.c.id))

    def measurements(self) -> dict[str, Sequence[Row]]:
        """The newest of each machine that runs jobs now, or of the one that ran the last; oldest first."""
        table, worker = self.tables.measurement, self.tables.worker
        with self.db.read() as conn:
            last = select(table.c.machine).order_by(table.c.id.desc()).limit(1)
            signed_on = {
                machine(row.host, row.pipeline) for row in conn.execute(select(worker.c.host, worker.c.pipeline))
            }
            found = {name: self._newest(conn, name) for name in sorted(signed_on)}
            if not any(found.values()):
                found = {name: self._newest(conn, name) for name in conn.execute(last).scalars().all()}
        return {name: rows for name, rows in found.items() if rows}

    def _newest(self, conn: Any, name: str) -> Sequence[Row]:
        table = self.tables.measurement
        newest = select(table).where(table.c.machine == name).order_by(table.c.id.desc()).limit(KEPT)
        return [dict(row) for row in conn.execute(newest).mappings()][::-1]

    def forget_measurements(self) -> None:
        """Drop those too old to be looked at."""
        table = self.tables.measurement
        with self.writing() as conn:
            for name in conn.execute(select(table.c.machine).distinct()).scalars().all():
                which = select(table.c.id).where(table.c.machine == name).order_by(table.c.id.desc())
                oldest = conn.execute(which.offset(KEPT).limit(1)).scalar()
                if oldest is not None:
                    conn.execute(delete(table).where(table.c.machine == name, table.c.id <= oldest))

    def efforts(self, queue: str, after: str = "") -> list[Any]:
        """(id, effort, work, order_key) of jobs of a lane in the order they will run: PAGE of them, behind a key."""
        with self.db.read() as conn:
            return list(self.db.hot(conn, "efforts", self._efforts, {"queue": queue, "low": after}))

    def _efforts(self) -> Any:
        job = self.tables.job
        line = (
            job.c.queue == bindparam("queue"),
            job.c.state == State.ENQUEUED.value,
            job.c.order_key > bindparam("low"),
        )
        page = select(job.c.id, job.c.effort, job.c.work, job.c.order_key).where(*line)
        return page.order_by(job.c.order_key).limit(PAGE)

    @transactional
    def set_work(self, change: Change, expected: Sequence[tuple[str, float]]) -> None:
        """What waiting jobs (id, seconds) are expected to take. Nobody is told: the places they have stay the same."""
        job = self.tables.job
        statement = update(job).where(job.c.id == bindparam("b_id"), job.c.state == State.ENQUEUED.value)
        rows = [{"b_id": job_id, "b_work": seconds} for job_id, seconds in sorted(expected)]
        change.run("set work", lambda: statement.values(work=bindparam("b_work")), rows)


def machine(host: str, pipeline: str) -> str:
    """What a measurement is good for: the same pipeline on the same host."""
    return f"{host} {pipeline}"[:200]
