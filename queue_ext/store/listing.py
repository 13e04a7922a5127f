"""Looking at jobs: one, a page of them, their place in line, the log."""

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, false, func, or_, select
from sqlalchemy.engine import Connection

from .. import order
from ..errors import JobNotFound
from ..ids import first_id
from ..models import UNFINISHED, State, is_name, is_text
from .base import StoreBase
from .change import SEQ, Row

SLACK = 3600.0  # seconds an id may be older than its row
END = "~"  # sorts behind every key and id


@dataclass(frozen=True)
class Filter:
    """What a list is narrowed down to; None leaves it open. ``viewer`` is the owner whose jobs alone may be seen."""

    states: tuple[State, ...] = ()
    queue: str | None = None
    task: str | None = None
    owner: str | None = None
    viewer: str | None = None
    label: str | None = None
    q: str | None = None
    bookmarked: bool | None = None
    schedule_id: str | None = None
    checkpoint: str | None = None
    since: float | None = None  # made then or later, seconds since the epoch

    def possible(self) -> bool:
        """Whether any database could hold what is looked for."""
        texts = (self.task, self.owner, self.viewer, self.label, self.q, self.checkpoint)
        return (
            is_name(self.queue or "")
            and is_name(self.schedule_id or "")
            and all(is_text(text) for text in texts if text)
        )


@dataclass(frozen=True)
class Surroundings:
    """Jobs by (queue, state), whether each queue is paused, all workers, and the jobs that run."""

    counts: dict[tuple[str, str], int]
    paused: dict[str, bool]
    workers: list[Row]
    running: list[Row]


