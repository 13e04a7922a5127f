"""A store with many jobs in it, made in bulk: what counts here is what stands in the tables, not how it came there."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from queue_ext import order
from queue_ext.ids import new_id
from queue_ext.migrations import prepare
from queue_ext.store import Database, Limits, NewJob, Store

DAY = 86400.0
LIMITS = Limits(10_000_000)
CHUNK = 5_000


def new_job(owner: str = "bench") -> NewJob:
    payload = '{"prompt": "a lighthouse at dusk", "steps": 20, "width": 512, "height": 512}'
    return NewJob(
        id=new_id(),
        owner=owner,
        queue="default",
        task="txt2img",
        payload=payload,
        prompt="a lighthouse at dusk",
        work=5.2,
    )


@contextmanager
def empty_store() -> Iterator[Store]:
    """A store on a SQLite file of its own, with the product's settings."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        db = Database(f"sqlite:///{Path(folder).as_posix()}/queue.sqlite3", "queue_")
        prepare(db)
        store = Store(db, 30 * DAY)
        store.put_queue("default", {})
        add_worker(store)
        yield store
        db.close()


def add_worker(store: Store) -> None:
    now = time.time()
    row = {"id": "bench", "host": "bench", "pid": 1, "born": now, "pipeline": "none", "queues": "[]", "started_at": now}
    store.add_worker({**row, "heartbeat_at": now, "lease_s": 1e6})


def fill(store: Store, waiting: int, finished: int, owners: int = 20) -> None:
    """Add jobs as if they had come and gone long ago."""
    rows = [_row(number, waiting, owners) for number in range(waiting + finished)]
    tables = store.tables
    with store.writing() as conn:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            conn.execute(insert(tables.job), part)
            conn.execute(insert(tables.job_body), [{"job_id": row["id"], "payload": "{}"} for row in part])
            history = [
                {"job_id": row["id"], "state": row["state"], "at": row["created_at"], "data": "{}"} for row in part
            ]
            conn.execute(insert(tables.job_history), history)
        counts = [{"kind": "enqueued", "queue": "default", "bucket": 0, "value": waiting}]
        counts.append({"kind": "succeeded", "queue": "default", "bucket": 0, "value": finished})
        conn.execute(insert(tables.counter), counts)


def _row(number: int, waiting: int, owners: int) -> dict[str, Any]:
    now, job_id = time.time(), new_id()
    ends = number >= waiting
    return {
        "id": job_id, "queue": "default", "task": "txt2img", "name": None, "prompt": f"picture {number}",
        "owner": f"owner-{number % owners}", "state": "succeeded" if ends else "enqueued", "reason": None, "priority": 0,
        "order_key": order.key(0, number // owners, job_id), "work": 5.2, "labels": "[]", "summary": "{}", "created_at": now,
        "run_at": None, "started_at": now if ends else None, "finished_at": now + 2 if ends else None,
        "expires_at": now + 30 * DAY if ends else None, "attempt": 1 if ends else 0, "retry_attempts": None,
        "retry_delay_s": None, "timeout_s": None, "lease": 1 if ends else 0, "lease_until": None, "worker_id": None,
        "crashes": 0, "cancel_at": None, "bookmarked": False, "error": None,
    }  # fmt: skip
