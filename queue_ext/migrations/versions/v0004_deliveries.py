"""What is to be told to the world outside: webhooks, tried again until they arrive."""

from alembic import context, op
from sqlalchemy import Column, Integer

from queue_ext.models import name_type, text_type, time_type

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    op.create_table(
        f"{prefix}delivery",
        Column("id", name_type(64), primary_key=True, nullable=False),
        Column("job_id", name_type(32)),
        Column("event", name_type(32), nullable=False),
        Column("reason", text_type(1000)),
        Column("at", time_type(), nullable=False),
        Column("url", text_type(2000), nullable=False),
        Column("secret", text_type(200), nullable=False),
        Column("tries", Integer(), nullable=False),
        Column("due_at", time_type()),
        Column("delivered_at", time_type()),
        Column("error", text_type(1000)),
    )
    op.create_index(f"{prefix}delivery_due", f"{prefix}delivery", ["due_at"])
    op.create_index(f"{prefix}delivery_job", f"{prefix}delivery", ["job_id"])


def downgrade() -> None:
    op.drop_table(f"{context.config.attributes['prefix']}delivery")
