"""Schedules, continuations, patience, concurrency keys and what owners have used of their limits."""

from alembic import context, op
from sqlalchemy import Boolean, Column, Integer

from queue_ext.models import long_type, name_type, text_type, time_type

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = {
    "after_on": name_type(12),
    "schedule_id": name_type(32),
    "slot": time_type(),
    "ttl_at": time_type(),
    "concurrency_key": text_type(200),
}
INDEXES = {
    "job_schedule": ("schedule_id", "id"),
    "job_patience": ("ttl_at",),
    "job_concurrency": ("concurrency_key", "state"),
}


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    for name, kind in COLUMNS.items():
        op.add_column(f"{prefix}job", Column(name, kind, nullable=True))
    for name, parts in INDEXES.items():
        op.create_index(f"{prefix}{name}", f"{prefix}job", list(parts))
    op.create_index(f"{prefix}job_slot", f"{prefix}job", ["schedule_id", "slot"], unique=True)
    create_parents(prefix)
    create_schedules(prefix)
    create_usage(prefix)


def create_parents(prefix: str) -> None:
    op.create_table(
        f"{prefix}job_parent",
        Column("job_id", name_type(32), primary_key=True, nullable=False),
        Column("number", Integer(), primary_key=True, autoincrement=False, nullable=False),
        Column("parent_id", name_type(32), nullable=False),
    )
    op.create_index(f"{prefix}job_parent_parent", f"{prefix}job_parent", ["parent_id"])


def create_schedules(prefix: str) -> None:
    op.create_table(
        f"{prefix}schedule",
        Column("id", name_type(32), primary_key=True, nullable=False),
        Column("name", text_type(120), nullable=False),
        Column("owner", text_type(200), nullable=False),
        Column("cron", text_type(200), nullable=False),
        Column("timezone", text_type(64), nullable=False),
        Column("template", long_type(), nullable=False),
        Column("enabled", Boolean(), nullable=False),
        Column("reason", text_type(1000)),
        Column("misfire", name_type(8), nullable=False),
        Column("overlap", name_type(8), nullable=False),
        Column("seed", name_type(8), nullable=False),
        Column("jitter_s", time_type(), nullable=False),
        Column("end_at", time_type()),
        Column("max_runs", Integer()),
        Column("runs", Integer(), nullable=False),
        Column("next_run_at", time_type()),
        Column("last_run_at", time_type()),
        Column("created_at", time_type(), nullable=False),
        Column("updated_at", time_type(), nullable=False),
    )
    op.create_index(f"{prefix}schedule_name", f"{prefix}schedule", ["owner", "name"], unique=True)
    op.create_index(f"{prefix}schedule_due", f"{prefix}schedule", ["enabled", "next_run_at"])


def create_usage(prefix: str) -> None:
    op.create_table(
        f"{prefix}usage",
        Column("owner", text_type(200), primary_key=True, nullable=False),
        Column("span", name_type(32), primary_key=True, nullable=False),
        Column("used", Integer(), nullable=False),
        Column("ends_at", time_type(), nullable=False),
    )
    op.create_index(f"{prefix}usage_age", f"{prefix}usage", ["ends_at"])


def downgrade() -> None:
    prefix = context.config.attributes["prefix"]
    for table in ("usage", "schedule", "job_parent"):
        op.drop_table(prefix + table)
    op.drop_index(f"{prefix}job_slot", f"{prefix}job")
    for name in INDEXES:
        op.drop_index(f"{prefix}{name}", f"{prefix}job")
    for name in COLUMNS:
        op.drop_column(f"{prefix}job", name)
