"""Every database is asked how it would carry out what the verbs of the store say, in a table with 10,000 waiting and
20,000 finished jobs: it may neither read the whole table of jobs nor sort what is not returned."""

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, text

from queue_ext.ids import new_id
from queue_ext.models import State
from queue_ext.order import key
from queue_ext.store import Database, Filter, Limits, Store

from .support import new_job, retry, until

WAITING = 10_000
FINISHED = 20_000
NOW = time.time()
FAR = 86400.0
ALL_SEEN = "SELECT relallvisible >= 0.9 * relpages FROM pg_class WHERE relname = :name"
SMALL = 200  # rows, the largest page: so few may be sorted rather than found in order


def rows() -> Iterator[dict[str, Any]]:
    for number in range(FINISHED + WAITING):
        waits = number >= FINISHED
        ended = "failed" if number % 10 == 0 else "deleted" if number % 10 == 1 else "succeeded"
        state = ("scheduled" if number % 100 == 0 else "enqueued") if waits else ended
        job_id = new_id()
        yield {
            "id": job_id, "queue": ("default", "slow", "night")[number % 3], "task": "txt2img", "prompt": "a lighthouse",
            "owner": f"owner{7 if number % 2 else number % 200}", "state": state, "priority": 0, "order_key": key(0, number // 200, job_id),
            "work": 5.0, "labels": "[]", "summary": "{}", "created_at": NOW - FAR, "attempt": 0 if waits else 1,
            "run_at": NOW + FAR + number if state == "scheduled" else None, "lease": 0, "crashes": 0,
            "started_at": None if waits else NOW - 9, "finished_at": None if waits else NOW - 1,
            "expires_at": NOW + FAR + number if ended != "failed" and not waits else None, "bookmarked": number % 500 == 0,
        }  # fmt: skip


def fill(db: Database) -> None:
    counts: dict[tuple[str, str], int] = {}
    made = list(rows())
    for row in made:
        counts[row["queue"], row["state"]] = counts.get((row["queue"], row["state"]), 0) + 1
    counted = [{"kind": state, "queue": queue, "bucket": 0, "value": value} for (queue, state), value in counts.items()]
    with db.write() as conn:
        for start in range(0, len(made), 2000):
            conn.execute(db.tables.job.insert(), made[start : start + 2000])
        conn.execute(db.tables.job_body.insert(), [{"job_id": row["id"], "payload": "{}"} for row in made[FINISHED:]])
        conn.execute(db.tables.counter.insert(), counted)
        conn.execute(
            db.tables.queue.insert(),
            [{"name": name, "paused": False, "created_at": NOW} for name in ("default", "slow", "night")],
        )
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        verb = {"sqlite": "ANALYZE", "postgresql": "VACUUM ANALYZE"}.get(db.dialect, "ANALYZE TABLE")

        def tidied() -> bool:
            conn.execute(text(f"{verb} {db.tables.job.name}"))
            return db.dialect != "postgresql" or conn.execute(text(ALL_SEEN), {"name": db.tables.job.name}).scalar_one()

        until(tidied, 100, "nobody looks at the server as it was before, which keeps PostgreSQL from its indexes")


class Recorder:
    """The statements about jobs a verb makes, as the driver gets them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.about_jobs = re.compile(rf"\b{db.tables.job.name}\b")
        self.found: list[tuple[str, Any]] = []

    def __call__(self, _conn: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if self.about_jobs.search(statement) and not statement.lstrip().upper().startswith("INSERT"):
            self.found.append((statement, values[0] if many else values))

    def during(self, verb: Callable[[], Any]) -> list[tuple[str, Any]]:
        self.found = []
        event.listen(self.db.engine, "before_cursor_execute", self)
        try:
            with pytest.MonkeyPatch.context() as patch:
                if self.db.dialect == "sqlite":  # hot statements pass SQLAlchemy by there
                    patch.setattr(self.db.hot, "execute", partial(self._noted, self.db.hot.execute))
                verb()
        finally:
            event.remove(self.db.engine, "before_cursor_execute", self)
        return self.found

    def _noted(self, execute: Callable[..., Any], conn: Any, statement: str, given: list[Any]) -> Any:
        self(conn, None, statement, given, None, True)
        return execute(conn, statement, given)


def faults(db: Database, statement: str, values: Any) -> list[str]:
    with db.engine.connect() as conn:
        return {"sqlite": _sqlite_faults, "postgresql": _postgres_faults}.get(db.dialect, _mariadb_faults)(
            conn, db.tables.job.name, statement, values
        )


def _sqlite_faults(conn: Any, job: str, statement: str, values: Any) -> list[str]:
    plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    return [step for step in plan if re.match(rf"SCAN {job}\b", step) or "USE TEMP B-TREE" in step]


def _postgres_faults(conn: Any, job: str, statement: str, values: Any) -> list[str]:
    found = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    plan = json.loads(found) if isinstance(found, str) else found

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from nodes(child)

    return [
        f"{node['Node Type']} on {node.get('Relation Name')}"
        for node in nodes(plan[0]["Plan"])
        if (node["Node Type"] == "Seq Scan" and node["Relation Name"] == job)
        or ("Sort" in node["Node Type"] and node["Plans"][0]["Plan Rows"] > SMALL)
    ]


def _mariadb_faults(conn: Any, job: str, statement: str, values: Any) -> list[str]:
    plan = conn.exec_driver_sql(f"EXPLAIN {statement}", values).mappings().all()
    return [
        f"{row['table']}: {row['type']} {row['key']} {row['Extra']}"
        for row in plan
        if (row["table"] == job and row["type"] == "ALL")
        or ("Using filesort" in (row["Extra"] or "") and int(row["rows"]) > SMALL)
    ]


def verbs(store: Store) -> dict[str, Callable[[], Any]]:
    ids = [row.id for row in store.line("default")]
    middle, late = ids[len(ids) // 2], ids[-10]
    place = store.job(middle)["order_key"]
    held: list[Any] = []

    def claim() -> Any:
        held.append(store.claim("w1", (), 60.0))
        return held[-1]

    def page(newest: bool = True, after: str | None = middle, **which: Any) -> Callable[[], Any]:
        return lambda: store.page(Filter(**which), newest, after, 50)

    error = {"type": "E", "message": "m", "attempt": 1}
    return {
        "add": lambda: store.add_jobs([new_job("owner7")], Limits(10**6), True),
        "add for a newcomer": lambda: store.add_jobs([new_job("newcomer", priority=3)], Limits(10**6), True),
        "add under a limit": lambda: store.add_jobs([new_job("owner7")], Limits(10**6, 10**6), True),
        "claim": claim,
        "finish": lambda: store.succeed(held.pop(), [], "{}"),
        "fail": lambda: store.fail(claim() and held.pop(), error, "m"),
        "retry": lambda: retry(store, claim() and held.pop(), error, NOW + FAR, "m"),
        "give back": lambda: store.give_back(claim() and held.pop(), "m"),
        "renew": lambda: store.renew(middle, 1, NOW),
        "cancel_wanted": lambda: store.cancel_wanted(middle, 1),
        "recover": lambda: store.recover(["dead"], 2, NOW - FAR, "w1"),
        "nobody lost": lambda: store.recover([], 2, NOW - FAR, "w1"),
        "nobody late": store.give_up_waiting,
        "due": lambda: store.promote_due(True),
        "next due": store.next_due,
        "expiry": store.expire,
        "shorter history": lambda: store.shorten_history(0, 50),
        "failures": lambda: store.failures(limit=50),
        "an owner's failures": lambda: store.failures("owner7", 50),
        "newest of a state": page(states=(State.SUCCEEDED,)),
        "newest of a state, first page": page(after=None, states=(State.FAILED,)),
        "newest of all states": page(states=tuple(State)),
        "newest of nobody in particular": page(),
        "oldest of a state": page(newest=False, states=(State.ENQUEUED,)),
        "an owner's": page(viewer="owner7", states=(State.SUCCEEDED,)),
        "an owner's, any state": page(viewer="owner7", states=tuple(State)),
        "an owner's, first page": page(after=None, owner="owner7", states=(State.ENQUEUED,)),
        "unfinished": lambda: store.unfinished("owner7", 1000),
        "line page": lambda: store.line_page(Filter(), ("default", place), 50),
        "line page of a lane": lambda: store.line_page(Filter(queue="slow"), None, 50),
        "line": lambda: store.line("default"),
        "rank": lambda: store.ranks(store.jobs([middle])),
        "ranks": lambda: store.ranks(store.jobs(ids[1000:1050])),
        "move to front": lambda: store.move(late, to="front"),
        "move to back": lambda: store.move(late, to="back"),
        "move before": lambda: store.move(late, before=middle),
        "move after": lambda: store.move(late, after=middle),
        "put off": lambda: store.edit(late, True, {"run_at": NOW + FAR}, None, None, None),
        "another priority": lambda: store.edit(ids[-11], True, {"priority": 2}, None, None, None),
        "cancel": lambda: store.cancel([ids[-12]], "m"),
        "requeue": lambda: store.requeue([ids[-12]], True),
        "bookmark": lambda: store.bookmark([ids[-13]]),
        "remove": lambda: store.remove([ids[-12]]),
        "delete a lane": lambda: _refused(lambda: store.delete_queue("slow")),
        "surroundings": store.surroundings,
        "waiting work": lambda: store.waiting_work("slow"),
        "efforts": lambda: store.efforts("slow"),
        "set work": lambda: store.set_work([(ids[-14], 2.0), (ids[-15], 3.0)]),
        "recent times": store.recent_times,
        "total of a state": lambda: store.total(Filter(states=(State.SUCCEEDED,))),
    }  # fmt: skip


def _refused(verb: Callable[[], Any]) -> None:
    with pytest.raises(Exception, match="still holds"):
        verb()


@pytest.mark.timeout(180)
def test_no_verb_reads_or_sorts_more_than_it_returns(database: Database) -> None:
    fill(database)
    store = Store(database, 30 * FAR)
    recorder = Recorder(database)
    wrong: list[str] = []
    for name, verb in verbs(store).items():
        for statement, values in recorder.during(verb):
            found = faults(database, statement, values)
            wrong += [f"{name}: {', '.join(found)}\n    {' '.join(statement.split())[-300:]}"] if found else []
    assert not wrong, "\n".join(wrong)


def test_the_named_statements_are_quick_too(database: Database) -> None:
    fill(database)
    store = Store(database, 30 * FAR)
    values = {"queue": "default", "low": "5000", "high": "5000~", "state": "succeeded", "owner": "owner7", "below": "~"}
    for name, statement in vars(store.statements).items():
        compiled = statement.compile(dialect=database.engine.dialect)
        bound = {bind: values.get(bind, compiled.params[bind]) for bind in compiled.params}
        given = tuple(bound[place] for place in compiled.positiontup) if compiled.positional else bound
        assert not faults(database, str(compiled), given), name
