"""What is to be told to the world outside: written in the transaction it tells of, delivered later, at least once."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select, update

from ..filters import Application, hookimpl
from ..ids import new_id
from ..models import FINISHED
from .base import StoreBase
from .change import DAY, Row

DELIVERIES_AGE = 7 * DAY  # seconds
AT_ONCE = 10  # candidates looked at for one that nobody else takes
WEBHOOK = "webhook"  # the parameter of a job that says where to tell of its end


class Webhooks:
    """A filter: the end of a job that names a webhook is to be told there."""

    @hookimpl
    def state_applied(self, application: Application) -> None:
        if application.state not in FINISHED or not application.job.get("parameters"):
            return
        where = application.parameters.get(WEBHOOK)
        if where:
            job_id, change = application.job["id"], application.change
            row = to_deliver(f"job.{application.state}", where, application.at, job_id, application.reason)
            change.insert(change.tables.delivery, [row])


def to_deliver(
    event: str, where: Mapping[str, str], at: float, job_id: str | None = None, reason: str | None = None
) -> dict[str, Any]:
    """A row of what is to be delivered at once; ``where`` has ``url`` and ``secret``."""
    return {
        "id": new_id(), "job_id": job_id, "event": event, "reason": reason, "at": at, "url": str(where["url"]),
        "secret": str(where["secret"]), "tries": 0, "due_at": at, "delivered_at": None, "error": None,
    }  # fmt: skip


class Deliveries(StoreBase):
    """Taking, and saying how it went."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.filters.add(Webhooks(), order=950)

    def take_delivery(self, now: float, hold: float) -> Row | None:
        """Something due, with this try counted; nobody else gets it for ``hold`` seconds, nor ever if we say how it went."""
        table = self.tables.delivery
        due = select(table).where(table.c.due_at <= now).order_by(table.c.due_at).limit(AT_ONCE)
        with self.db.read() as conn:
            found = [dict(row) for row in conn.execute(due).mappings()]
        for row in found:
            with self.writing() as conn:
                mine = (table.c.id == row["id"]) & (table.c.tries == row["tries"]) & (table.c.due_at <= now)
                taken = conn.execute(update(table).where(mine).values(tries=row["tries"] + 1, due_at=now + hold))
            if taken.rowcount == 1:
                return {**row, "tries": row["tries"] + 1}
        return None

    def end_delivery(self, row: Row, **values: Any) -> None:
        """Write down how a try went, unless somebody else has tried again meanwhile."""
        table = self.tables.delivery
        with self.writing() as conn:
            conn.execute(update(table).where(table.c.id == row["id"], table.c.tries == row["tries"]).values(**values))

    def next_delivery(self) -> float | None:
        """When something is due, seconds since the epoch."""
        with self.db.read() as conn:
            return conn.execute(select(func.min(self.tables.delivery.c.due_at))).scalar()

    def deliveries(self, job_id: str) -> list[Row]:
        """What was and is to be told of a job, the oldest first."""
        table = self.tables.delivery
        with self.db.read() as conn:
            rows = conn.execute(
                select(table).where(table.c.job_id == job_id).order_by(table.c.at, table.c.id)
            ).mappings()
            return [dict(row) for row in rows]

    def forget_deliveries(self, now: float) -> None:
        """Drop what is too old, also what nobody was there to deliver."""
        table = self.tables.delivery
        with self.writing() as conn:
            conn.execute(delete(table).where(table.c.at < now - DELIVERIES_AGE))
