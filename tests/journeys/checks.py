"""What must hold of a database whatever happened to its processes."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from queue_ext.models import State
from queue_ext.store import Database, Store
from tests.support import assert_endings_counted


def store_in(folder: Path) -> Store:
    """The store of a server with this data folder, whether or not it runs."""
    return Store(Database(f"sqlite:///{(folder / 'queue.sqlite3').as_posix()}", "queue_"), 30 * 86400.0)


def counted(store: Store) -> dict[tuple[str, str], int]:
    """Jobs by queue and state, counted one by one."""
    job = store.tables.job
    with store.db.read() as conn:
        rows = conn.execute(select(job.c.queue, job.c.state, func.count()).group_by(job.c.queue, job.c.state)).all()
    return {(queue, state): count for queue, state, count in rows}


def check_counters(store: Store) -> None:
    """The counters say what counting says, and the log is numbered without a gap."""
    assert {key: count for key, count in store.counts().items() if count} == counted(store)
    event = store.tables.event
    with store.db.read() as conn:
        numbers = list(conn.execute(select(event.c.seq).order_by(event.c.seq)).scalars())
    assert numbers == list(range(numbers[0], store.last_seq() + 1))
    assert_endings_counted(store)


def check_history(job: dict[str, Any]) -> Counter[str]:
    """A job's history is a walk through its states that agrees with what the job says of itself; lost attempts by reason."""
    history = job["history"]
    states = [row["state"] for row in history]
    assert states[0] in (State.ENQUEUED, State.SCHEDULED, State.AWAITING)
    assert states[-1] == job["state"]
    assert states.count(State.SUCCEEDED) <= 1
    lost: Counter[str] = Counter()
    for row, following in pairwise(history):
        assert row["at"] <= following["at"]
        if row["state"] == State.PROCESSING:
            assert following["state"] != State.PROCESSING
            if following["state"] == State.ENQUEUED:
                lost["crash" if "lost" in following["reason"] else following["reason"]] += 1
    attempts = states.count(State.PROCESSING) - sum(count for reason, count in lost.items() if reason != "crash")
    assert job["attempt"] == attempts, history
    return lost
