"""The connection to a database: engine, read and write transactions, and what its errors mean."""

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import MetaData, Table, create_engine, event
from sqlalchemy.engine import URL, Connection, CursorResult, Dialect, Engine, IteratorResult, make_url
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import quoted_name

from ..errors import InvalidSetting, StorageUnavailable
from ..models import TABLES

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 5.0  # seconds a writer waits for another process before the caller is told to come back
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "standalone"}
NO_KEYS = SimpleResultMetaData(())
REASONS = {  # what drivers say, and what a stranger is told
    "disk is full": "the disk is full",
    "disk I/O error": "the disk has an I/O error",
    "readonly database": "a readonly database",
    "database is locked": "the database is locked",
    "unable to open database file": "unable to open database file",
}
CONFLICTS = ("deadlock", "could not serialize", "lock wait timeout", "record has changed since last read")


class Tables:
    """The tables of ``models`` under a prefix: ``tables.job`` is ``<prefix>job``."""

    job: Table
    job_parent: Table
    schedule: Table
    usage: Table
    job_body: Table
    job_file: Table
    job_label: Table
    job_history: Table
    event: Table
    queue: Table
    turn: Table
    worker: Table
    counter: Table
    upload: Table
    idempotency: Table
    delivery: Table
    measurement: Table
    secret: Table

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.metadata = MetaData()
        for model in TABLES:
            plain: Table = model.__table__  # type: ignore[attr-defined]
            setattr(self, plain.name, plain.to_metadata(self.metadata, name=prefix + plain.name))
        for table in self.metadata.tables.values():
            for index in table.indexes:
                index.name = quoted_name(f"{prefix}{index.name}", quote=None)


