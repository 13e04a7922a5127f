"""What filters keep of a job from one moment to the next."""

from alembic import context, op
from sqlalchemy import Column

from queue_ext.models import long_type

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(f"{context.config.attributes['prefix']}job", Column("parameters", long_type(), nullable=True))


def downgrade() -> None:
    op.drop_column(f"{context.config.attributes['prefix']}job", "parameters")
