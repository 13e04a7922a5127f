"""One transaction that changes the queue: state, history, counters and events leave it together or not at all."""

import json
import time
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Table, bindparam, insert, null, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection

from ..errors import UnexpectedState
from ..filters import Application, Election, Filters
from ..models import EXPIRING, FINISHED, TRANSITIONS, State
from .database import Database

DAY = 86400  # seconds
SEQ = "event_seq"  # the counter that numbers the log
UPSERTS = {"sqlite": sqlite_insert, "postgresql": postgres_insert, "mysql": mysql_insert, "mariadb": mysql_insert}

Row = Mapping[str, Any]


class Change:
    """Collects what belongs to the change and writes the shared rows last, in one order, so that two never deadlock."""

    def __init__(self, conn: Connection, db: Database, retention: float, filters: Filters) -> None:
        self.conn = conn
        self.filters = filters
        self.tables = db.tables
        self.dialect = db.dialect
        self._hot = db.hot
        self.retention = retention  # seconds a finished job is kept
        self.now = time.time()
        self.events: list[dict[str, Any]] = []  # rows of the log; ``flush`` gives them their numbers
        self.lanes: set[str] = set()  # that are there for certain once this is committed
        self.ended: list[str] = []  # jobs whose children may now go on
        self._history: list[dict[str, Any]] = []
        self._tally: Tally[tuple[str, str, int]] = Tally()
        self._occupied: dict[str, str | None] = {}  # workers, and the job each has from here on

    def look_again(self) -> None:
        """What this transaction has just read may have been committed after it began; what it does now comes later."""
        self.now = max(self.now, time.time())

    def transition(
        self,
        jobs: Sequence[Row],
        expected: State,
        to: State,
        reason: str | None = None,
        data: Mapping[str, Any] | None = None,
        each: Sequence[Mapping[str, Any]] | None = None,
        final: bool = False,
        **columns: Any,
    ) -> list[Election]:
        """Bring ``jobs`` (their rows) from state ``expected`` to ``to``, or where filters want them; what was elected.

        ``columns`` are set on all, ``each`` (as long as ``jobs``) on one each; ``final`` says that trying again is
        pointless. The rows are fenced by state and lease: if one of them is no longer as it was read, nothing at all
        is changed. Raises UnexpectedState, FilterFailed.
        """
        if not jobs:
            return []
        if to not in TRANSITIONS[expected]:
            raise UnexpectedState(job_id=jobs[0]["id"], state=expected, expected=_sources(to))
        elections = [
            self.elect(job, expected, to, reason, data or {}, {**columns, **more}, final)
            for job, more in zip(jobs, each or [{}] * len(jobs), strict=True)
        ]
        self._update(elections, expected)
        for election in elections:
            self.applied(election)
        return elections

    def elect(
        self,
        job: Row,
        previous: State | None,
        to: State,
        reason: str | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> Election:
        """The state a job is to enter once every filter had its say. Raises FilterFailed."""
        election = Election(job, previous, to, reason, data or {}, columns or {}, final)
        self.filters.elect(election)
        return election

    def applied(self, election: Election) -> None:
        """History and event of a job that has just entered its state, and what filters do about it."""
        job, to = election.job, election.candidate
        for state, reason, data in election.replaced:
            self.note(job, state, reason, data)
        self.note(job, to, election.reason, election.data)
        parameters = self.filters.apply(Application(election, self))
        if parameters is not None:
            election.columns["parameters"] = parameters
            self._keep_parameters(job["id"], parameters)
        self.event(
            "job", job["owner"], job["id"], job["queue"], state=to.value, reason=election.reason, **election.data
        )

    def _keep_parameters(self, job_id: str, parameters: str) -> None:
        job = self.tables.job
        self.conn.execute(update(job).where(job.c.id == job_id).values(parameters=parameters))

    def note(self, job: Row, state: State, reason: str | None, data: Mapping[str, Any] | None = None) -> None:
        """A row of history: a state the job is in now, or passed through in this very transaction."""
        self._history.append(
            {
                "job_id": job["id"],
                "state": state.value,
                "reason": reason,
                "at": self.now,
                "data": json.dumps(dict(data or {})),
            }
        )

    def count(self, queue: str, kind: str, by: int, bucket: int = 0) -> None:
        """Add to a running count; ``bucket`` is the beginning of an hour or a day, or 0."""
        self._tally[kind, queue, bucket] += by

    def occupy(self, worker_id: str, job_id: str | None) -> None:
        """A worker has this job from here on; None: it has none."""
        self._occupied[worker_id] = job_id

    def event(self, kind: str, owner: str, job_id: str | None, queue: str | None, **data: Any) -> None:
        self.events.append(
            {"at": self.now, "kind": kind, "owner": owner, "job_id": job_id, "queue": queue, "data": json.dumps(data)}
        )

    def run(self, name: Any, build: Callable[[], Any], values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
        """Execute a hot statement (``Hot``) in this transaction."""
        return self._hot(self.conn, name, build, values)

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have the same columns."""
        names = tuple(rows[0])
        self.run(
            ("insert", table.name, names), lambda: insert(table).values({name: bindparam(name) for name in names}), rows
        )

    def filled_lanes(self) -> set[str]:
        """Lanes that have more enqueued jobs than before this change; the counters do not know it yet."""
        return {queue for (kind, queue, _), by in self._tally.items() if kind == State.ENQUEUED and by > 0}

    def flush(self) -> None:
        """Write what the workers do, then history, then the counters in the order of their keys, then the events with
        their numbers."""
        if self._occupied:
            rows = [{"w_id": worker, "w_job": job} for worker, job in sorted(self._occupied.items())]
            self.run("occupy", self._occupying, rows)
        if self._history:
            self.insert(self.tables.job_history, self._history)
        tally = [
            {"kind": kind, "queue": queue, "bucket": bucket, "value": value}
            for (kind, queue, bucket), value in sorted(self._tally.items())
            if value
        ]
        if self.events:
            tally.append({"kind": SEQ, "queue": "", "bucket": 0, "value": len(self.events)})
        if tally:
            self.run("count", self._counting, tally)
        if self.events:
            self._write_events()

    def _occupying(self) -> Any:
        worker = self.tables.worker
        return update(worker).where(worker.c.id == bindparam("w_id")).values(job_id=bindparam("w_job"), progress=null())

    def _counting(self) -> Any:
        """Add to a running count, making it when it is new."""
        table = self.tables.counter
        row: Row = {name: bindparam(name) for name in ("kind", "queue", "bucket", "value")}
        return self._upsert(table, row, lambda new: {"value": table.c.value + new.value})

    def _upsert(self, table: Table, row: Mapping[str, Any], changed: Callable[[Any], Mapping[str, Any]]) -> Any:
        """Insert a row, or change the one with its primary key; ``changed`` gets the row that could not be inserted."""
        statement: Any = UPSERTS[self.dialect](table).values(**row)
        if self.dialect in ("mysql", "mariadb"):
            return statement.on_duplicate_key_update(**changed(statement.inserted))
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed(statement.excluded))

    def put(self, table: Table, row: Mapping[str, Any], changed: Callable[[Any], Mapping[str, Any]]) -> None:
        """Insert a row, or change the one with its primary key to ``changed(new row)``."""

        def build() -> Any:
            return self._upsert(table, {name: bindparam(name) for name in row}, changed)

        self.run(("put", table.name, *row), build, row)

    def insert_new(self, table: Table, row: Mapping[str, Any]) -> bool:
        """Insert a row unless its primary key is taken; whether it was new."""

        def build() -> Any:
            statement: Any = UPSERTS[self.dialect](table).values({name: bindparam(name) for name in row})
            if self.dialect in ("mysql", "mariadb"):
                return statement.prefix_with("IGNORE")
            return statement.on_conflict_do_nothing()

        return self.run(("insert_new", table.name, *row), build, row).rowcount == 1

    def _values(self, election: Election) -> dict[str, Any]:
        """All that a job's new state sets."""
        to = election.candidate
        left = {"worker_id": None, "lease_until": None} if election.previous == State.PROCESSING else {}
        return {
            "state": to.value,
            "reason": election.reason,
            "finished_at": self.now if to in FINISHED else None,
            "expires_at": self.now + self.retention if to in EXPIRING else None,
            **left,
            **election.columns,
        }

    def _update(self, elections: Sequence[Election], expected: State) -> None:
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for election in elections:
            values = self._values(election)
            fence = {"b_id": election.job["id"], "b_lease": election.job["lease"], "b_state": expected.value}
            alike.setdefault(tuple(values), []).append({**values, **fence})
        for names, rows in alike.items():
            changed = self.run(("transition", names), partial(self._fenced_update, names), rows).rowcount
            if changed != len(rows):
                self._refuse([election.job for election in elections], expected)

    def _fenced_update(self, names: Sequence[str]) -> Any:
        job = self.tables.job
        fence = (
            job.c.id == bindparam("b_id"),
            job.c.state == bindparam("b_state"),
            job.c.lease == bindparam("b_lease"),
        )
        return update(job).where(*fence).values({name: bindparam(name) for name in names})

    def _refuse(self, jobs: Sequence[Row], expected: State) -> None:
        job = self.tables.job
        found = {
            row.id: row.state
            for row in self.conn.execute(
                select(job.c.id, job.c.state).where(job.c.id.in_([row["id"] for row in jobs[:500]]))
            )
        }
        wrong = next((row for row in jobs if found.get(row["id"]) != expected.value), jobs[0])
        raise UnexpectedState(job_id=wrong["id"], state=found.get(wrong["id"], "gone"), expected=expected)

    def _write_events(self) -> None:
        """The log's counter was raised last; its row stays locked until the commit, so commits follow the numbers."""
        last = self.run("seq", self._numbering, {}).scalar_one()
        for seq, row in enumerate(self.events, last - len(self.events) + 1):
            row["seq"] = seq
        self.insert(self.tables.event, self.events)

    def _numbering(self) -> Any:
        counter = self.tables.counter
        return select(counter.c.value).where(counter.c.kind == SEQ, counter.c.queue == "", counter.c.bucket == 0)


def _sources(to: State) -> str:
    return " or ".join(sorted(str(state) for state, targets in TRANSITIONS.items() if state and to in targets)) or "new"
