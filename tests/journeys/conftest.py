"""Fixtures: servers that end with their test, whatever happens in it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from queue_ext.ids import new_id
from queue_ext.store import Database, Store

from ..conftest import DAY, SERVERS, _answers, require
from .server import CAN_FORK, MAIN, Forge, Server

Launch = Callable[..., Server]


@pytest.fixture(scope="session")
def forge() -> Iterator["Forge | None"]:
    if not CAN_FORK:
        yield None
        return
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def prepare(forge: "Forge | None", tmp_path: Path) -> Iterator[Launch]:
    """``prepare("--setting", "value", env={...}, folder=...)`` makes a server that is not started."""
    servers: list[Server] = []

    def make(*arguments: str, env: "dict[str, str] | None" = None, folder: Any = None, entry: str = MAIN) -> Server:
        servers.append(Server(forge, folder or tmp_path / "data", *arguments, env=env, entry=entry))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def launch(prepare: Launch) -> Launch:
    """The same, started and ready."""
    return lambda *arguments, **options: prepare(*arguments, **options).start()


class Shared:
    """A database server's URL with a table prefix of the test's own, in the words of the command line."""

    def __init__(self, url: str) -> None:
        self.url, self.prefix = url, f"j{new_id()[-8:]}_"
        self.arguments = ("--database-url", url, "--table-prefix", self.prefix)

    def store(self) -> Store:
        return Store(Database(self.url, self.prefix), 30 * DAY)

    def drop(self) -> None:
        engine = create_engine(self.url)
        with engine.begin() as conn:
            tables = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE :prefix"
            for name in conn.execute(text(tables), {"prefix": self.prefix.replace("_", r"\_") + "%"}).scalars().all():
                conn.execute(text(f"DROP TABLE IF EXISTS {name} CASCADE"))
        engine.dispose()


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """``@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)``"""
    if not _answers(SERVERS[request.param]):
        require(f"no {request.param} server answers at {SERVERS[request.param]}")
    made = Shared(SERVERS[request.param])
    yield made
    made.drop()


@pytest.fixture
def shared_sqlite(tmp_path: Path) -> str:
    """One SQLite file for several servers that have their data folder in common."""
    (tmp_path / "data").mkdir(exist_ok=True)
    return f"sqlite:///{(tmp_path / 'data' / 'queue.sqlite3').as_posix()}"
