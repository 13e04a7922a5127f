"""What time costs: many jobs due at once, many schedules, and how soon a child starts after its parent."""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bench.filling import DAY, LIMITS, new_job
from bench.idle import BODY, ME, Stopwatch
from bench.serving import free_port, posting, running
from bench.table import Figure, median, ms, percentile, show
from queue_ext.app import QueueApp
from queue_ext.ids import new_id
from queue_ext.settings import Settings
from queue_ext.store import Database, Store

DUE = 10_000
SCHEDULES = 10_000
CHAIN = 100
SINGLY = 40  # schedules that are due one after the other
POSTED = json.dumps(BODY)


@contextmanager
def watched() -> Iterator[tuple[str, Store]]:
    """A server that runs no job, and its database seen from here."""
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        arguments = ["-m", "queue_ext", "serve", "--no-page", "--port", str(port), "--data-dir", folder]
        arguments += ["--queues", "nobody", "--max-waiting", "1000000"]
        with running(arguments, port, "/queue-ext/v1/health") as base:
            db = Database(f"sqlite:///{(Path(folder) / 'queue.sqlite3').as_posix()}", "queue_")
            yield base, Store(db, DAY)
            db.close()


def promoting() -> tuple[float, list[float], list[float]]:
    """Seconds until DUE delayed jobs have entered their line, and milliseconds of POST /jobs before and meanwhile."""
    with watched() as (base, store):
        later, job = time.time() + 3600, store.tables.job
        for _ in range(DUE // 1000):
            store.add_jobs([replace(new_job(), run_at=later) for _ in range(1000)], LIMITS, True)
        due = time.time() + 4
        with store.writing() as conn:
            conn.execute(job.update().values(run_at=due))
        store.add_jobs([replace(new_job(), run_at=due)], LIMITS, True)  # which the server's clock hears of
        taken: list[tuple[float, float]] = []
        done = threading.Event()
        thread = threading.Thread(target=_post, args=(f"{base}/queue-ext/v1/jobs", taken, done))
        thread.start()
        _wait(lambda: store.counts().get(("default", "scheduled")) == 0)
        through = time.time()
        done.set()
        thread.join()
    return through - due, [ms for at, ms in taken if at < due - 0.2], [ms for at, ms in taken if due <= at <= through]


def _post(url: str, taken: list[tuple[float, float]], done: threading.Event) -> None:
    """One request after the other, with a breath between them."""
    for each in posting(url, POSTED):
        taken.append(each)
        if done.is_set():
            return
        time.sleep(0.002)


def firing() -> tuple[float, list[float], float]:
    """Seconds from a start until SCHEDULES schedules are watched; how late, in milliseconds, those came that were due
    one after the other; and the seconds until all came that were due in one moment."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        app = QueueApp(Settings(data_dir=Path(folder), queues=("nobody",), max_waiting=1_000_000), Stopwatch())
        app.open()
        now = time.time()
        row: dict[str, Any] = {
            "owner": "bench", "cron": "0 0 1 1 *", "timezone": "UTC", "template": json.dumps(BODY), "enabled": True, "reason": None,
            "misfire": "once", "overlap": "allow", "seed": "fixed", "jitter_s": 0.0, "end_at": None, "max_runs": None, "runs": 0,
            "last_run_at": None, "created_at": 0.0, "updated_at": 0.0,
        }  # fmt: skip
        rows = [
            {**row, "id": new_id(), "name": f"schedule {n}", "next_run_at": now + (3 + n * 0.25 if n < SINGLY else 14)}
            for n in range(SCHEDULES)
        ]
        with app.store.writing() as conn:
            conn.execute(app.store.tables.schedule.insert(), rows)
        began = time.perf_counter()
        app.start()
        assert app.store.next_schedule_at() is not None
        loaded = time.perf_counter() - began
        _wait(lambda: app.store.counts().get(("default", "enqueued")) == SCHEDULES)
        made = _created(app.store)
        app.stop()
    late = [(made[row["id"]] - row["next_run_at"]) * 1000 for row in rows]
    return loaded, late[:SINGLY], max(late) / 1000


def _created(store: Store) -> dict[str, float]:
    """When each schedule's job was made."""
    job = store.tables.job
    with store.db.read() as conn:
        return {row.schedule_id: row.created_at for row in conn.execute(select(job.c.schedule_id, job.c.created_at))}


def following() -> list[float]:
    """Milliseconds from the end of a parent to the start of its child."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        app = QueueApp(Settings(data_dir=Path(folder)), watch)
        app.start()
        chain = [{**BODY, **({"after": [number - 1]} if number else {})} for number in range(CHAIN)]
        app.queue.enqueue(ME, chain, batch=True)
        _wait(lambda: len(watch.ended) >= CHAIN)
        app.stop()
    return [(began - ended) * 1000 for ended, began in zip(watch.ended, watch.began[1:], strict=False)]


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what was awaited did not come")
        time.sleep(0.002)


def main() -> list[Figure]:
    through, before, meanwhile = promoting()
    loaded, late, all_late = firing()
    gaps = following()
    return [
        Figure("10,000 jobs due at once enter their line", f"{through:.2f} s", "", "", "≤ 2 s"),
        Figure(
            "POST /jobs meanwhile, p99",
            ms(percentile(meanwhile, 0.99)),
            f"{ms(percentile(before, 0.99))} before",
            f"{percentile(meanwhile, 0.99) / percentile(before, 0.99):.1f}",
            "≤ 50 ms",
        ),
        Figure("starting with 10,000 schedules", f"{loaded:.2f} s", "", "", "≤ 1 s"),
        Figure(
            "a schedule of 10,000 fires after its second", ms(median(late)), f"{ms(max(late))} at worst", "", "≤ 1 s"
        ),
        Figure("10,000 schedules due in one moment have fired", f"{all_late:.1f} s", "", "", ""),
        Figure(
            "a child starts after its parent", ms(median(gaps)), f"{ms(percentile(gaps, 0.99))} at p99", "", "≤ 10 ms"
        ),
    ]


if __name__ == "__main__":
    show(main())
