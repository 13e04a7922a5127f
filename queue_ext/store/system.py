"""Queues, workers, uploads, files and the log: what stands around the jobs."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, exists, insert, select, update

from ..errors import QueueIsPermanent, QueueNotEmpty, QueueNotFound
from ..models import UNFINISHED, WAITING, State, is_name
from .base import StoreBase, transactional
from .change import DAY, Change, Row
from .database import storage_errors
from .jobs import FileRef

LOG_AGE = DAY  # seconds an event can be replayed
HOURS_KEPT = 60 * DAY  # seconds hourly counters are kept
DEFAULT_QUEUE = "default"


class System(StoreBase):
    """Everything that is not a job."""

    def queues(self) -> list[Row]:
        with self.db.read() as conn:
            rows = [dict(row) for row in conn.execute(select(self.tables.queue)).mappings()]
        return sorted(rows, key=lambda row: (row["name"] != DEFAULT_QUEUE, row["name"]))

    def queue(self, name: str) -> Row:
        """Raises QueueNotFound."""
        if not is_name(name):
            raise QueueNotFound(queue=name)
        with self.db.read() as conn:
            found = conn.execute(select(self.tables.queue).where(self.tables.queue.c.name == name)).mappings().first()
        if found is None:
            raise QueueNotFound(queue=name)
        return dict(found)

    @transactional
    def put_queue(self, change: Change, name: str, values: Mapping[str, Any]) -> None:
        """Make a lane or change what it says."""
        change.insert_new(self.tables.queue, {"name": name, "paused": False, "created_at": change.now})
        if values:
            change.conn.execute(update(self.tables.queue).where(self.tables.queue.c.name == name).values(**values))
        change.event("queue", "", None, name)

    @transactional
    def set_paused(self, change: Change, name: str, paused: bool, reason: str | None) -> None:
        """Raises QueueNotFound."""
        if not is_name(name):
            raise QueueNotFound(queue=name)
        queue = self.tables.queue
        changed = change.conn.execute(
            update(queue).where(queue.c.name == name).values(paused=paused, pause_reason=reason if paused else None)
        )
        if changed.rowcount == 0:
            raise QueueNotFound(queue=name)
        change.event("queue", "", None, name)

    @transactional
    def delete_queue(self, change: Change, name: str) -> None:
        """Raises QueueNotFound, QueueNotEmpty, QueueIsPermanent. Finished jobs keep its name."""
        if not is_name(name):
            raise QueueNotFound(queue=name)
        if name == DEFAULT_QUEUE:
            raise QueueIsPermanent(queue=name)
        queue, job = self.tables.queue, self.tables.job
        locked = change.conn.execute(select(queue.c.name).where(queue.c.name == name).with_for_update()).first()
        if locked is None:
            raise QueueNotFound(queue=name)
        held = change.conn.execute(
            select(job.c.id).where(job.c.queue == name, job.c.state.in_([state.value for state in UNFINISHED]))
        ).all()
        if held:
            raise QueueNotEmpty(queue=name, waiting=len(held))
        change.conn.execute(delete(queue).where(queue.c.name == name))
        change.event("queue", "", None, name, deleted=True)
        self._known_queues.discard(name)

    @transactional
    def clear_queue(self, change: Change, name: str, reason: str) -> int:
        """Cancel everything that waits in a lane; how many."""
        job = self.tables.job
        cleared = 0
        for state in WAITING:
            rows = (
                change.conn.execute(
                    select(job).where(job.c.queue == name, job.c.state == state.value).with_for_update()
                )
                .mappings()
                .all()
            )
            change.transition([dict(row) for row in rows], state, State.DELETED, reason)
            cleared += len(rows)
        return cleared

    def workers(self) -> list[Row]:
        with self.db.read() as conn:
            found = self.db.hot(conn, "workers", lambda: select(self.tables.worker), {})
            return [dict(row) for row in found.mappings()]

    def add_worker(self, values: Mapping[str, Any]) -> None:
        with self.writing() as conn:
            conn.execute(insert(self.tables.worker).values(**values))

    def beat(self, worker_id: str, now: float, progress: Mapping[str, Any] | None) -> bool:
        """A sign of life. False when the worker has been taken for dead and forgotten."""
        worker = self.tables.worker
        values = {"heartbeat_at": now, "progress": json.dumps(progress) if progress else None}
        with self.writing() as conn:
            return conn.execute(update(worker).where(worker.c.id == worker_id).values(**values)).rowcount == 1

    def remove_workers(self, ids: Iterable[str]) -> None:
        with self.writing() as conn:
            conn.execute(delete(self.tables.worker).where(self.tables.worker.c.id.in_(list(ids))))

    def held_by(self, worker_id: str) -> list[Row]:
        """The jobs a worker has claimed and not ended."""
        job = self.tables.job
        which = select(job).where(job.c.state == State.PROCESSING.value, job.c.worker_id == worker_id)
        with self.db.read() as conn:
            return [dict(row) for row in conn.execute(which).mappings()]

    def cancel_wanted(self, job_id: str, lease: int) -> bool:
        """Whether a running job was asked to stop, or is no longer held by this lease."""
        job = self.tables.job
        with self.db.read() as conn:
            row = conn.execute(select(job.c.cancel_at, job.c.lease, job.c.state).where(job.c.id == job_id)).first()
        return row is None or row.cancel_at is not None or row.lease != lease or row.state != State.PROCESSING.value

    def add_upload(self, owner: str, ref: FileRef, now: float) -> None:
        table = self.tables.upload
        row = {
            "owner": owner, "sha256": ref.sha256, "mime": ref.mime, "size": ref.size,
            "width": ref.width, "height": ref.height, "created_at": now,
        }  # fmt: skip
        with storage_errors(), self.changing() as change:
            change.put(table, row, lambda new: {"created_at": new.created_at})

    def upload(self, owner: str, sha256: str) -> FileRef | None:
        """A picture this owner brought."""
        table = self.tables.upload
        if not is_name(sha256):
            return None
        with self.db.read() as conn:
            row = conn.execute(select(table).where(table.c.owner == owner, table.c.sha256 == sha256)).mappings().first()
        return _file_ref(row)

    def input(self, viewer: str | None, sha256: str) -> FileRef | None:
        """A picture that a job of this owner (None: anybody's) was given."""
        file, job = self.tables.job_file, self.tables.job
        if not is_name(sha256):
            return None
        which = [file.c.sha256 == sha256, file.c.role == "input"]
        if viewer is not None:
            which.append(job.c.owner == viewer)
        with self.db.read() as conn:
            found = conn.execute(select(file).join(job, job.c.id == file.c.job_id).where(*which).limit(1))
            return _file_ref(found.mappings().first())

    def forget_uploads(self, before: float) -> int:
        """Drop uploads older than ``before``; their files stay as long as a job refers to them."""
        table = self.tables.upload
        with self.writing() as conn:
            return conn.execute(delete(table).where(table.c.created_at < before)).rowcount

    def unreferenced(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these contents no job and no upload refers to."""
        found: set[str] = set()
        with self.db.read() as conn:
            for table in (self.tables.job_file, self.tables.upload):
                found |= set(conn.execute(select(table.c.sha256).where(table.c.sha256.in_(list(sha256s)))).scalars())
        return set(sha256s) - found

    def used(self, owner: str, span: str) -> int:
        """How much of a limit an owner has used in a span such as ``day:20414``."""
        table = self.tables.usage
        with self.db.read() as conn:
            return conn.execute(select(table.c.used).where(table.c.owner == owner, table.c.span == span)).scalar() or 0

    def trim(self, now: float) -> None:
        """Drop events too old to be replayed, spent idempotency keys and hourly counts."""
        tables = self.tables
        with self.writing() as conn:
            conn.execute(delete(tables.event).where(tables.event.c.at < now - LOG_AGE))
            conn.execute(delete(tables.usage).where(tables.usage.c.ends_at < now - DAY))
            conn.execute(delete(tables.idempotency).where(tables.idempotency.c.created_at < now - DAY))
            conn.execute(
                delete(tables.counter).where(
                    tables.counter.c.kind.like("hour\\_%", escape="\\"), tables.counter.c.bucket < now - HOURS_KEPT
                )
            )

    def secret(self, name: str) -> bytes:
        """A random key all processes of this database share."""
        with storage_errors(), self.changing() as change:
            change.insert_new(self.tables.secret, {"name": name, "value": secrets.token_hex(32)})
            value = change.conn.execute(
                select(self.tables.secret.c.value).where(self.tables.secret.c.name == name)
            ).scalar_one()
        return bytes.fromhex(value)

    def ping(self) -> None:
        """Ask the database for a sign of life. Raises StorageUnavailable."""
        with self.db.read() as conn:
            conn.execute(select(exists(select(self.tables.counter.c.value))))


def _file_ref(row: Any) -> FileRef | None:
    return FileRef(row["sha256"], row["mime"], row["size"], row["width"], row["height"]) if row else None
