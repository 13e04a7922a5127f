"""Places in line: position, jobs ahead, and seconds until a job's turn."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import order
from .estimates import Estimates
from .models import WAITING, State
from .store import Store, Surroundings
from .views import Place, Row

GENERATIONS = 20  # of parents that are looked at to tell when a job can start
OVERHEAD = 0.01  # seconds between two jobs


RUNNING = Place(position=0, ahead=0, eta_s=0.0)


@dataclass(frozen=True)
class Lane:
    """What stands before the first job of a queue: whole lanes served earlier, and what runs."""

    paused: bool
    served: bool
    jobs: int  # that finish before the first one here can start
    seconds: float | None
    workers: int


class Line:
    """Answers for the places of jobs. It keeps nothing."""

    def __init__(self, store: Store, lease_s: float, estimates: Estimates) -> None:
        self._store = store
        self._lease_s = lease_s
        self._estimates = estimates
        self.progress: Callable[[str], Row | None] = lambda _job_id: None  # what the job this process runs last told
        self.held: Callable[[], bool] = lambda: False  # whether somebody else holds the pipeline of this process

    def estimate(self, row: Row) -> float | None:
        """How long a job runs, seconds; None as long as nobody knows."""
        return _rounded(self._estimates.of(row))

    def places(self, rows: Sequence[Row]) -> dict[str, Place]:
        """The places of jobs, by id: 0 for running ones, none for finished ones. Those that do not wait for a worker
        yet have none either, only the time until they may start."""
        if not any(row["state"] in WAITING for row in rows):
            return {row["id"]: RUNNING if row["state"] == State.PROCESSING else Place() for row in rows}
        return self._places(rows, self.lanes())

    def _places(self, rows: Sequence[Row], lanes: "dict[str, Lane]") -> dict[str, Place]:
        waiting = [row for row in rows if row["state"] == State.ENQUEUED]
        ranks = self._store.ranks(waiting) if waiting else {}
        places = {row["id"]: self._place(lanes[row["queue"]], *ranks[row["id"]]) for row in waiting}
        later = [row for row in rows if row["state"] in (State.SCHEDULED, State.AWAITING)]
        starts = _Starts(self, lanes, later) if later else None
        for row in rows:
            if row["state"] == State.PROCESSING:
                places[row["id"]] = RUNNING
            elif row["id"] not in places:
                eta = starts.of(row) if starts and row["state"] in WAITING else None
                places[row["id"]] = Place(eta_s=_rounded(eta))
        return places

    def whole(self, queue: str, lanes: "dict[str, Lane] | None" = None) -> list[tuple[str, str, Place]]:
        """(id, owner, place) of every enqueued job of a queue, in the order they will run."""
        lane = (lanes or self.lanes())[queue]
        found, work = [], 0.0
        for number, row in enumerate(self._store.line(queue)):
            found.append((row.id, row.owner, self._place(lane, number, work)))
            work += row.work
        return found

    def _place(self, lane: Lane, before: int, work: float) -> Place:
        eta = self.wait(lane, before, work)
        return Place(before + 1, lane.jobs + before, _rounded(eta), lane.paused, not lane.served)

    def wait(self, lane: Lane, before: int, work: float) -> float | None:
        """Seconds until a job starts that has so many jobs and so much work of its lane before it."""
        own = self.seconds(before, work)
        if lane.paused or not lane.served or lane.seconds is None or own is None:
            return None
        return lane.seconds + own / lane.workers

    def drained(self, queue: str, lane: Lane) -> float | None:
        """Seconds until everything has started that waits in a lane now."""
        return self.wait(lane, *self._store.waiting_work(queue))

    def lanes(self) -> "dict[str, Lane]":
        """What stands before the first job of every queue."""
        seen = self._store.surroundings()
        now = time.time()
        alive = [row for row in seen.workers if now - row["heartbeat_at"] <= max(row["lease_s"], self._lease_s)]
        return _Lanes(self, seen, alive).all()

    def remaining(self, row: Row) -> float | None:
        """Seconds until a running job is done, as far as one can tell."""
        told = self.progress(row["id"])
        if told is not None and told.get("eta_s") is not None:
            return told["eta_s"]
        estimate = self._estimates.of(row)
        return None if estimate is None else max(0.0, estimate - (time.time() - row["started_at"]))

    def seconds(self, jobs: int, work: float) -> float | None:
        """How long so many jobs of so much work run, one after the other; None as long as nobody knows."""
        if not jobs:
            return 0.0
        return work + jobs * OVERHEAD if self._estimates.known else None

    def work_before(self, lanes: Sequence[str]) -> tuple[int, float]:
        """How many jobs wait in some lanes, and their work."""
        found = [self._store.waiting_work(lane) for lane in lanes]
        return sum(jobs for jobs, _ in found), sum(work for _, work in found)

    def family(self, rows: Sequence[Row]) -> tuple[dict[str, list[str]], list[Row]]:
        """The parents of waiting jobs, by job, and the rows of all that these wait for, generation by generation."""
        parents: dict[str, list[str]] = {}
        found: dict[str, Row] = {}
        wanted = [row["id"] for row in rows if row["state"] == State.AWAITING]
        for _ in range(GENERATIONS):
            if not wanted:
                break
            parents |= {job_id: list(of) for job_id, of in self._store.parents(wanted).items()}
            unseen = {parent for job_id in wanted for parent in parents.get(job_id, ()) if parent not in found}
            found |= {row["id"]: row for row in self._store.jobs(sorted(unseen))}
            wanted = [job_id for job_id in unseen if job_id in found and found[job_id]["state"] == State.AWAITING]
        return parents, list(found.values())


class _Starts:
    """When jobs can start that do not wait for a worker yet: at their time, or when their parents have ended; and not
    before what waits in their lane now."""

    def __init__(self, line: Line, lanes: Mapping[str, Lane], rows: Sequence[Row]) -> None:
        self._line = line
        self._lanes = lanes
        self._drained: dict[str, float | None] = {}
        self._ends: dict[str, float | None] = {}
        self._parents, elders = line.family(rows)
        known = [row for row in elders if row["state"] in (State.ENQUEUED, State.PROCESSING)]
        self._elders = {row["id"]: row for row in elders}
        self._places = line._places(known, dict(lanes))

    def of(self, row: Row) -> float | None:
        """Seconds until a job can start; None when nobody can say."""
        if row["state"] == State.SCHEDULED:
            return self._not_before(row, max(0.0, row["run_at"] - time.time()))
        ends = [self._end(parent) for parent in self._parents.get(row["id"], ())]
        if not ends or None in ends:
            return None
        return self._not_before(row, max(end for end in ends if end is not None))

    def _end(self, job_id: str) -> float | None:
        """Seconds until a parent has ended; a failed one may be requeued, nobody knows when."""
        if job_id not in self._ends:
            self._ends[job_id] = None  # while it is worked out
            self._ends[job_id] = self._worked_out(job_id)
        return self._ends[job_id]

    def _worked_out(self, job_id: str) -> float | None:
        row = self._elders.get(job_id)
        if row is None or row["state"] in (State.SUCCEEDED, State.DELETED):
            return 0.0
        if row["state"] == State.FAILED:
            return None
        if row["state"] == State.PROCESSING:
            return self._line.remaining(row)
        start = self._places[job_id].eta_s if row["state"] == State.ENQUEUED else self.of(row)
        takes = self._line.estimate(row)
        return None if start is None or takes is None else start + takes

    def _not_before(self, row: Row, seconds: float) -> float | None:
        lane = self._lanes.get(row["queue"])
        if lane is None or lane.paused or not lane.served:
            return None
        if row["queue"] not in self._drained:
            self._drained[row["queue"]] = self._line.drained(row["queue"], lane)
        return max(seconds, self._drained[row["queue"]] or 0.0)


class _Lanes:
    """Works out every lane from one look at counts, queues, workers and running jobs."""

    def __init__(self, line: Line, seen: Surroundings, workers: list[Row]) -> None:
        self._line = line
        self._counts = seen.counts
        self._paused = seen.paused
        self._names = sorted({*seen.paused, *(queue for queue, _ in seen.counts)})
        self._running = seen.running
        self._workers = [(row, json.loads(row["queues"])) for row in workers]

    def all(self) -> dict[str, Lane]:
        return {name: self._lane(name) for name in self._names}

    def _lane(self, name: str) -> Lane:
        serving = [(row, served) for row, served in self._workers if not served or name in served]
        ids = {row["id"] for row, _ in serving}
        running = [row for row in self._running if row["worker_id"] in ids]
        held = 1 if self._line.held() and not running else 0
        lanes = min((self._before(name, served) for _, served in serving), key=self._jobs, default=[])
        earlier = self._jobs(lanes)
        busy = len(running) + held
        jobs = earlier + max(0, busy - max(0, len(serving) - 1))
        return Lane(
            self._paused.get(name, False),
            bool(serving),
            jobs,
            self._seconds(lanes, running, len(serving)),
            max(1, len(serving)),
        )

    def _before(self, name: str, served: list[str]) -> list[str]:
        """The lanes with work that a worker serves before this one."""
        lanes = order.lanes_of(served, self._names)
        earlier = lanes[: lanes.index(name)] if name in lanes else []
        return [lane for lane in earlier if not self._paused.get(lane, False) and self._jobs([lane])]

    def _jobs(self, lanes: Sequence[str]) -> int:
        return sum(self._counts.get((lane, State.ENQUEUED.value), 0) for lane in lanes)

    def _seconds(self, earlier: Sequence[str], running: list[Row], workers: int) -> float | None:
        if running and len(running) < workers and not earlier:
            return 0.0
        left = [self._line.remaining(row) for row in running]
        first = self._line.seconds(*self._line.work_before(earlier)) if earlier else 0.0
        if first is None or any(seconds is None for seconds in left):
            return None
        return first / max(1, workers) + min((seconds for seconds in left if seconds is not None), default=0.0)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
