"""${message}"""

from alembic import context, op
from sqlalchemy import Boolean, Column, Integer

from queue_ext.models import long_type, name_type, text_type, time_type

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
