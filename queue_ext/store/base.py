"""What every part of the store shares: transactions that are tried again, and the statements that must stay quick."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import bindparam, exists, func, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..filters import Filters
from ..models import State
from .change import Change, Row
from .database import Database, Tables, is_conflict, storage_errors
from .statistics import Statistics

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Settle = Callable[[], None]

CONFLICT_RETRIES = 12  # tries of a transaction that met another one


class Statements:
    """The hot statements, by name, so that a test can ask the database for their plan."""

    def __init__(self, tables: Tables) -> None:
        job = tables.job
        waiting = (job.c.queue == bindparam("queue"), job.c.state == State.ENQUEUED.value)
        other = job.alias()
        busy = exists().where(other.c.concurrency_key == job.c.concurrency_key, other.c.state == State.PROCESSING.value)
        free = or_(job.c.concurrency_key.is_(None), ~busy)
        self.first = (
            select(job)
            .where(*waiting, free)
            .order_by(job.c.order_key)
            .limit(1)
            .with_for_update(skip_locked=True, of=job)
        )
        self.rank = select(func.count(), func.coalesce(func.sum(job.c.work), 0.0)).where(
            *waiting, job.c.order_key < bindparam("high")
        )
        self.stretch = (
            select(job.c.order_key, job.c.work)
            .where(*waiting, job.c.order_key >= bindparam("low"), job.c.order_key < bindparam("high"))
            .order_by(job.c.order_key)
        )
        self.line = select(job.c.id, job.c.owner, job.c.order_key, job.c.work).where(*waiting).order_by(job.c.order_key)
        self.line_page = (
            select(job).where(*waiting, job.c.order_key > bindparam("low")).order_by(job.c.order_key).limit(50)
        )


class StoreBase:
    """Holds the database; the verbs are in the classes that build on it."""

    def __init__(self, db: Database, retention: float) -> None:
        self.db = db
        self.tables = db.tables
        self.statements = Statements(db.tables)
        self.retention = retention
        self.filters = Filters()
        self.filters.add(Statistics(), order=900)
        self._known_queues: set[str] = set()  # a lane is made once; where it was deleted meanwhile, its jobs still run
        self.on_commit: Callable[[Sequence[Row]], None] = lambda _events: None

    @contextmanager
    def changing(self, settled: bool = True) -> Iterator[Change]:
        """One transaction with its Change; what it collected is written at the end of the block. Unless it is to be
        ``settled``, it is told of, and on the disk for certain, when ``settle`` has returned."""
        with self.db.write(settled) as conn:
            change = Change(conn, self.db, self.retention, self.filters)
            yield change
            self._release_children(change)
            change.flush()
        self._known_queues |= change.lanes
        if settled:
            self._announce(change)

    def settle(self, change: Change) -> None:
        """Wait until the disk has the change, and tell of it. Raises StorageUnavailable."""
        try:
            self.db.settle()
        finally:
            self._announce(change)

    def _announce(self, change: Change) -> None:
        if change.events:
            self.on_commit(change.events)

    def _release_children(self, change: Change) -> None:
        """Let jobs go on that waited for those that ended in this change; see ``store.family``."""

    def _counted_jobs(self, change: Change, states: Sequence[State]) -> int:
        """How many jobs are in one of these states, all lanes together."""

        def build() -> Any:
            counter = self.tables.counter
            kinds = [counter.c.kind == state.value for state in states]
            return select(func.coalesce(func.sum(counter.c.value), 0)).where(or_(*kinds), counter.c.bucket == 0)

        return int(change.run(("counted", *states), build, {}).scalar_one())

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that changes no job's state and leaves no event."""
        with storage_errors(), self.db.write() as conn:
            yield conn


def transactional(verb: "Callable[Concatenate[Any, Change, P], R]") -> "Callable[Concatenate[Any, P], R]":
    """Run a verb of the store in one transaction, handing it the Change, and again when it met another transaction."""

    @functools.wraps(verb)
    def run(self: StoreBase, *args: P.args, **kwargs: P.kwargs) -> R:
        def once() -> R:
            with self.changing() as change:
                return verb(self, change, *args, **kwargs)

        return _until_done(once)

    return run


def unsettled(verb: "Callable[Concatenate[Any, Change, P], R]") -> "Callable[Concatenate[Any, P], tuple[R, Settle]]":
    """As ``transactional``, without waiting for the disk, and telling nobody: what is returned beside the verb's own does
    both. It is to be called once, from whatever thread, and raises StorageUnavailable."""

    @functools.wraps(verb)
    def run(self: StoreBase, *args: P.args, **kwargs: P.kwargs) -> "tuple[R, Settle]":
        def once() -> "tuple[R, Settle]":
            with self.changing(settled=False) as change:
                found = verb(self, change, *args, **kwargs)
            return found, functools.partial(self.settle, change)

        return _until_done(once)

    return run


def _until_done(once: Callable[[], T]) -> T:
    with storage_errors():
        try:
            return once()
        except DBAPIError as error:
            if not is_conflict(error):
                raise
        return _patient(once)


_patient = Retrying(
    retry=retry_if_exception(is_conflict),
    stop=stop_after_attempt(CONFLICT_RETRIES),
    wait=wait_random_exponential(multiplier=0.01, max=0.5),
    reraise=True,
)
