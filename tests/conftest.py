"""Fixtures: a database of each kind, a store on it, a whole queue, a server in a process of its own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import create_engine, text

from queue_ext.ids import new_id
from queue_ext.migrations import prepare, version_table
from queue_ext.store import Database, Store

from .chromium import chromium, missing

hypothesis.settings.register_profile("queue", deadline=None)  # a busy machine is no reason to fail
hypothesis.settings.load_profile("queue")

DAY = 86400.0
SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"),
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/test"),
}
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


def require(reason: str) -> None:
    """Skip what cannot run here; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser_arguments() -> list[str]:
    """Chromium's command-line options."""
    return []


@pytest.fixture(scope="module")  # while a Playwright is open, nobody else in this thread can run an event loop
def browser(browser_arguments: list[str]) -> Iterator[Any]:
    """Chromium."""
    if why := missing():
        require(why)
    with chromium(*browser_arguments) as found:
        yield found


def _answers(url: str) -> bool:
    try:
        engine = create_engine(url, connect_args={"connect_timeout": 3})
        with engine.connect() as conn:
            conn.execute(text("SELECT 1"))
        engine.dispose()
    except Exception:
        return False
    return True


@pytest.fixture(scope="session", params=["sqlite", "postgresql", "mariadb"])
def database_kind(request: pytest.FixtureRequest) -> str:
    kind = request.param
    if kind != "sqlite" and not _answers(SERVERS[kind]):
        require(f"no {kind} server answers at {SERVERS[kind]}")
    return kind


@pytest.fixture(scope="session")
def shared_database(database_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database of the kind for the whole session, under a prefix of its own."""
    url = (
        f"sqlite:///{tmp_path_factory.mktemp('db').as_posix()}/queue.sqlite3"
        if database_kind == "sqlite"
        else SERVERS[database_kind]
    )
    db = Database(url, f"t{new_id()[-8:]}_")
    prepare(db)
    yield db
    with db.engine.begin() as conn:
        db.tables.metadata.drop_all(conn)
        conn.execute(text(f"DROP TABLE {version_table(db)}"))
    db.close()


@pytest.fixture
def database(shared_database: Database) -> Database:
    """That database, empty."""
    with shared_database.write() as conn:
        for table in shared_database.tables.metadata.tables.values():
            conn.execute(table.delete())
    return shared_database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, 30 * DAY)


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    db = Database(f"sqlite:///{tmp_path.as_posix()}/queue.sqlite3", "queue_")
    prepare(db)
    yield Store(db, 30 * DAY)
    db.close()


@pytest.fixture
def redis_url() -> str:
    try:
        socket.create_connection(("127.0.0.1", 6379), timeout=2).close()
    except OSError:
        require("no Redis answers at 127.0.0.1:6379")
    return REDIS


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
