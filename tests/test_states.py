"""A queue and a plain model of it do the same things in any order, and agree after each of them, on every database."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from queue_ext.errors import LeaseLost, UnexpectedState
from queue_ext.models import EXPIRING, FINISHED, TRANSITIONS, UNFINISHED, WAITING, State
from queue_ext.store import Database, Filter, Store

from .support import MANY, assert_counted, new_job, recount, retry

EXAMPLES = {"sqlite": 30, "postgresql": 8, "mariadb": 10}
STEPS = 25
LATER = 3600.0
OWNERS = st.sampled_from(["ann", "bob", "cyd"])
QUEUES = st.sampled_from(["default", "slow"])
PICK = st.integers(0, 1000)


@dataclass
class Modelled:
    """What a job should be."""

    id: str
    owner: str
    queue: str
    priority: int
    state: State
    attempt: int = 0
    crashes: int = 0
    bookmarked: bool = False
    cancelling: bool = False
    history: list[State] = field(default_factory=list)

    def become(self, *states: State) -> None:
        self.history += states
        self.state = states[-1]
        self.cancelling = self.cancelling and self.state is State.PROCESSING


class Lifecycle(RuleBasedStateMachine):
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Modelled] = {}
        self.held: dict[str, Any] = {}  # rows as their worker holds them
        self.stale: list[Any] = []  # rows whose lease was lost
        self.changes = 0

    @initialize()
    def empty(self) -> None:
        self.store._known_queues.clear()
        with self.store.db.write() as conn:
            for table in self.store.tables.metadata.tables.values():
                conn.execute(table.delete())

    def pick(self, number: int, *states: State) -> Modelled | None:
        found = [job for job in self.jobs.values() if not states or job.state in states]
        return found[number % len(found)] if found else None

    @rule(owner=OWNERS, queue=QUEUES, priority=st.integers(-1, 1), later=st.booleans(), count=st.integers(1, 3))
    def add(self, owner: str, queue: str, priority: int, later: bool, count: int) -> None:
        run_at = time.time() + LATER if later else None
        made = [new_job(owner, queue=queue, priority=priority, run_at=run_at) for _ in range(count)]
        self.store.add_jobs(made, MANY, True)
        for job in made:
            state = State.SCHEDULED if later else State.ENQUEUED
            self.jobs[job.id] = Modelled(job.id, owner, queue, priority, state, history=[state])

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        row = self.store.claim(worker, (), 60.0)
        waiting = [job for job in self.jobs.values() if job.state is State.ENQUEUED]
        assert (row is None) == (not waiting)
        if row is None:
            return
        job = self.jobs[row["id"]]
        assert job.state is State.ENQUEUED
        lane = "default" if any(other.queue == "default" for other in waiting) else "slow"
        assert job.queue == lane
        job.attempt += 1
        assert row["attempt"] == job.attempt
        job.become(State.PROCESSING)
        self.held[job.id] = row

    @precondition(lambda self: self.held)
    @rule(number=PICK, how=st.sampled_from(["succeed", "cancelled", "fail", "retry", "retry now", "give back"]))
    def end(self, number: int, how: str) -> None:
        job_id = list(self.held)[number % len(self.held)]
        row, job = self.held.pop(job_id), self.jobs[job_id]
        self.end_with(how, row)
        error = {"type": "E", "message": "m", "attempt": job.attempt}
        assert how not in ("fail", "retry") or json.loads(self.store.job(job_id)["error"]) == error
        if how == "give back":
            job.attempt -= 1
        job.become(*{
            "succeed": [State.SUCCEEDED], "cancelled": [State.DELETED], "fail": [State.FAILED],
            "retry": [State.FAILED, State.SCHEDULED], "retry now": [State.FAILED, State.ENQUEUED], "give back": [State.ENQUEUED],
        }[how])  # fmt: skip
        if how == "give back":
            assert self.store.line(job.queue)[0].id == job_id
        self.stale.append(row)

    def end_with(self, how: str, row: Any) -> None:
        error = {"type": "E", "message": "m", "attempt": row["attempt"]}
        {
            "succeed": lambda: self.store.succeed(row, [], "{}"),
            "cancelled": lambda: self.store.cancel_running(row, "cancelled", [], "{}"),
            "fail": lambda: self.store.fail(row, error, "m"),
            "retry": lambda: retry(self.store, row, error, time.time() + LATER, "again"),
            "retry now": lambda: retry(self.store, row, error, None, "again"),
            "give back": lambda: self.store.give_back(row, "stopped"),
        }[how]()

    @precondition(lambda self: self.stale)
    @rule(number=PICK, how=st.sampled_from(["succeed", "cancelled", "fail", "retry", "give back"]))
    def end_too_late(self, number: int, how: str) -> None:
        with pytest.raises(LeaseLost):
            self.end_with(how, self.stale[number % len(self.stale)])

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def lose_worker(self, worker: str) -> None:
        taken = self.store.recover([worker], 2, 0.0, "")
        lost = [row for row in self.held.values() if row["worker_id"] == worker]
        assert sorted(taken) == sorted(row["id"] for row in lost)
        for row in lost:
            job = self.jobs[row["id"]]
            job.crashes += 1
            job.become(State.DELETED if job.cancelling else State.FAILED if job.crashes >= 2 else State.ENQUEUED)
            self.stale.append(self.held.pop(job.id))

    @rule(number=PICK)
    def cancel(self, number: int) -> None:
        job = self.pick(number)
        if job is None:
            return
        assert self.store.cancel([job.id], "cancelled") == ([job.id] if job.state in UNFINISHED else [])
        if job.state in WAITING:
            job.become(State.DELETED)
        elif job.state is State.PROCESSING:
            job.cancelling = True

    @rule(number=PICK)
    def requeue(self, number: int) -> None:
        job = self.pick(number)
        if job is None:
            return
        if job.state not in (State.FAILED, State.DELETED):
            with pytest.raises(UnexpectedState):
                self.store.requeue([job.id], True, strict=True)
            return
        self.store.requeue([job.id], True, strict=True)
        job.attempt = job.crashes = 0
        job.become(State.ENQUEUED)

    @rule(number=PICK)
    def promote(self, number: int) -> None:
        job = self.pick(number, State.SCHEDULED)
        if job is None:
            return
        table = self.store.tables.job
        with self.store.db.write() as conn:
            conn.execute(table.update().where(table.c.id == job.id).values(run_at=1.0))
        assert self.store.promote_due(True) == 1
        job.become(State.ENQUEUED)

    @rule(number=PICK, queue=QUEUES, priority=st.integers(-1, 1))
    def edit(self, number: int, queue: str, priority: int) -> None:
        job = self.pick(number)
        if job is None:
            return
        if job.state not in WAITING:
            with pytest.raises(UnexpectedState):
                self.store.edit(job.id, True, {"queue": queue}, None, None, None)
            return
        self.store.edit(job.id, True, {"queue": queue, "priority": priority}, None, None, None)
        job.queue, job.priority = queue, priority

    @rule(number=PICK, other=PICK, where=st.sampled_from(["front", "back", "before", "after"]))
    def move(self, number: int, other: int, where: str) -> None:
        job, beside = self.pick(number, State.ENQUEUED), self.pick(other, State.ENQUEUED)
        if job is None or beside is None:
            return
        before = [row.id for row in self.store.line(job.queue)]
        if where in ("before", "after") and beside.queue != job.queue:
            with pytest.raises(UnexpectedState):
                self.store.move(job.id, **{where: beside.id})
            return
        if where in ("front", "back"):
            self.store.move(job.id, to=where)
        else:
            self.store.move(job.id, **{where: beside.id})
        if job.id != beside.id or where in ("front", "back"):
            before.remove(job.id)
            at = {"front": 0, "back": len(before)}.get(where)
            before.insert(before.index(beside.id) + (where == "after") if at is None else at, job.id)
        assert [row.id for row in self.store.line(job.queue)] == before

    @rule(number=PICK)
    def bookmark(self, number: int) -> None:
        job = self.pick(number)
        if job is not None:
            assert self.store.bookmark([job.id]) == 1
            job.bookmarked = True

    @rule(number=PICK)
    def remove(self, number: int) -> None:
        job = self.pick(number)
        if job is None:
            return
        assert self.store.remove([job.id]) == (job.state in FINISHED)
        if job.state in FINISHED:
            del self.jobs[job.id]

    @rule()
    def expire(self) -> None:
        table = self.store.tables.job
        with self.store.db.write() as conn:
            conn.execute(table.update().where(table.c.expires_at.is_not(None)).values(expires_at=1.0))
        gone = [job.id for job in self.jobs.values() if job.state in EXPIRING and not job.bookmarked]
        assert self.store.expire() == len(gone)
        for job_id in gone:
            del self.jobs[job_id]

    @invariant()
    def rows_are_as_modelled(self) -> None:
        rows = {row["id"]: row for row in self.store.jobs(self.store.ids(Filter()))}
        assert rows.keys() == self.jobs.keys()
        for job in self.jobs.values():
            row = rows[job.id]
            assert (row["state"], row["attempt"], row["crashes"], row["queue"], row["priority"], bool(row["bookmarked"])) == (
                job.state, job.attempt, job.crashes, job.queue, job.priority, job.bookmarked,
            )  # fmt: skip
            assert (row["cancel_at"] is not None) == job.cancelling or job.state is not State.PROCESSING
            assert (row["finished_at"] is not None) == (job.state in FINISHED)
            assert (row["expires_at"] is not None) == (job.state in EXPIRING)
            assert (row["worker_id"] is not None) == (job.state is State.PROCESSING)

    @invariant()
    def histories_are_allowed_walks(self) -> None:
        for job in list(self.jobs.values())[-3:]:
            walked = [State(row["state"]) for row in self.store.history(job.id)]
            assert walked == job.history
            for before, after in zip([None, *walked], walked, strict=False):
                assert after in TRANSITIONS[before] or (before, after) == (State.FAILED, State.SCHEDULED)

    @invariant()
    def counters_are_a_recount(self) -> None:
        assert_counted(self.store)
        expected: dict[tuple[str, str], int] = {}
        for job in self.jobs.values():
            expected[job.queue, job.state.value] = expected.get((job.queue, job.state.value), 0) + 1
        assert recount(self.store) == expected

    @invariant()
    def the_log_has_no_gap(self) -> None:
        found = [row["seq"] for row in self.store.events_after(0, 10_000)]
        assert found == list(range(1, self.store.last_seq() + 1))

    @invariant()
    def higher_priorities_are_first_where_nobody_moved(self) -> None:
        keys = [row.order_key for queue in ("default", "slow") for row in self.store.line(queue)]
        assert len(set(keys)) == len(keys)


def test_any_sequence_of_verbs_leaves_the_queue_as_its_model(database: Database, database_kind: str) -> None:
    Lifecycle.store = Store(database, 30 * 86400.0)
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=EXAMPLES[database_kind],
            stateful_step_count=STEPS,
            derandomize=bool(os.environ.get("CI")),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_state_can_be_reached_and_left_as_the_contract_says() -> None:
    arrows = {(before, after) for before, targets in TRANSITIONS.items() if before for after in targets}
    assert arrows == {
        (State.SCHEDULED, State.ENQUEUED), (State.SCHEDULED, State.DELETED),
        (State.AWAITING, State.ENQUEUED), (State.AWAITING, State.DELETED),
        (State.ENQUEUED, State.PROCESSING), (State.ENQUEUED, State.SCHEDULED), (State.ENQUEUED, State.DELETED),
        (State.PROCESSING, State.SUCCEEDED), (State.PROCESSING, State.FAILED), (State.PROCESSING, State.SCHEDULED),
        (State.PROCESSING, State.ENQUEUED), (State.PROCESSING, State.DELETED),
        (State.FAILED, State.ENQUEUED), (State.FAILED, State.DELETED), (State.DELETED, State.ENQUEUED),
    }  # fmt: skip