class Turn:
    """One thread that waits for its turn; ``refused`` says why it will not get one."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.refused: str | None = None


class FairLock:
    """A lock that is given to waiting threads in the order they came, so that none of them waits for ever."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._held = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = Turn()
            self._waiting.append(turn)
        turn.called.wait()
        if turn.refused:
            raise StorageUnavailable(reason=turn.refused)

    def __exit__(self, *_exc: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().called.set()
            else:
                self._held = False

    def refuse(self, reason: str) -> None:
        """Send away everybody who waits: what the holder met they would meet too, one after the other."""
        with self._guard:
            for turn in self._waiting:
                turn.refused = reason
                turn.called.set()
            self._waiting.clear()


class NoLock:
    """For databases whose own locks let writers work side by side."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_exc: object) -> None: ...

    def refuse(self, reason: str) -> None: ...


class Answer(IteratorResult[Any]):
    """What a statement gave: its rows, as SQLAlchemy's results hand them out, or how many it changed."""

    def __init__(self, keys: SimpleResultMetaData, rows: Sequence[Any], rowcount: int) -> None:
        super().__init__(keys, iter(rows))
        self.rowcount = rowcount


class Hot:
    """Statements of the hot path, compiled once: what SQLAlchemy does for each execution costs more than SQLite.

    To SQLite they go by its own cursor as well, which halves what the processor does for a change. Elsewhere, where
    connections break, SQLAlchemy executes them, and sees to that.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._driver_error: type[Exception] = dialect.loaded_dbapi.Error
        self._compiled: dict[Any, tuple[str, list[str] | None, dict[str, Any]]] = {}
        self._keys: dict[str, SimpleResultMetaData] = {}

    def __call__(
        self,
        conn: Connection,
        name: Any,
        build: Callable[[], Any],
        values: "Mapping[str, Any] | Sequence[Mapping[str, Any]]",
    ) -> "CursorResult[Any] | Answer":
        """Execute the statement ``build`` makes (asked once for each ``name``); ``values`` of one row or of many.

        Rows come as the driver gives them: a boolean may be 0 or 1.
        """
        found = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = self._compile(build())
        sql, places, constants = found
        rows = [values] if isinstance(values, Mapping) else values
        given: list[Any] = [{**constants, **row} for row in rows]
        if places is not None:
            given = [tuple(row[place] for place in places) for row in given]
        return self.execute(conn, sql, given)

    def execute(self, conn: Connection, sql: str, given: list[Any]) -> "CursorResult[Any] | Answer":
        """As the driver wants it: the text, and the values of one row or of many."""
        if self._dialect.name != "sqlite":
            return conn.exec_driver_sql(sql, given[0] if len(given) == 1 else given)
        cursor = conn.connection.cursor()
        try:
            if len(given) == 1:
                cursor.execute(sql, given[0])
            else:
                cursor.executemany(sql, given)
            if cursor.description is None:
                return Answer(NO_KEYS, (), cursor.rowcount)
            return Answer(self._columns(sql, cursor), cursor.fetchall(), -1)
        except self._driver_error as error:
            raise DBAPIError.instance(sql, given, error, self._driver_error) from error
        finally:
            cursor.close()

    def _columns(self, sql: str, cursor: Any) -> SimpleResultMetaData:
        found = self._keys.get(sql)
        if found is None:
            found = self._keys[sql] = SimpleResultMetaData([column[0] for column in cursor.description])
        return found

    def _compile(self, statement: Any) -> tuple[str, list[str] | None, dict[str, Any]]:
        compiled = statement.compile(dialect=self._dialect)
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return str(compiled), list(compiled.positiontup) if compiled.positional else None, constants


class Database:
    """One engine. ``read()`` and ``write()`` give a connection; database errors leave as StorageUnavailable."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = _with_driver(url)
        self.dialect = self.url.get_backend_name()
        self.tables = Tables(prefix)
        self.engine = _engine(self.url, self.dialect)
        self._hasty: Connection | None = None  # for what need not be settled at once
        self.hot = Hot(self.engine.dialect)
        self._turns = FairLock() if self.dialect == "sqlite" else NoLock()
        self._file: tuple[int, int] | None = None  # device and inode of the SQLite file

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with storage_errors(), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self, settled: bool = True) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or rolled back by whatever leaves it. Unless it is to
        be ``settled``, SQLite does not wait for the disk: it survives the death of the process, and that of the machine
        when ``settle`` has returned."""
        with self._turns, self._connection(settled) as conn:
            if self.dialect == "sqlite":
                self._begin(conn)
            try:
                yield conn
                conn.commit()
            except BaseException:
                conn.rollback()
                raise

    def _connection(self, settled: bool) -> AbstractContextManager[Connection]:
        """The file is looked at before: one that is missing is not to be made anew by opening it."""
        if not self.settles_at_once:
            self._check_file()
            if not settled:
                return self._kept()
        return self.engine.connect()

    @contextmanager
    def _kept(self) -> Iterator[Connection]:
        """A connection that does not wait for the disk. It stays open, since who uses it does so for every job, but not
        after trouble: nobody knows how that left it."""
        if self._hasty is None:
            self._hasty = _sqlite_engine(self.url, "NORMAL").connect()
        try:
            yield self._hasty
        except BaseException:
            self._close_kept()
            raise

    def _close_kept(self) -> None:
        kept, self._hasty = self._hasty, None
        if kept is not None:
            kept.close()
            kept.engine.dispose()

    @property
    def settles_at_once(self) -> bool:
        """Whether this database waits for its disk at every commit, whatever it is asked for."""
        return self.dialect != "sqlite"

    def settle(self) -> None:
        """Wait until the disk has what was committed. Raises StorageUnavailable."""
        if self.settles_at_once:
            return
        try:
            with open(f"{self.url.database}-wal", "r+b") as log_:  # where it is gone, the database has taken it in
                os.fsync(log_.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageUnavailable(reason=f"the disk did not take the database: {error.strerror}") from error

    def _begin(self, conn: Connection) -> None:
        try:
            self.hot.execute(conn, "BEGIN IMMEDIATE", [()])
            conn.begin()  # for SQLAlchemy, which has not seen ours
        except DBAPIError as error:
            self._turns.refuse(_reason(error))
            raise

    def _check_file(self) -> None:
        """SQLite goes on writing into a file that was moved or deleted, and nobody would find it again."""
        path = self.url.database
        if not path or path == ":memory:":
            return
        try:
            found = os.stat(path)
        except OSError:
            raise StorageUnavailable(reason="the database file is missing") from None
        if self._file not in (None, (found.st_dev, found.st_ino)):
            self._file = None
            self.close()  # the next transaction opens the file that lies there now
            raise StorageUnavailable(reason="the database file was replaced")
        self._file = (found.st_dev, found.st_ino)

    def close(self) -> None:
        self.engine.dispose()
        self._close_kept()


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a database driver raises into StorageUnavailable; the log keeps the whole story."""
    try:
        yield
    except DBAPIError as error:
        log.warning("the database refused: %s", error)
        raise StorageUnavailable(reason=_reason(error)) from error


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction met another one and may simply be tried again."""
    return isinstance(error, DBAPIError) and any(text in str(error.orig).lower() for text in CONFLICTS)


def _reason(error: DBAPIError) -> str:
    """One line a stranger may see: what the driver says, without the statement and its values."""
    text = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
    found = (said for known, said in REASONS.items() if known in text)
    return next(found, "the database is not reachable or refused the change")


def _with_driver(url: str) -> URL:
    parsed = make_url(url)
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _engine(url: URL, dialect: str) -> Engine:
    try:
        if dialect == "sqlite":
            return _sqlite_engine(url, "FULL")
        return create_engine(
            url,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=40,
            isolation_level="READ COMMITTED",
            json_serializer=json.dumps,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidSetting(
            name="database_url",
            value=url.render_as_string(hide_password=True),
            allowed=f"its driver is missing, pip install 'queue-ext[{EXTRAS.get(dialect, dialect)}]' adds it ({error})",
        ) from error


def _sqlite_engine(url: URL, synchronous: str) -> Engine:
    """``synchronous``: FULL waits for the disk at every commit, NORMAL only where the log is taken into the database."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=5,
        max_overflow=60,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA cache_size=-16000")
        cursor.close()

    return engine
