"""The schema: made once whoever starts first, never older than the code thinks, and as the models say."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from queue_ext.errors import DatabaseTooNew, SchemaMissing
from queue_ext.ids import new_id
from queue_ext.migrations import HEAD, current, prepare, version_table
from queue_ext.store import Database, Store

from .conftest import SERVERS
from .support import add, claim, finish


@pytest.fixture
def empty(database_kind: str, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind without our tables, under a prefix of its own."""
    url = f"sqlite:///{tmp_path.as_posix()}/new.sqlite3" if database_kind == "sqlite" else SERVERS[database_kind]
    db = Database(url, f"m{new_id()[-8:]}_")
    yield db
    with db.write() as conn:
        db.tables.metadata.drop_all(conn)
        conn.execute(text(f"DROP TABLE IF EXISTS {version_table(db)}"))
    db.close()


def tables(db: Database) -> set[str]:
    return {name for name in inspect(db.engine).get_table_names() if name.startswith(db.tables.prefix)}


def test_a_fresh_database_gets_all_tables_under_its_prefix(empty: Database) -> None:
    assert current(empty) is None and prepare(empty) is True
    assert tables(empty) == {*empty.tables.metadata.tables, version_table(empty)}
    assert current(empty) == HEAD


def test_a_second_start_does_nothing_and_keeps_what_is_there(empty: Database) -> None:
    prepare(empty)
    store = Store(empty, 86400.0)
    job_id = add(store)
    assert prepare(empty) is False
    finish(store, claim(store))
    assert store.job(job_id)["state"] == "succeeded"


def test_the_tables_are_as_the_models_describe_them(empty: Database) -> None:
    prepare(empty)
    with empty.engine.connect() as conn:
        ours = {"include_name": lambda name, kind, _parents: kind != "table" or name in empty.tables.metadata.tables}
        context = MigrationContext.configure(conn, opts={"version_table": version_table(empty), **ours})
        assert compare_metadata(context, empty.tables.metadata) == []


def test_two_prefixes_share_a_database_without_seeing_each_other(empty: Database) -> None:
    prepare(empty)
    other = Database(empty.url.render_as_string(hide_password=False), f"{empty.tables.prefix}x_")
    try:
        prepare(other)
        add(Store(other, 86400.0))
        assert sum(Store(empty, 86400.0).counts().values()) == 0
    finally:
        with other.write() as conn:
            other.tables.metadata.drop_all(conn)
            conn.execute(text(f"DROP TABLE {version_table(other)}"))
        other.close()


def test_an_empty_prefix_works_too(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path.as_posix()}/queue.sqlite3", "")
    prepare(db)
    add(Store(db, 86400.0))
    assert "job" in inspect(db.engine).get_table_names()
    db.close()


def test_a_later_schema_is_left_alone(empty: Database) -> None:
    prepare(empty)
    with empty.write() as conn:
        conn.execute(text(f"UPDATE {version_table(empty)} SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew, match="9999"):
        prepare(empty)
    assert current(empty) == "9999"


def test_nothing_is_made_where_that_is_not_allowed(empty: Database) -> None:
    with pytest.raises(SchemaMissing, match="migrate"):
        prepare(empty, allowed=False)
    assert tables(empty) == set()
    prepare(empty)
    assert prepare(empty, allowed=False) is False


def test_a_migration_that_breaks_can_be_tried_again(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    made = op.create_index

    def broken(name: str, *args: object, **kwargs: object) -> None:
        if name.endswith("upload_age"):
            raise RuntimeError("the disk is gone")
        made(name, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", broken)
        with pytest.raises(RuntimeError):
            prepare(empty)
    if empty.dialect != "mysql":  # whose changes of tables cannot be rolled back
        assert current(empty) is None
        prepare(empty)
        assert current(empty) == HEAD


def test_processes_that_start_together_make_the_tables_once(empty: Database) -> None:
    program = (
        "import sys; from queue_ext.store import Database; from queue_ext.migrations import prepare\n"
        "print(prepare(Database(sys.argv[1], sys.argv[2])))"
    )
    url = empty.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", program, url, empty.tables.prefix]
    root = Path(__file__).parent.parent
    started = [
        subprocess.Popen(command, cwd=root, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=90) for process in started]
    assert [process.returncode for process in started] == [0] * 4, ended
    assert sorted(out.split()[-1] for out, _ in ended).count("True") >= 1
    assert current(empty) == HEAD


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    db = Database("postgresql://me:hush@127.0.0.1:1/none", "q_")
    assert "hush" not in db.shown_url and "hush" not in str(SchemaMissing(url=db.shown_url))
    db.close()
