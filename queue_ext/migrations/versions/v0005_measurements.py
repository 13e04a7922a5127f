"""What decides how long a job takes, and how long those took that ran."""

from alembic import context, op
from sqlalchemy import BigInteger, Column, Integer

from queue_ext.models import long_type, text_type, time_type

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    op.add_column(f"{prefix}job", Column("effort", long_type(), nullable=True))
    op.create_table(
        f"{prefix}measurement",
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("machine", text_type(200), nullable=False),
        Column("at", time_type(), nullable=False),
        Column("effort", long_type(), nullable=False),
        Column("seconds", time_type(), nullable=False),
    )
    op.create_index(f"{prefix}measurement_machine", f"{prefix}measurement", ["machine", "id"])


def downgrade() -> None:
    prefix = context.config.attributes["prefix"]
    op.drop_table(f"{prefix}measurement")
    op.drop_column(f"{prefix}job", "effort")
