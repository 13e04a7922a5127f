"""What jobs are expected to take: the model of this database's machines, kept up to date, and the waiting jobs with it."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .durations import PRIOR, Effort, Measured, Model, fit
from .models import State
from .store import Store

LOOK = 2.0  # seconds what was measured is used before it is read again, at least
REST = 500  # times what reading took: much was measured then, and what came since changes little
PASS = 60.0  # seconds after which waiting jobs are looked through although nothing new was learnt
MOVED = 0.05  # relative change of what is expected that is worth writing down
UNKNOWN: Any = object()  # the checkpoint before the first job

Row = Mapping[str, Any]


class Estimates:
    """Foretells durations from what was measured. Holds nothing that is not in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}
        self._newest = 0  # number of the newest measurement the models know
        self._read_again_at = 0.0
        self._passed_at = -PASS
        self._told: list[float] = []  # what the last pass would have said of the efforts it is compared by

    @property
    def known(self) -> bool:
        """Whether anything was measured yet."""
        return any(model.measured for model in self.models())

    def seconds(self, effort: Effort, switched: bool = False) -> float:
        """How long a job takes: the mean of the machines. A guess as long as nothing is ``known``."""
        return _mean(self.models() or [PRIOR], effort, switched)

    def of(self, row: Row) -> float | None:
        """How long a stored job takes; None as long as nobody knows."""
        if not self.known:
            return None
        return self.seconds(json.loads(row["effort"])) if row["effort"] else row["work"]

    def remembered(self, row: Row) -> float | None:
        """As ``of``, by what was read last: for those who must not wait for the database."""
        models = list(self._models.values())
        if not row["effort"] or not any(model.measured for model in models):
            return None
        return _mean(models, json.loads(row["effort"]))

    def models(self) -> list[Model]:
        """The models of the machines that were heard of last; read again after a while."""
        with self._lock:
            if time.monotonic() > self._read_again_at:
                began = time.thread_time()
                self._read()
                self._read_again_at = time.monotonic() + max(LOOK, REST * (time.thread_time() - began))
            return list(self._models.values())

    def _read(self) -> None:
        newest = self._store.newest_measurement()
        if newest == self._newest:
            return
        self._models = {machine: fit(_measured(rows)) for machine, rows in self._store.measurements().items()}
        self._newest = newest

    def refresh(self) -> int:
        """Bring what waiting jobs are expected to take up to what was learnt since; how many changed."""
        models, now = self.models(), time.monotonic()
        if not models or not (self._has_moved(models) or now - self._passed_at > PASS):
            return 0
        self._passed_at = now
        waiting = (
            queue for (queue, state), count in self._store.counts().items() if state == State.ENQUEUED.value and count
        )
        return sum(map(self._refresh, waiting))

    def _has_moved(self, models: Sequence[Model]) -> bool:
        """Whether the costs are others than at the last pass."""
        told = [
            cost * factor
            for model in models
            for factor in (1.0, *model.factors.values())
            for costs in model.costs.values()
            for cost in costs
        ]
        before, same = self._told, len(told) == len(self._told)
        if same and all(abs(a - b) <= MOVED * b for a, b in zip(told, before, strict=True)):
            return False
        self._told = told
        return True

    def _refresh(self, queue: str) -> int:
        """Walk a lane in the order it will run: who comes after another checkpoint has to load its own."""
        found, before = 0, UNKNOWN
        page = self._store.efforts(queue)
        while page:
            changed: list[tuple[str, float]] = []
            for row in page:
                seconds, before = self._foretold(row, before)
                if abs(seconds - row.work) > MOVED * row.work:
                    changed.append((row.id, seconds))
            if changed:
                self._store.set_work(changed)
            found += len(changed)
            page = self._store.efforts(queue, page[-1].order_key)
        return found

    def _foretold(self, row: Any, before: Any) -> tuple[float, Any]:
        """What a waiting job takes behind one with the checkpoint ``before``, and which one it leaves."""
        if row.effort is None:
            return row.work, before
        effort = json.loads(row.effort)
        switched, left = _switch(effort, before)
        return self.seconds(effort, switched), left


def _mean(models: Sequence[Model], effort: Effort, switched: bool = False) -> float:
    return sum(model.seconds(effort, switched) for model in models) / len(models)


def _measured(rows: Sequence[Row]) -> list[Measured]:
    """Measurements of one machine, oldest first, as the model wants them."""
    found: list[Measured] = []
    before: Any = UNKNOWN
    for row in rows:
        effort = json.loads(row["effort"])
        switched, before = _switch(effort, before)
        found.append(Measured(effort, row["seconds"], switched))
    return found


def _switch(effort: Effort, before: Any) -> tuple[bool, Any]:
    """Whether a job has to load its checkpoint, and which one it leaves; enlarging needs none."""
    if effort["kind"] == "extras":
        return False, before
    return before is not UNKNOWN and before != effort["checkpoint"], effort["checkpoint"]