class Listing(StoreBase):
    """Reads; none of them changes anything."""

    def job(self, job_id: str) -> Row:
        """The row of a job. Raises JobNotFound."""
        found = self.jobs([job_id])
        if not found:
            raise JobNotFound(job_id=job_id)
        return found[0]

    def jobs(self, ids: Sequence[str]) -> list[Row]:
        """The rows of those that exist, in the order asked for."""
        ids = [job_id for job_id in ids if is_name(job_id)]
        if not ids:
            return []
        job = self.tables.job
        with self.db.read() as conn:
            if len(ids) == 1:
                found = self.db.hot(conn, "job", self._one, {"job": ids[0]}).mappings().all()
            else:
                found = conn.execute(select(job).where(job.c.id.in_(list(ids)))).mappings().all()
        rows = {row["id"]: dict(row) for row in found}
        return [rows[job_id] for job_id in ids if job_id in rows]

    def _one(self) -> Any:
        return select(self.tables.job).where(self.tables.job.c.id == bindparam("job"))

    def body(self, job_id: str) -> Row:
        """Payload and result of a job, JSON as text. Raises JobNotFound."""
        if not is_name(job_id):
            raise JobNotFound(job_id=job_id)
        with self.db.read() as conn:
            found = (
                conn.execute(select(self.tables.job_body).where(self.tables.job_body.c.job_id == job_id))
                .mappings()
                .first()
            )
        if found is None:
            raise JobNotFound(job_id=job_id)
        return dict(found)

    def history(self, job_id: str) -> list[Row]:
        """The states a job was in, oldest first."""
        if not is_name(job_id):
            return []
        table = self.tables.job_history
        with self.db.read() as conn:
            return [
                dict(row)
                for row in conn.execute(select(table).where(table.c.job_id == job_id).order_by(table.c.id)).mappings()
            ]

    def files(self, ids: Sequence[str], role: str = "picture") -> dict[str, list[Row]]:
        """The files of jobs, by job, in order."""
        ids = [job_id for job_id in ids if is_name(job_id)]
        if not ids:
            return {}
        table = self.tables.job_file
        with self.db.read() as conn:
            found = conn.execute(
                select(table)
                .where(table.c.job_id.in_(list(ids)), table.c.role == role)
                .order_by(table.c.job_id, table.c.number)
            ).mappings()
            files: dict[str, list[Row]] = {}
            for row in found:
                files.setdefault(row["job_id"], []).append(dict(row))
        return files

    def page(self, which: Filter, newest: bool, after: str | None, limit: int) -> list[Row]:
        """Up to ``limit`` rows by time of arrival, behind the id ``after``. Every state is read by its own index and
        they are merged, so that nothing is sorted but what is returned."""
        with self.db.read() as conn:
            parts = [
                conn.execute(self._page(which, state, newest, after, limit)).mappings().all()
                for state in which.states or (None,)
            ]
        merged = heapq.merge(*parts, key=lambda row: row["id"], reverse=newest)
        return [dict(row) for _, row in zip(range(limit), merged, strict=False)]

    def _page(self, which: Filter, state: State | None, newest: bool, after: str | None, limit: int) -> Select[Any]:
        job = self.tables.job
        statement = self._narrow(select(job), which)
        if state is not None:
            statement = statement.where(job.c.state == state.value)
        if state is not None and (which.owner is not None or which.viewer is not None):
            # MariaDB would rather intersect two indexes and sort what comes out.
            statement = statement.with_hint(job, f"FORCE INDEX ({self.tables.prefix}job_owner)", "mysql")
        if after:
            statement = statement.where(job.c.id < after if newest else job.c.id > after)
        return statement.order_by(job.c.id.desc() if newest else job.c.id).limit(limit)

    def line_page(self, which: Filter, after: tuple[str, str] | None, limit: int) -> list[Row]:
        """Up to ``limit`` enqueued rows in the order they will run: lane by lane, behind (queue, order_key)."""
        job = self.tables.job
        lanes = [which.queue] if which.queue else order.lanes_of((), self.queue_names())
        if after:
            lanes = lanes[lanes.index(after[0]) :] if after[0] in lanes else []
        rows: list[Row] = []
        with self.db.read() as conn:
            for lane in lanes:
                statement = self._narrow(select(job), which).where(
                    job.c.queue == lane, job.c.state == State.ENQUEUED.value
                )
                if after and lane == after[0]:
                    statement = statement.where(job.c.order_key > after[1])
                rows += [
                    dict(row)
                    for row in conn.execute(statement.order_by(job.c.order_key).limit(limit - len(rows))).mappings()
                ]
                if len(rows) >= limit:
                    break
        return rows

    def total(self, which: Filter) -> int:
        """How many rows a filter lets through. By state and queue alone the counters know it."""
        if which == Filter(states=which.states, queue=which.queue):
            return self._counted(which)
        job = self.tables.job
        statement = self._narrow(select(func.count()).select_from(job), which)
        if which.states:
            statement = statement.where(job.c.state.in_([state.value for state in which.states]))
        with self.db.read() as conn:
            return conn.execute(statement).scalar_one()

    def _counted(self, which: Filter) -> int:
        return sum(
            count
            for (queue, state), count in self.counts().items()
            if (not which.states or State(state) in which.states) and which.queue in (None, queue)
        )

    def _narrow(self, statement: Select[Any], which: Filter) -> Select[Any]:
        job, label = self.tables.job, self.tables.job_label
        if not which.possible():
            return statement.where(false())
        if which.viewer is not None:
            statement = statement.where(job.c.owner == which.viewer)
        for column, value in (
            (job.c.queue, which.queue),
            (job.c.task, which.task),
            (job.c.owner, which.owner),
            (job.c.bookmarked, which.bookmarked),
            (job.c.schedule_id, which.schedule_id),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if which.since is not None:
            # The id, by which lists are read, is made a moment before the row.
            statement = statement.where(job.c.id >= first_id(which.since - SLACK), job.c.created_at >= which.since)
        if which.checkpoint is not None:
            named = _escaped(f'"checkpoint": {json.dumps(which.checkpoint)}')
            statement = statement.where(job.c.summary.like(f"%{named}%", escape="\\"))
        if which.label is not None:
            statement = statement.where(job.c.id.in_(select(label.c.job_id).where(label.c.label == which.label)))
        if which.q:
            like = f"%{_escaped(which.q.lower())}%"
            statement = statement.where(
                or_(func.lower(job.c.prompt).like(like, escape="\\"), func.lower(job.c.name).like(like, escape="\\"))
            )
        return statement

    def ids(self, which: Filter, limit: int = 100_000) -> list[str]:
        """The ids a filter lets through, oldest first."""
        job = self.tables.job
        statement = self._narrow(select(job.c.id), which)
        if which.states:
            statement = statement.where(job.c.state.in_([state.value for state in which.states]))
        with self.db.read() as conn:
            return list(conn.execute(statement.order_by(job.c.id).limit(limit)).scalars())

    def ranks(self, rows: Sequence[Row]) -> dict[str, tuple[int, float]]:
        """For enqueued rows (id, queue, order_key): how many jobs and how much work of their queue come before them."""
        lanes: dict[str, list[Row]] = {}
        for row in rows:
            lanes.setdefault(row["queue"], []).append(row)
        found: dict[str, tuple[int, float]] = {}
        with self.db.read() as conn:
            for queue, members in lanes.items():
                members.sort(key=lambda row: row["order_key"])
                self._rank(conn, queue, members, found)
        return found

    def _rank(self, conn: Connection, queue: str, members: Sequence[Row], found: dict[str, tuple[int, float]]) -> None:
        """Count up to the first of them, then walk the line from there to the last one."""
        first, last = members[0]["order_key"], members[-1]["order_key"]
        count, work = self.db.hot(conn, "rank", lambda: self.statements.rank, {"queue": queue, "high": first}).one()
        line: list[Any] = []
        if len(members) > 1:
            line = list(
                self.db.hot(
                    conn, "stretch", lambda: self.statements.stretch, {"queue": queue, "low": first, "high": last}
                )
            )
        place = 0
        for row in members:
            while place < len(line) and line[place][0] < row["order_key"]:
                count, work, place = count + 1, work + line[place][1], place + 1
            found[row["id"]] = (count, work)

    def waiting_work(self, queue: str) -> tuple[int, float]:
        """How many jobs wait in a lane, and their work."""
        with self.db.read() as conn:
            found = self.db.hot(conn, "rank", lambda: self.statements.rank, {"queue": queue, "high": END}).one()
        return found[0], found[1]

    def line(self, queue: str) -> list[Any]:
        """The whole line of a queue: (id, owner, order_key, work) in the order they will run."""
        with self.db.read() as conn:
            return list(conn.execute(self.statements.line, {"queue": queue}).all())

    def unfinished(self, owner: str | None, limit: int) -> list[Row]:
        """An owner's unfinished jobs (None: everybody's), oldest first."""
        return self.page(Filter(states=UNFINISHED, viewer=owner), newest=False, after=None, limit=limit)

    def last_seq(self) -> int:
        """The number of the newest event."""
        counter = self.tables.counter
        with self.db.read() as conn:
            return (
                conn.execute(
                    select(counter.c.value).where(counter.c.kind == SEQ, counter.c.queue == "", counter.c.bucket == 0)
                ).scalar()
                or 0
            )

    def first_seq(self) -> int:
        """The number of the oldest event the log still holds; one more than the newest if it holds none."""
        with self.db.read() as conn:
            found = conn.execute(select(func.min(self.tables.event.c.seq))).scalar()
        return self.last_seq() + 1 if found is None else found

    def events_after(self, seq: int, limit: int, owner: str | None = None) -> list[Row]:
        """Events behind ``seq`` in order; with ``owner`` that owner's and those that concern everybody."""

        def build() -> Any:
            event = self.tables.event
            newer = select(event).where(event.c.seq > bindparam("low")).order_by(event.c.seq).limit(bindparam("most"))
            if owner is not None:
                newer = newer.where(or_(event.c.owner == bindparam("own"), event.c.owner == ""))
            return newer

        values = {"low": seq, "most": limit, "own": owner}
        with self.db.read() as conn:
            found = self.db.hot(conn, ("events", owner is None), build, values)
            return [dict(row) for row in found.mappings()]

    def counts(self) -> dict[tuple[str, str], int]:
        """Jobs by (queue, state)."""
        with self.db.read() as conn:
            return self._counts(conn)

    def _counts(self, conn: Connection) -> dict[tuple[str, str], int]:
        def build() -> Any:
            counter = self.tables.counter
            return select(counter.c.queue, counter.c.kind, counter.c.value).where(
                counter.c.bucket == 0, counter.c.kind != SEQ
            )

        return {(queue, state): value for queue, state, value in self.db.hot(conn, "counts", build, {})}

    def surroundings(self) -> Surroundings:
        """What decides about everybody's place, at one look."""
        lane, job, worker, hot = self.tables.queue, self.tables.job, self.tables.worker, self.db.hot
        with self.db.read() as conn:
            paused = hot(conn, "paused", lambda: select(lane.c.name, lane.c.paused), {})
            running = hot(conn, "running", lambda: select(job).where(job.c.state == State.PROCESSING.value), {})
            return Surroundings(
                counts=self._counts(conn),
                paused={name: bool(value) for name, value in paused},
                workers=[dict(row) for row in hot(conn, "workers", lambda: select(worker), {}).mappings()],
                running=[dict(row) for row in running.mappings()],
            )

    def endings(self, unit: str, since: int) -> list[Row]:
        """Jobs that ended, by kind ``<unit>_<state>``, queue and bucket (start of the hour or day, epoch seconds)."""
        counter = self.tables.counter
        with self.db.read() as conn:
            found = conn.execute(
                select(counter).where(counter.c.kind.like(f"{unit}\\_%", escape="\\"), counter.c.bucket >= since)
            ).mappings()
            return [dict(row) for row in found]

    def failures(self, viewer: str | None = None, limit: int = 1000) -> list[Row]:
        """The newest failed jobs, all or those of one owner: id, error, finished_at."""
        job = self.tables.job
        which = [job.c.state == State.FAILED.value] + ([] if viewer is None else [job.c.owner == viewer])
        newest = select(job.c.id, job.c.error, job.c.finished_at).where(*which).order_by(job.c.id.desc()).limit(limit)
        with self.db.read() as conn:
            return [dict(row) for row in conn.execute(newest).mappings()]

    def recent_times(self, limit: int = 1000) -> list[Mapping[str, Any]]:
        """created_at, started_at, finished_at and summary (JSON) of the jobs that succeeded last."""
        job = self.tables.job
        statement = (
            select(job.c.created_at, job.c.started_at, job.c.finished_at, job.c.summary)
            .where(and_(job.c.state == State.SUCCEEDED.value))
            .order_by(job.c.id.desc())
            .limit(limit)
        )
        with self.db.read() as conn:
            return [dict(row) for row in conn.execute(statement).mappings()]

    def queue_names(self) -> list[str]:
        with self.db.read() as conn:
            return list(conn.execute(select(self.tables.queue.c.name)).scalars())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
