"""Jobs that wait for other jobs: their children start, or are deleted, in the very transaction that ends the parents."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select

from ..errors import InvalidRequest
from ..filters import Application, hookimpl
from ..models import EXPIRING, State
from .base import StoreBase
from .change import Change, Row

AFTER_ON = ("succeeded", "finished", "deleted")
BULK = 500  # parents looked for in one statement
GONE = State.DELETED  # a parent that was removed from history counts as deleted


def verdict(after_on: str, parents: Sequence[State]) -> State | None:
    """What becomes of a child: enqueued, deleted, or None while it has to wait. A failed parent may yet be requeued."""
    if after_on == "finished":
        return State.ENQUEUED if all(state in (State.SUCCEEDED, State.DELETED) for state in parents) else None
    wanted, never = (State.DELETED, State.SUCCEEDED) if after_on == "deleted" else (State.SUCCEEDED, State.DELETED)
    if never in parents:
        return State.DELETED
    return State.ENQUEUED if all(state == wanted for state in parents) else None


class Continuations:
    """A filter: whoever ends for ever lets its children go on, once all that ends in this transaction has ended."""

    @hookimpl
    def state_applied(self, application: Application) -> None:
        if application.state in EXPIRING:
            application.change.ended.append(application.job["id"])


class Family(StoreBase):
    """Parents and children."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.filters.add(Continuations(), order=1000)

    def parents(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """The jobs that jobs wait for or waited for, by job, in the order they were named."""
        if not ids:
            return {}
        table = self.tables.job_parent
        found: dict[str, list[str]] = {}
        with self.db.read() as conn:
            for row in conn.execute(
                select(table).where(table.c.job_id.in_(list(ids))).order_by(table.c.job_id, table.c.number)
            ):
                found.setdefault(row.job_id, []).append(row.parent_id)
        return found

    def _states_of(self, change: Change, ids: Sequence[str]) -> dict[str, State]:
        job = self.tables.job
        rows = change.conn.execute(
            select(job.c.id, job.c.state).where(job.c.id.in_(list(ids))).order_by(job.c.id).with_for_update()
        )
        return {row.id: State(row.state) for row in rows}

    def _first_state(
        self, change: Change, after: Sequence[str], after_on: str, siblings: Mapping[str, Any]
    ) -> State | None:
        """How a new child begins; None to wait. Raises InvalidRequest for parents that do not exist."""
        states = self._states_of(change, [parent for parent in after if parent not in siblings])
        missing = [parent for parent in after if parent not in states and parent not in siblings]
        if missing:
            raise InvalidRequest([{"loc": ["after"], "msg": f"job {missing[0]} does not exist"}])
        return (
            None
            if any(parent in siblings for parent in after)
            else verdict(after_on, [states[parent] for parent in after])
        )

    def _release_children(self, change: Change) -> None:
        while change.ended:
            ended, change.ended = change.ended, []
            for child in self._waiting_children(change, ended):
                self._decide(change, child)

    def _waiting_children(self, change: Change, ended: Sequence[str]) -> list[Row]:
        if len(ended) == 1:
            return [dict(row) for row in change.run("children", self._children_of_one, {"parent": ended[0]}).mappings()]
        table = self.tables.job_parent
        found: dict[str, Row] = {}
        for start in range(0, len(ended), BULK):
            some = table.c.parent_id.in_(list(ended[start : start + BULK]))
            found |= {row["id"]: dict(row) for row in change.conn.execute(self._children(some)).mappings()}
        return list(found.values())

    def _children_of_one(self) -> Any:
        return self._children(self.tables.job_parent.c.parent_id == bindparam("parent"))

    def _children(self, which: Any) -> Any:
        job, family = self.tables.job, self.tables.job_parent
        children = select(family.c.job_id).where(which)
        return (
            select(job)
            .where(job.c.id.in_(children), job.c.state == State.AWAITING.value)
            .order_by(job.c.id)
            .with_for_update()
        )

    def _decide(self, change: Change, child: Row) -> None:
        table = self.tables.job_parent
        parents = list(change.conn.execute(select(table.c.parent_id).where(table.c.job_id == child["id"])).scalars())
        states = self._states_of(change, parents)
        known = [states.get(parent, GONE) for parent in parents]
        to = verdict(child["after_on"], known)
        if to == State.ENQUEUED:
            change.transition(
                [child],
                State.AWAITING,
                to,
                "the jobs it waited for have ended",
                each=[self._arrival_key(change, child)],
            )
        elif to == State.DELETED:
            change.transition([child], State.AWAITING, to, f"a job it waits for did not end as {child['after_on']}")

    def _arrival_key(self, change: Change, child: Row) -> Mapping[str, Any]:
        raise NotImplementedError
