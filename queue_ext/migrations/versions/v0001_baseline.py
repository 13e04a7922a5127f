"""The first schema: jobs and what stands around them."""

from typing import Any

from alembic import context, op
from sqlalchemy import BigInteger, Boolean, Column, Integer

from queue_ext.models import long_type, name_type, text_type, time_type

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "job", "job_body", "job_file", "job_label", "job_history", "event", "queue", "turn", "worker", "counter", "upload",
    "idempotency", "secret",
)  # fmt: skip


def key(name: str, kind: Any, **options: Any) -> Column:
    return Column(name, kind, primary_key=True, nullable=False, **options)


def needed(name: str, kind: Any) -> Column:
    return Column(name, kind, nullable=False)


def create(table: str, *columns: Column, **indexes: tuple[str, ...]) -> None:
    prefix = context.config.attributes["prefix"]
    op.create_table(prefix + table, *columns)
    for name, parts in indexes.items():
        op.create_index(f"{prefix}{name}", prefix + table, list(parts))


def upgrade() -> None:
    create_jobs()
    create_parts_of_jobs()
    create_log()
    create_surroundings()
    create_files()


def create_jobs() -> None:
    create(
        "job",
        key("id", name_type(32)),
        needed("queue", name_type(32)),
        needed("task", text_type(120)),
        Column("name", text_type(200)),
        needed("prompt", text_type(2000)),
        needed("owner", text_type(200)),
        needed("state", name_type(12)),
        Column("reason", text_type(1000)),
        needed("priority", Integer()),
        needed("order_key", name_type(200)),
        needed("work", time_type()),
        needed("labels", long_type()),
        needed("summary", long_type()),
        needed("created_at", time_type()),
        Column("run_at", time_type()),
        Column("started_at", time_type()),
        Column("finished_at", time_type()),
        Column("expires_at", time_type()),
        needed("attempt", Integer()),
        Column("retry_attempts", Integer()),
        Column("retry_delay_s", time_type()),
        Column("timeout_s", time_type()),
        needed("lease", Integer()),
        Column("lease_until", time_type()),
        Column("worker_id", name_type(32)),
        needed("crashes", Integer()),
        Column("cancel_at", time_type()),
        needed("bookmarked", Boolean()),
        Column("error", long_type()),
        job_line=("queue", "state", "order_key", "work", "owner", "id"),
        job_turn=("owner", "state", "queue", "order_key"),
        job_owner=("owner", "state", "id"),
        job_state=("state", "id"),
        job_due=("state", "run_at"),
        job_expiry=("expires_at",),
        job_bookmark=("bookmarked", "id"),
    )


def create_parts_of_jobs() -> None:
    create("job_body", key("job_id", name_type(32)), needed("payload", long_type()), Column("result", long_type()))
    create(
        "job_file",
        key("job_id", name_type(32)),
        key("role", name_type(8)),
        key("number", Integer(), autoincrement=False),
        needed("sha256", name_type(64)),
        needed("mime", name_type(32)),
        needed("size", BigInteger()),
        needed("width", Integer()),
        needed("height", Integer()),
        Column("seed", name_type(24)),
        needed("infotext", long_type()),
        job_file_content=("sha256",),
    )
    create("job_label", key("label", text_type(64)), key("job_id", name_type(32)), job_label_job=("job_id",))


def create_log() -> None:
    create(
        "job_history",
        key("id", BigInteger().with_variant(Integer(), "sqlite"), autoincrement=True),
        needed("job_id", name_type(32)),
        needed("state", name_type(12)),
        Column("reason", text_type(1000)),
        needed("at", time_type()),
        needed("data", long_type()),
        job_history_job=("job_id", "id"),
    )
    create(
        "event",
        key("seq", BigInteger(), autoincrement=False),
        needed("at", time_type()),
        needed("kind", name_type(32)),
        needed("owner", text_type(200)),
        Column("job_id", name_type(32)),
        Column("queue", name_type(32)),
        needed("data", long_type()),
        event_owner=("owner", "seq"),
    )


def create_surroundings() -> None:
    create(
        "queue",
        key("name", name_type(32)),
        needed("paused", Boolean()),
        Column("pause_reason", text_type(500)),
        Column("retry_attempts", Integer()),
        Column("retry_delay_s", time_type()),
        Column("retry_delay_max_s", time_type()),
        Column("timeout_s", time_type()),
        needed("created_at", time_type()),
    )
    create(
        "turn",
        key("queue", name_type(32)),
        key("priority", Integer(), autoincrement=False),
        needed("turn", BigInteger()),
    )
    create(
        "worker",
        key("id", name_type(32)),
        needed("host", text_type(255)),
        needed("pid", Integer()),
        needed("born", time_type()),
        needed("pipeline", text_type(200)),
        needed("queues", long_type()),
        needed("started_at", time_type()),
        needed("heartbeat_at", time_type()),
        needed("lease_s", time_type()),
        Column("job_id", name_type(32)),
        Column("progress", long_type()),
    )
    create(
        "counter",
        key("kind", name_type(32)),
        key("queue", name_type(32)),
        key("bucket", BigInteger(), autoincrement=False),
        needed("value", BigInteger()),
    )


def create_files() -> None:
    create(
        "upload",
        key("owner", text_type(200)),
        key("sha256", name_type(64)),
        needed("mime", name_type(32)),
        needed("size", BigInteger()),
        needed("width", Integer()),
        needed("height", Integer()),
        needed("created_at", time_type()),
        upload_content=("sha256",),
        upload_age=("created_at",),
    )
    create(
        "idempotency",
        key("owner", text_type(200)),
        key("key", text_type(200)),
        needed("job_id", name_type(32)),
        needed("digest", name_type(64)),
        needed("created_at", time_type()),
        idempotency_age=("created_at",),
        idempotency_job=("job_id",),
    )
    create("secret", key("name", name_type(32)), needed("value", name_type(64)))


def downgrade() -> None:
    prefix = context.config.attributes["prefix"]
    for table in TABLES:
        op.drop_table(prefix + table)
