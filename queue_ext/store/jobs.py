"""What happens to jobs, each verb one transaction."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, case, delete, false, func, insert, or_, select, true, update

from .. import order
from ..errors import IdempotencyKeyReused, InvalidRequest, JobNotFound, LeaseLost, LimitReached, UnexpectedState
from ..ids import new_id
from ..models import EXPIRING, FINISHED, WAITING, State, is_name
from .base import transactional, unsettled
from .change import DAY, Change, Row
from .family import Family

IDEMPOTENCY_AGE = DAY  # seconds a key keeps standing for its job
QUEUES_LIMIT = 1000  # lanes: more than anybody names on purpose
BULK = 500  # rows in one statement
MINUTE = 60  # seconds
GATE = "default"  # the queue whose row claims of jobs with a concurrency key take turns on
# States in which a job holds its owner's turn. Ended ones do: who sends one job after the other would always be first else.
TURN_TAKEN = (State.ENQUEUED, State.PROCESSING, State.SUCCEEDED, State.FAILED)


@dataclass(frozen=True)
class FileRef:
    """A stored file as a job refers to it: content, type, bytes, pixels."""

    sha256: str
    mime: str
    size: int
    width: int
    height: int
    seed: int | None = None
    infotext: str = ""


@dataclass(frozen=True)
class NewJob:
    """A request that has passed every check, ready to be stored. ``payload`` is JSON text."""

    id: str
    owner: str
    queue: str
    task: str
    payload: str
    prompt: str = ""
    name: str | None = None
    priority: int = 0
    labels: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    work: float = 0.0  # seconds it is expected to take
    effort: str | None = None  # JSON text
    run_at: float | None = None
    retry_attempts: int | None = None
    retry_delay_s: float | None = None
    timeout_s: float | None = None
    inputs: tuple[FileRef, ...] = ()
    idempotency_key: str | None = None
    digest: str = ""
    after: tuple[str, ...] = ()
    after_on: str = "succeeded"
    ttl_s: float | None = None
    concurrency_key: str | None = None
    schedule_id: str | None = None
    slot: float | None = None
    parameters: str | None = None


@dataclass(frozen=True)
class Limits:
    """How many jobs may wait, and how many an owner may submit in a day and in a minute (UTC); None is no limit."""

    waiting: int
    waiting_per_owner: int | None = None
    per_day: int | None = None
    per_minute: int | None = None


@dataclass(frozen=True)
class Measured:
    """How long an attempt ran on a machine (``store.machine``), seconds."""

    machine: str
    seconds: float


class JobVerbs(Family):
    """Adding, claiming, finishing, moving and ending jobs."""

    @transactional
    def add_jobs(
        self, change: Change, jobs: Sequence[NewJob], limits: Limits, fair: bool, front: bool = False
    ) -> list[str]:
        """Store jobs, all or none, and return their ids in order; an idempotency key that is known gives its job's id.

        ``front`` puts those that are in line before all others. Raises LimitReached or IdempotencyKeyReused.
        """
        ids = self._add(change, jobs, limits, fair)
        if front:
            fresh = self._lock(change, [job.id for job in jobs if job.id in ids])
            here = {row["id"] for row in fresh if row["state"] == State.ENQUEUED.value}
            for job_id in (job_id for job_id in reversed(ids) if job_id in here):
                self._move(change, job_id, "front", None, None)
        return ids

    def _add(self, change: Change, jobs: Sequence[NewJob], limits: Limits, fair: bool) -> list[str]:
        known = [self._known(change, job) for job in jobs]
        fresh = [job for job, found in zip(jobs, known, strict=True) if found is None]
        if fresh:
            self._check_limits(change, fresh, limits)
            self._ensure_queues(change, {job.queue for job in fresh})
            self._insert(change, fresh, self._keys(change, fresh, fair))
        return [found or job.id for job, found in zip(jobs, known, strict=True)]

    def _known(self, change: Change, job: NewJob) -> str | None:
        if job.idempotency_key is None:
            return None
        table = self.tables.idempotency
        mine = (table.c.owner == job.owner) & (table.c.key == job.idempotency_key)
        change.conn.execute(delete(table).where(mine, table.c.created_at < change.now - IDEMPOTENCY_AGE))
        row = {
            "owner": job.owner,
            "key": job.idempotency_key,
            "job_id": job.id,
            "digest": job.digest,
            "created_at": change.now,
        }
        if change.insert_new(table, row):
            return None
        found = change.conn.execute(select(table.c.job_id, table.c.digest).where(mine)).one()
        if found.digest != job.digest:
            raise IdempotencyKeyReused(key=job.idempotency_key)
        return found.job_id

    def _check_limits(self, change: Change, jobs: Sequence[NewJob], limits: Limits) -> None:
        if self._counted_jobs(change, WAITING) + len(jobs) > limits.waiting:
            raise LimitReached(limit="max_waiting", value=limits.waiting, retry_after=30)
        self._use(change, jobs, "quota_per_day", limits.per_day, "day", DAY)
        self._use(change, jobs, "rate_per_minute", limits.per_minute, "minute", MINUTE)
        if limits.waiting_per_owner is None:
            return
        own = change.conn.execute(
            select(func.count())
            .select_from(self.tables.job)
            .where(self.tables.job.c.owner == jobs[0].owner, self.tables.job.c.state.in_(WAITING))
        ).scalar_one()
        if own + len(jobs) > limits.waiting_per_owner:
            raise LimitReached(limit="max_waiting_per_owner", value=limits.waiting_per_owner, retry_after=30)

    def _use(
        self, change: Change, jobs: Sequence[NewJob], limit: str, allowed: int | None, unit: str, seconds: int
    ) -> None:
        """Count jobs against an owner's limit; the row is locked from here to the commit, so the count is exact."""
        if allowed is None:
            return
        table, number = self.tables.usage, int(change.now // seconds)
        ends = (number + 1) * seconds
        row = {"owner": jobs[0].owner, "span": f"{unit}:{number}", "used": len(jobs), "ends_at": ends}
        change.put(table, row, lambda new: {"used": table.c.used + new.used})
        mine = (table.c.owner == row["owner"]) & (table.c.span == row["span"])
        if change.conn.execute(select(table.c.used).where(mine)).scalar_one() > allowed:
            raise LimitReached(limit=limit, value=allowed, retry_after=max(1, int(ends - change.now)))

    def _ensure_queues(self, change: Change, queues: set[str]) -> None:
        for name in sorted(queues - self._known_queues):
            row = {"name": name, "paused": False, "created_at": change.now}
            if change.insert_new(self.tables.queue, row):
                count = change.conn.execute(select(func.count()).select_from(self.tables.queue)).scalar_one()
                if count > QUEUES_LIMIT:
                    raise LimitReached(limit="queues", value=QUEUES_LIMIT, retry_after=3600)
                change.event("queue", "", None, name)
        change.lanes |= queues

    def _keys(self, change: Change, jobs: Sequence[Any], fair: bool) -> list[str]:
        """The places of arriving jobs (anything with owner, queue, priority, id)."""
        turns: dict[tuple[str, str, int], int] = {}
        keys = []
        for job in jobs:
            line = (job.owner, job.queue, job.priority)
            turns[line] = turns[line] + 1 if line in turns else self._next_turn(change, *line)
            keys.append(order.key(job.priority, turns[line] if fair else 0, job.id))
        return keys

    def _next_turn(self, change: Change, owner: str, queue: str, priority: int) -> int:
        low, high = order.priority_range(priority)
        values = {"t_queue": queue, "t_priority": priority, "own": owner, "j_queue": queue, "low": low, "high": high}
        started, *own = change.run("turn", self._turn_statement, values).one()
        return order.next_turn(started or 0, [order.turn_of(key) for key in own if key])

    def _turn_statement(self) -> Any:
        turn = self.tables.turn
        started = select(turn.c.turn).where(
            turn.c.queue == bindparam("t_queue"), turn.c.priority == bindparam("t_priority")
        )
        last = [self._last_key(state).scalar_subquery() for state in TURN_TAKEN]
        return select(started.scalar_subquery(), *last)

    def _last_key(self, state: State) -> Any:
        job = self.tables.job
        return select(func.max(job.c.order_key)).where(
            job.c.owner == bindparam("own"),
            job.c.state == state.value,
            job.c.queue == bindparam("j_queue"),
            job.c.order_key.between(bindparam("low"), bindparam("high")),
        )

    def _insert(self, change: Change, jobs: Sequence[NewJob], keys: Sequence[str]) -> None:
        tables = self.tables
        states = self._first_states(change, jobs)
        rows = [_job_row(job, state, key, change.now) for job, state, key in zip(jobs, states, keys, strict=True)]
        elections = [change.elect(row, None, state) for row, state in zip(rows, states, strict=True)]
        change.insert(
            tables.job, [{**e.job, **e.columns, "state": e.candidate.value, "reason": e.reason} for e in elections]
        )
        change.insert(tables.job_body, [{"job_id": job.id, "payload": job.payload} for job in jobs])
        files = [_file_row(job.id, "input", number, ref) for job in jobs for number, ref in enumerate(job.inputs)]
        labels = [{"job_id": job.id, "label": label} for job in jobs for label in job.labels]
        family = [
            {"job_id": job.id, "number": n, "parent_id": parent} for job in jobs for n, parent in enumerate(job.after)
        ]
        for table, some in ((tables.job_file, files), (tables.job_label, labels), (tables.job_parent, family)):
            if some:
                change.insert(table, some)
        for election in elections:
            change.applied(election)

    def _first_states(self, change: Change, jobs: Sequence[NewJob]) -> list[State]:
        """Where each job begins. Raises InvalidRequest for one whose parents can no longer end as it wants."""
        siblings = {job.id: job for job in jobs}
        states = []
        for job in jobs:
            state = State.SCHEDULED if job.run_at and job.run_at > change.now else State.ENQUEUED
            if job.after:
                found = self._first_state(change, job.after, job.after_on, siblings)
                if found == State.DELETED:
                    raise InvalidRequest(
                        [{"loc": ["after"], "msg": f"a job it names did not end as {job.after_on} and never will"}]
                    )
                state = found or State.AWAITING
            states.append(state)
        return states

    def _arrival_key(self, change: Change, child: Row) -> Mapping[str, Any]:
        return {
            "order_key": self._keys(
                change, [_Arrival(child["owner"], child["queue"], child["priority"], child["id"])], True
            )[0]
        }

    @transactional
    def claim(self, change: Change, worker_id: str, served: Sequence[str], lease_s: float) -> Row | None:
        """Take the next job of the lanes a worker serves: its row as it is now, with payload; None if nothing waits."""
        return self._claim(change, worker_id, served, lease_s)

    def _claim(self, change: Change, worker_id: str, served: Sequence[str], lease_s: float) -> Row | None:
        turned_away = 0
        for lane in order.lanes_of(served, self._lanes_with_work(change)):
            while turned_away < BULK and (row := self._first(change, lane)) is not None:
                change.look_again()
                started = self._start(change, row, worker_id, lease_s)
                if started is not None:
                    return started
                turned_away += 1
        return None

    def _lanes_with_work(self, change: Change) -> list[str]:
        """Lanes that are not paused and in which jobs wait, those included that have come into line in this change."""
        lanes = [row[0] for row in change.run("lanes", self._lanes_statement, {})]
        filled = change.filled_lanes() - set(lanes)
        if filled:
            queue = self.tables.queue
            paused = select(queue.c.name).where(queue.c.name.in_(sorted(filled)), queue.c.paused == true())
            lanes += filled - set(change.conn.execute(paused).scalars())
        return lanes

    def _lanes_statement(self) -> Any:
        counter, queue = self.tables.counter, self.tables.queue
        return (
            select(counter.c.queue)
            .outerjoin(queue, queue.c.name == counter.c.queue)
            .where(counter.c.kind == State.ENQUEUED.value, counter.c.bucket == 0)
            .where(counter.c.value > 0, func.coalesce(queue.c.paused, false()) == false())
        )

    def _first(self, change: Change, lane: str) -> Row | None:
        found = change.run("first", lambda: self.statements.first, {"queue": lane}).mappings().first()
        if found and found["concurrency_key"] and not self._key_is_free(change, found["concurrency_key"]):
            found = change.run("first", lambda: self.statements.first, {"queue": lane}).mappings().first()
        return dict(found) if found else None

    def _key_is_free(self, change: Change, key: str) -> bool:
        """Whether no job with this key runs, asked under a lock that all claims of jobs with keys take."""
        self._lock_line(change, GATE)
        job = self.tables.job
        busy = select(job.c.id).where(job.c.concurrency_key == key, job.c.state == State.PROCESSING.value).limit(1)
        return change.conn.execute(busy).first() is None

    def _start(self, change: Change, row: Row, worker_id: str, lease_s: float) -> Row | None:
        """The job as it runs now; None where a filter elected something else for it."""
        started = {
            "attempt": row["attempt"] + 1,
            "lease": row["lease"] + 1,
            "lease_until": change.now + lease_s,
            "worker_id": worker_id,
            "started_at": change.now,
            "cancel_at": None,
        }
        data = {"attempt": started["attempt"], "worker": worker_id}
        [elected] = change.transition([row], State.ENQUEUED, State.PROCESSING, data=data, **started)
        if elected.candidate != State.PROCESSING:
            return None
        self._advance_turn(change, row["queue"], row["order_key"])
        change.occupy(worker_id, row["id"])
        payload = change.run("payload", self._payload_statement, {"job": row["id"]}).scalar_one()
        return {**row, **elected.columns, "state": State.PROCESSING.value, "payload": payload}

    def _payload_statement(self) -> Any:
        return select(self.tables.job_body.c.payload).where(self.tables.job_body.c.job_id == bindparam("job"))

    def _advance_turn(self, change: Change, queue: str, order_key: str) -> None:
        table = self.tables.turn
        row = {"queue": queue, "priority": order.priority_of(order_key), "turn": order.turn_of(order_key)}
        change.put(table, row, lambda new: {"turn": case((table.c.turn < new.turn, new.turn), else_=table.c.turn)})

    def renew(self, job_id: str, lease: int, until: float) -> bool:
        """Extend a lease. False when the job is no longer held by it."""
        job = self.tables.job
        mine = (job.c.id == job_id) & (job.c.lease == lease) & (job.c.state == State.PROCESSING.value)
        with self.writing() as conn:
            return conn.execute(update(job).where(mine).values(lease_until=until)).rowcount == 1

    @transactional
    def succeed(
        self, change: Change, job: Row, pictures: Sequence[FileRef], result: str, measured: Measured | None = None
    ) -> None:
        """End an attempt well: pictures, result and state in one transaction. Raises LeaseLost."""
        self._succeed(change, job, pictures, result, measured)

    @unsettled
    def succeed_and_claim(
        self,
        change: Change,
        job: Row,
        pictures: Sequence[FileRef],
        result: str,
        worker_id: str,
        served: Sequence[str],
        lease_s: float,
        measured: Measured | None = None,
    ) -> Row | None:
        """``succeed``, and ``claim`` for ``worker_id`` in the same transaction: the pipeline waits for one commit less,
        and for no disk.

        Those that the end of this job released are in line by then. Raises LeaseLost.
        """
        self._succeed(change, job, pictures, result, measured)
        self._release_children(change)
        return self._claim(change, worker_id, served, lease_s)

    def _succeed(
        self, change: Change, job: Row, pictures: Sequence[FileRef], result: str, measured: Measured | None
    ) -> None:
        if self._end(change, job, State.SUCCEEDED, None, {"images": len(pictures)}, final=False) not in FINISHED:
            return
        self._store_result(change, job, pictures, result)
        if measured is not None and job["effort"]:
            row = {"machine": measured.machine, "at": change.now, "effort": job["effort"], "seconds": measured.seconds}
            change.insert(self.tables.measurement, [row])

    @transactional
    def cancel_running(self, change: Change, job: Row, reason: str, pictures: Sequence[FileRef], result: str) -> None:
        """End an attempt that was told to stop, keeping what it made. Raises LeaseLost."""
        if self._end(change, job, State.DELETED, reason, {"images": len(pictures)}) in FINISHED:
            self._store_result(change, job, pictures, result)

    @transactional
    def fail(self, change: Change, job: Row, error: Mapping[str, Any], reason: str, final: bool = True) -> None:
        """End an attempt that failed; unless that is ``final``, a filter may send the job back. Raises LeaseLost."""
        self._end(change, job, State.FAILED, reason, {"error": dict(error)}, final, error=json.dumps(error))

    @transactional
    def give_back(self, change: Change, job: Row, reason: str) -> None:
        """Put a running job back at the head of its queue; the attempt does not count. Raises LeaseLost."""
        self._end(
            change, job, State.ENQUEUED, reason, {},
            attempt=job["attempt"] - 1, order_key=self._head_key(change, job), started_at=None,
        )  # fmt: skip

    def _end(
        self,
        change: Change,
        job: Row,
        to: State,
        reason: str | None,
        data: Mapping[str, Any],
        final: bool = True,
        **columns: Any,
    ) -> State:
        """Where the job is now. Raises LeaseLost."""
        told = {"attempt": job["attempt"], **data}
        kept = {"parameters": job["parameters"], **columns}
        try:
            [elected] = change.transition([job], State.PROCESSING, to, reason, told, final=final, **kept)
        except UnexpectedState as error:
            raise LeaseLost(job_id=job["id"], lease=job["lease"]) from error
        change.occupy(job["worker_id"], None)
        return elected.candidate

    def _store_result(self, change: Change, job: Row, pictures: Sequence[FileRef], result: str) -> None:
        change.run("result", self._keeping, {"job": job["id"], "made": result})
        if job["lease"] > 1:  # an earlier attempt may have left some
            change.run("pictures", self._dropping, {"job": job["id"]})
        if pictures:
            change.insert(
                self.tables.job_file,
                [_file_row(job["id"], "picture", number, ref) for number, ref in enumerate(pictures)],
            )

    def _keeping(self) -> Any:
        body = self.tables.job_body
        return update(body).where(body.c.job_id == bindparam("job")).values(result=bindparam("made"))

    def _dropping(self) -> Any:
        files = self.tables.job_file
        return delete(files).where(files.c.job_id == bindparam("job"), files.c.role == "picture")

    def recover(self, worker_ids: Sequence[str], max_crashes: int, expired_before: float, own: str) -> list[str]:
        """Take back the jobs of dead workers, and any whose lease ended before ``expired_before``, but none of worker
        ``own``; the ids taken.

        They go to the head of their queue; one that has cost ``max_crashes`` processes fails instead, one that was
        being cancelled is cancelled.
        """
        values = {"before": expired_before, "own": own}
        if not worker_ids and not self._any("expired", self._expired_statement, values):
            return []
        return self._recover(worker_ids, max_crashes, expired_before, own)

    def _any(self, name: str, build: Callable[[], Any], values: Mapping[str, Any]) -> bool:
        """Whether there is anything to do, for looks made every second: a transaction that changes nothing would hold
        up those that do."""
        with self.db.read() as conn:
            return self.db.hot(conn, name, build, values).first() is not None

    def _expired_statement(self) -> Any:
        job = self.tables.job
        expired = job.c.lease_until < bindparam("before"), job.c.worker_id != bindparam("own")
        return select(job.c.id).where(job.c.state == State.PROCESSING.value, *expired).limit(1)

    @transactional
    def _recover(
        self, change: Change, worker_ids: Sequence[str], max_crashes: int, expired_before: float, own: str
    ) -> list[str]:
        job = self.tables.job
        lost = (
            change.conn.execute(
                select(job)
                .where(job.c.state == State.PROCESSING.value)
                .where(job.c.worker_id.in_(list(worker_ids)) | (job.c.lease_until < expired_before))
                .where(job.c.worker_id != own)
                .with_for_update()
            )
            .mappings()
            .all()
        )
        for row in lost:
            self._take_back(change, dict(row), max_crashes)
        return [row["id"] for row in lost]

    def _take_back(self, change: Change, row: Row, max_crashes: int) -> None:
        crashes = row["crashes"] + 1
        if row["cancel_at"] is not None:
            self._end(change, row, State.DELETED, "cancelled while its worker was lost", {}, crashes=crashes)
        elif crashes >= max_crashes:
            error = {
                "type": "WorkerLost",
                "message": f"the process died {crashes} times while it ran this job",
                "attempt": row["attempt"],
            }
            self._end(
                change, row, State.FAILED, error["message"], {"error": error}, crashes=crashes, error=json.dumps(error)
            )
        else:
            self._end(
                change, row, State.ENQUEUED, f"its worker was lost during attempt {row['attempt']}", {},
                crashes=crashes, order_key=self._head_key(change, row),
            )  # fmt: skip

    @transactional
    def promote_due(self, change: Change, fair: bool, limit: int = BULK) -> int:
        """Move delayed jobs whose time has come into their line; how many moved (call again while it is ``limit``)."""
        due = change.run("due", self._due_statement, {"now": change.now, "most": limit})
        rows = [dict(row) for row in due.mappings()]
        if rows:
            change.transition(
                rows, State.SCHEDULED, State.ENQUEUED, "its time has come", each=self._promoted(change, rows, fair)
            )
        return len(rows)

    def _due_statement(self) -> Any:
        job = self.tables.job
        due = select(job).where(job.c.state == State.SCHEDULED.value, job.c.run_at <= bindparam("now"))
        return due.order_by(job.c.run_at).limit(bindparam("most")).with_for_update(skip_locked=True)

    def _promoted(self, change: Change, rows: Sequence[Row], fair: bool) -> list[dict[str, Any]]:
        """A retried job keeps its place, one that was delayed from the start takes the place of an arrival."""
        arriving = [
            _Arrival(row["owner"], row["queue"], row["priority"], row["id"]) for row in rows if not row["attempt"]
        ]
        keys = dict(zip([job.id for job in arriving], self._keys(change, arriving, fair), strict=True))
        return [{"order_key": keys.get(row["id"], row["order_key"])} for row in rows]

    def give_up_waiting(self, limit: int = BULK) -> int:
        """Delete jobs that have waited longer than they were to; how many (call again while it is ``limit``)."""
        return self._give_up_waiting(limit) if self._any("late", self._late_statement, {"now": time.time()}) else 0

    def _late_statement(self) -> Any:
        job = self.tables.job
        waits = or_(*(job.c.state == state.value for state in WAITING))
        return select(job.c.id).where(job.c.ttl_at <= bindparam("now"), waits, job.c.attempt == 0).limit(1)

    @transactional
    def _give_up_waiting(self, change: Change, limit: int) -> int:
        job = self.tables.job
        late = select(job).where(job.c.ttl_at <= change.now, job.c.state.in_(WAITING), job.c.attempt == 0)
        found = change.conn.execute(late.order_by(job.c.ttl_at).limit(limit).with_for_update(skip_locked=True))
        rows = [dict(row) for row in found.mappings()]
        for state in WAITING:
            some = [row for row in rows if row["state"] == state.value]
            change.transition(some, state, State.DELETED, "waited too long", each=[{"ttl_at": None}] * len(some))
        return len(rows)

    def next_due(self) -> float | None:
        """When the earliest delayed job is due, seconds since the epoch."""
        job = self.tables.job
        with self.db.read() as conn:
            return conn.execute(select(func.min(job.c.run_at)).where(job.c.state == State.SCHEDULED.value)).scalar()

    @transactional
    def cancel(self, change: Change, ids: Sequence[str], reason: str) -> list[str]:
        """Cancel waiting jobs and ask running ones to stop, passing over the finished; the ids this concerns."""
        concerned = []
        rows = self._lock(change, ids)
        for state in WAITING:
            waiting = [row for row in rows if row["state"] == state.value]
            change.transition(waiting, state, State.DELETED, reason)
            concerned += [row["id"] for row in waiting]
        running = [row for row in rows if row["state"] == State.PROCESSING.value]
        if running:
            self._set(change, [row["id"] for row in running], cancel_at=change.now)
            for row in running:
                change.event("cancel", row["owner"], row["id"], row["queue"], reason=reason, lease=row["lease"])
        return concerned + [row["id"] for row in running]

    @transactional
    def request_skip(self, change: Change, job_id: str) -> None:
        """Ask a running job to leave its current picture. Raises JobNotFound, UnexpectedState."""
        row = self._lock_one(change, job_id, (State.PROCESSING,))
        change.event("skip", row["owner"], job_id, row["queue"])

    @transactional
    def requeue(self, change: Change, ids: Sequence[str], fair: bool, strict: bool = False) -> list[str]:
        """Failed and deleted jobs wait again, in their own lane, attempts anew; the ids this concerns."""
        rows = self._lock(change, ids)
        concerned = []
        for state in (State.FAILED, State.DELETED):
            ended = [row for row in rows if row["state"] == state.value]
            arriving = [_Arrival(row["owner"], row["queue"], row["priority"], row["id"]) for row in ended]
            keys = [{"order_key": key} for key in self._keys(change, arriving, fair)]
            change.transition(
                ended, state, State.ENQUEUED, "requeued by hand", each=keys,
                attempt=0, crashes=0, error=None, run_at=None, started_at=None, cancel_at=None,
            )  # fmt: skip
            concerned += [row["id"] for row in ended]
        if strict and rows and len(concerned) < len(rows):
            wrong = next(row for row in rows if row["id"] not in concerned)
            raise UnexpectedState(job_id=wrong["id"], state=wrong["state"], expected="failed or deleted")
        return concerned

    @transactional
    def remove(self, change: Change, ids: Sequence[str]) -> int:
        """Forget finished jobs: rows, history, files they owned (collected later); how many."""
        rows = [row for row in self._lock(change, ids) if row["state"] in FINISHED]
        self._forget(change, rows)
        return len(rows)

    def _forget(self, change: Change, rows: Sequence[Row]) -> None:
        ids = [row["id"] for row in rows]
        tables = self.tables
        for start in range(0, len(ids), BULK):
            part = ids[start : start + BULK]
            for table in (
                tables.job_body, tables.job_file, tables.job_label, tables.job_history, tables.idempotency, tables.job_parent,
            ):  # fmt: skip
                change.conn.execute(delete(table).where(table.c.job_id.in_(part)))
            change.conn.execute(delete(tables.job).where(tables.job.c.id.in_(part)))
        change.ended += [row["id"] for row in rows if row["state"] == State.FAILED]
        for row in rows:
            change.count(row["queue"], row["state"], -1)
            change.event("removed", row["owner"], row["id"], row["queue"])

    @transactional
    def expire(self, change: Change, limit: int = BULK) -> int:
        """Forget what is past its time, never what is bookmarked; how many (call again while it is ``limit``)."""
        job = self.tables.job
        rows = (
            change.conn.execute(
                select(job.c.id, job.c.queue, job.c.state, job.c.owner)
                .where(job.c.expires_at < change.now, job.c.bookmarked.is_(False))
                .order_by(job.c.expires_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            .mappings()
            .all()
        )
        self._forget(change, [dict(row) for row in rows])
        return len(rows)

    @transactional
    def shorten_history(self, change: Change, size: int, limit: int = BULK) -> int:
        """Forget the oldest succeeded and deleted jobs beyond ``size``, as ``expire`` does; bookmarked ones do not count.
        How many (call again while it is ``limit``)."""
        self._lock_line(change, GATE)  # two processes would each forget what is too much
        job = self.tables.job
        kept = select(func.count()).select_from(job).where(job.c.bookmarked == true(), job.c.expires_at > 0)
        over = self._counted_jobs(change, EXPIRING) - change.conn.execute(kept).scalar_one() - size
        if over <= 0:
            return 0
        oldest = (
            select(job.c.id, job.c.queue, job.c.state, job.c.owner)
            .where(job.c.expires_at > 0, job.c.bookmarked.is_(False))
            .order_by(job.c.expires_at)
            .limit(min(int(over), limit))
            .with_for_update(skip_locked=True)
        )
        rows = [dict(row) for row in change.conn.execute(oldest).mappings()]
        self._forget(change, rows)
        return len(rows)

    @transactional
    def move(
        self, change: Change, job_id: str, to: str | None = None, before: str | None = None, after: str | None = None
    ) -> None:
        """Give a waiting job another place: ``to`` front or back, or next to another job of its queue.

        Raises JobNotFound, UnexpectedState.
        """
        self._move(change, job_id, to, before, after)

    def _move(self, change: Change, job_id: str, to: str | None, before: str | None, after: str | None) -> None:
        row = self._lock_one(change, job_id, (State.ENQUEUED,))
        self._lock_line(change, row["queue"])
        key = self._new_place(change, row, to, before, after)
        if key is None:
            return
        if len(key) > order.KEY_LIMIT:
            self._respace(change, row["queue"], key[: order.PREFIX])
            key = self._new_place(change, row, to, before, after) or row["order_key"]
        self._set(change, [job_id], order_key=key)
        change.event("moved", row["owner"], job_id, row["queue"])

    def _new_place(self, change: Change, row: Row, to: str | None, before: str | None, after: str | None) -> str | None:
        queue, job_id = row["queue"], row["id"]
        if before or after:
            beside = self._lock_one(change, before or after or "", (State.ENQUEUED,))
            if beside["queue"] != queue:
                raise UnexpectedState(
                    job_id=beside["id"], state=f"in queue {beside['queue']}", expected=f"in queue {queue}"
                )
            neighbour = beside["order_key"]
            if beside["id"] == job_id:
                return None
        else:
            edge = self._edge(change, queue, job_id, last=to == "back")
            if edge is None:
                return None
            neighbour = edge
        if before or to == "front":
            return order.before(neighbour, self._next_to(change, queue, neighbour, job_id, forward=False))
        return order.after(neighbour, self._next_to(change, queue, neighbour, job_id, forward=True), new_id())

    def _edge(self, change: Change, queue: str, but: str, last: bool) -> str | None:
        job = self.tables.job
        key = job.c.order_key.desc() if last else job.c.order_key
        return change.conn.execute(
            select(job.c.order_key)
            .where(job.c.queue == queue, job.c.state == State.ENQUEUED.value, job.c.id != but)
            .order_by(key)
            .limit(1)
        ).scalar()

    def _next_to(self, change: Change, queue: str, key: str, but: str, forward: bool) -> str | None:
        job = self.tables.job
        line = select(job.c.order_key).where(job.c.queue == queue, job.c.state == State.ENQUEUED.value, job.c.id != but)
        if forward:
            line = line.where(job.c.order_key > key).order_by(job.c.order_key)
        else:
            line = line.where(job.c.order_key < key).order_by(job.c.order_key.desc())
        return change.conn.execute(line.limit(1)).scalar()

    def _head_key(self, change: Change, row: Row) -> str:
        """The key of a job that goes back to the head: its own, if nobody is before it."""
        first = self._edge(change, row["queue"], row["id"], last=False)
        if first is None or row["order_key"] < first:
            return row["order_key"]
        key = order.before(first, None)
        if len(key) > order.KEY_LIMIT:
            self._respace(change, row["queue"], key[: order.PREFIX])
            key = order.before(self._edge(change, row["queue"], row["id"], last=False) or first, None)
        return key

    def _respace(self, change: Change, queue: str, prefix: str) -> None:
        """Give the jobs of one priority and turn short keys again, in the same order."""
        job = self.tables.job
        ids = list(
            change.conn.execute(
                select(job.c.id)
                .where(
                    job.c.queue == queue,
                    job.c.state == State.ENQUEUED.value,
                    job.c.order_key.between(prefix, prefix + "~"),
                )
                .order_by(job.c.order_key)
            ).scalars()
        )
        rows = [
            {"b_id": id_, "b_key": prefix + part}
            for id_, part in zip(ids, order.spread(len(ids), new_id()), strict=True)
        ]
        change.conn.execute(update(job).where(job.c.id == bindparam("b_id")).values(order_key=bindparam("b_key")), rows)

    @transactional
    def edit(self, change: Change, job_id: str, fair: bool, columns: Mapping[str, Any], labels: Sequence[str] | None,
             payload: str | None, inputs: Sequence[FileRef] | None) -> None:  # fmt: skip
        """Change a job: name, bookmark and labels at any time, the rest only while it waits.

        Raises JobNotFound, UnexpectedState.
        """
        late = set(columns) - {"name", "bookmarked"} or payload is not None
        row = self._lock_one(change, job_id, WAITING if late else tuple(State))
        values = dict(columns)
        if labels is not None:
            values["labels"] = json.dumps(list(labels))
            self._replace_labels(change, job_id, labels)
        if payload is not None:
            self._replace_payload(change, job_id, payload, inputs or ())
        run_at = values.pop("run_at", row["run_at"])
        self._replace_line(change, row, values, run_at, fair)
        if values:
            self._set(change, [job_id], **values)
        if run_at != row["run_at"]:
            self._reschedule(change, {**row, **values}, run_at, fair)
        else:
            change.event(
                "job", row["owner"], job_id, values.get("queue", row["queue"]), state=row["state"], reason=row["reason"]
            )

    def _replace_line(self, change: Change, row: Row, values: dict[str, Any], run_at: float | None, fair: bool) -> None:
        """A job that changes lane or priority takes the place of an arrival there."""
        queue: Any = values.get("queue", row["queue"])
        priority: Any = values.get("priority", row["priority"])
        if (queue, priority) == (row["queue"], row["priority"]):
            return
        self._ensure_queues(change, {queue})
        values["order_key"] = self._keys(change, [_Arrival(row["owner"], queue, priority, row["id"])], fair)[0]
        if queue != row["queue"]:
            change.count(row["queue"], row["state"], -1)
            change.count(queue, row["state"], +1)

    def _reschedule(self, change: Change, row: Row, run_at: float | None, fair: bool) -> None:
        later = run_at is not None and run_at > change.now
        self._set(change, [row["id"]], run_at=run_at if later else None)
        if later and row["state"] == State.ENQUEUED.value:
            change.transition([row], State.ENQUEUED, State.SCHEDULED, "put off", run_at=run_at)
        elif not later and row["state"] == State.SCHEDULED.value:
            change.transition(
                [row], State.SCHEDULED, State.ENQUEUED, "brought forward", each=self._promoted(change, [row], fair)
            )
        else:
            change.event("job", row["owner"], row["id"], row["queue"], state=row["state"], reason=row["reason"])

    def _replace_labels(self, change: Change, job_id: str, labels: Sequence[str]) -> None:
        table = self.tables.job_label
        change.conn.execute(delete(table).where(table.c.job_id == job_id))
        if labels:
            change.conn.execute(insert(table), [{"job_id": job_id, "label": label} for label in labels])

    def _replace_payload(self, change: Change, job_id: str, payload: str, inputs: Sequence[FileRef]) -> None:
        body, files = self.tables.job_body, self.tables.job_file
        change.conn.execute(update(body).where(body.c.job_id == job_id).values(payload=payload))
        change.conn.execute(delete(files).where(files.c.job_id == job_id, files.c.role == "input"))
        if inputs:
            change.conn.execute(
                insert(files), [_file_row(job_id, "input", number, ref) for number, ref in enumerate(inputs)]
            )

    @transactional
    def bookmark(self, change: Change, ids: Sequence[str]) -> int:
        """Keep jobs for ever; how many."""
        rows = self._lock(change, ids)
        self._set(change, [row["id"] for row in rows], bookmarked=True)
        for row in rows:
            change.event("job", row["owner"], row["id"], row["queue"], state=row["state"], reason=row["reason"])
        return len(rows)

    def _lock_line(self, change: Change, queue: str) -> None:
        """Let one mover at a time into a line, so that no two jobs get the same place."""
        change.conn.execute(select(self.tables.queue.c.name).where(self.tables.queue.c.name == queue).with_for_update())

    def _lock_one(self, change: Change, job_id: str, states: Iterable[State]) -> Row:
        found = self._lock(change, [job_id])
        if not found:
            raise JobNotFound(job_id=job_id)
        allowed = [state.value for state in states]
        if found[0]["state"] not in allowed:
            raise UnexpectedState(job_id=job_id, state=found[0]["state"], expected=" or ".join(allowed))
        return found[0]

    def _lock(self, change: Change, ids: Sequence[str]) -> list[Row]:
        job = self.tables.job
        ids = [job_id for job_id in ids if is_name(job_id)]
        rows: list[Row] = []
        for start in range(0, len(ids), BULK):
            part = select(job).where(job.c.id.in_(list(ids[start : start + BULK]))).order_by(job.c.id).with_for_update()
            rows += [dict(row) for row in change.conn.execute(part).mappings()]
        return rows

    def _set(self, change: Change, ids: Sequence[str], **columns: Any) -> None:
        for start in range(0, len(ids), BULK):
            change.conn.execute(
                update(self.tables.job)
                .where(self.tables.job.c.id.in_(list(ids[start : start + BULK])))
                .values(**columns)
            )


@dataclass(frozen=True)
class _Arrival:
    owner: str
    queue: str
    priority: int
    id: str


def _job_row(job: NewJob, state: State, key: str, now: float) -> dict[str, Any]:
    later = job.run_at if state == State.SCHEDULED else None
    return {
        "id": job.id, "queue": job.queue, "task": job.task, "name": job.name, "prompt": job.prompt[:2000],
        "owner": job.owner, "state": state.value, "reason": None,
        "priority": job.priority, "order_key": key, "work": job.work, "effort": job.effort, "labels": json.dumps(list(job.labels)),
        "summary": json.dumps(dict(job.summary)), "created_at": now,
        "run_at": later, "attempt": 0, "retry_attempts": job.retry_attempts,
        "retry_delay_s": job.retry_delay_s, "timeout_s": job.timeout_s, "lease": 0, "crashes": 0, "bookmarked": False,
        "after_on": job.after_on if job.after else None, "schedule_id": job.schedule_id, "slot": job.slot,
        "ttl_at": None if job.ttl_s is None else (later or now) + job.ttl_s, "concurrency_key": job.concurrency_key,
        "parameters": job.parameters,
    }  # fmt: skip


def _file_row(job_id: str, role: str, number: int, ref: FileRef) -> dict[str, Any]:
    return {
        "job_id": job_id, "role": role, "number": number, "sha256": ref.sha256, "mime": ref.mime, "size": ref.size,
        "width": ref.width, "height": ref.height, "seed": None if ref.seed is None else str(ref.seed),
        "infotext": ref.infotext,
    }  # fmt: skip
