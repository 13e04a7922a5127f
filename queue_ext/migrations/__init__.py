"""Schema versions. ``prepare`` brings a database to the newest one; Alembic does the work."""

from pathlib import Path

from filelock import FileLock
from sqlalchemy import inspect, text

from ..errors import DatabaseTooNew, SchemaMissing
from ..store.database import Database, storage_errors

HEAD = "0005"  # the newest version in versions/
LOCK_ID = 7861_4711  # names our advisory lock on a PostgreSQL server
LOCK_TIMEOUT = 60  # seconds to wait for another process that prepares the same database


def version_table(db: Database) -> str:
    return f"{db.tables.prefix}schema"


def current(db: Database) -> str | None:
    """The version a database holds; None for one without our tables."""
    with storage_errors(), db.engine.connect() as conn:
        if not inspect(conn).has_table(version_table(db)):
            return None
        return conn.execute(text(f"SELECT version_num FROM {version_table(db)}")).scalar()


def prepare(db: Database, allowed: bool = True) -> bool:
    """Bring the tables to HEAD; whether anything had to be done. Several processes may call this at once.

    Raises SchemaMissing when there is work and ``allowed`` is false, DatabaseTooNew for a schema of a later version.
    """
    found = current(db)
    if found == HEAD:
        return False
    if found is not None and found > HEAD:
        raise DatabaseTooNew(found=found, known=HEAD)
    if not allowed:
        raise SchemaMissing(url=db.shown_url)
    _upgrade_alone(db)
    return True


def _upgrade_alone(db: Database) -> None:
    if db.dialect == "sqlite":
        with FileLock(f"{db.url.database}.schema.lock", timeout=LOCK_TIMEOUT):
            return _upgrade(db)
    take, give = {
        "postgresql": (f"SELECT pg_advisory_lock({LOCK_ID})", f"SELECT pg_advisory_unlock({LOCK_ID})"),
    }.get(db.dialect, (f"SELECT GET_LOCK('queue_ext', {LOCK_TIMEOUT})", "SELECT RELEASE_LOCK('queue_ext')"))
    with storage_errors(), db.engine.connect() as conn:
        conn.execute(text(take))
        try:
            _upgrade(db)
        finally:
            conn.execute(text(give))


def _upgrade(db: Database) -> None:
    # Alembic is imported only when there is work: a start with a current schema should not pay for it.
    from alembic import command
    from alembic.config import Config

    if current(db) == HEAD:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["database"] = db
    command.upgrade(config, "head")
