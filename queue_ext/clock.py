"""The clock: APScheduler tells when, the rows say what. Due jobs, lost workers, retention."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from .errors import FilterFailed, StorageUnavailable
from .events import Bus, Event, JobChanged, ScheduleChanged
from .models import State, moment_of
from .queue import UPLOAD_AGE, JobQueue
from .schedules import BATCH as FIRED_AT_ONCE
from .schedules import Schedules
from .worker import is_dead

log = logging.getLogger(__name__)
# That a look is left out while the last one still runs is as it should be on a busy machine, and no news.
scheduler_log = logging.getLogger(f"{__name__}.scheduler")
scheduler_log.setLevel(logging.ERROR)

JUMP = 1.0  # seconds the wall clock and the steady one may drift apart between two looks
LEARN_INTERVAL = 2.0  # seconds
BATCH = 50  # jobs moved or forgotten in one transaction: whoever wants to write waits for no more than that


class Every(BaseTrigger):
    """So many seconds after the last look. APScheduler's own interval counts every look that was missed: after a month
    asleep, millions of them."""

    def __init__(self, seconds: float) -> None:
        self._pause = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now + self._pause


class Clock:
    """Wakes up at the earliest due moment and at the settings' intervals. ``own_worker`` is never taken for dead."""

    def __init__(self, queue: JobQueue, schedules: Schedules, bus: Bus, own_worker: Callable[[], str | None]) -> None:
        self._queue = queue
        self._schedules = schedules
        self._bus = bus
        self._own_worker = own_worker
        self._scheduler: BackgroundScheduler | None = None
        self._gate = threading.Lock()  # shutdown holds the scheduler's own locks while it waits for actions to end
        self._unsubscribe: Callable[[], None] = lambda: None
        self._promoting = threading.Lock()
        self._stopped = threading.Event()
        self._watch: threading.Thread | None = None

    def start(self) -> None:
        settings = self._queue.settings
        scheduler = BackgroundScheduler(
            timezone=timezone.utc,
            job_defaults={"coalesce": True, "misfire_grace_time": None},
            logger=scheduler_log,
        )
        # What was due while nothing ran is done at once; for lost jobs ``recover`` has just looked.
        now = datetime.now(timezone.utc)
        for name, action, seconds, first in (
            ("due", self._promote, settings.schedule_poll_interval_s, now),
            ("lost", self._recover, settings.poll_interval_s, now + timedelta(seconds=settings.poll_interval_s)),
            ("expire", self._expire, settings.expiration_check_interval_s, now),
            ("learn", self._learn, LEARN_INTERVAL, now),
        ):
            scheduler.add_job(_guarded(action), Every(seconds), id=name, name=name, next_run_time=first)
        scheduler.start()
        self._scheduler = scheduler
        self._unsubscribe = self._bus.subscribe(self._on_events)
        self._stopped.clear()
        self._watch = threading.Thread(target=self._watch_for_jumps, name="queue-ext clock watch", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        self._unsubscribe()
        self._stopped.set()
        if self._watch is not None:
            self._watch.join()
        with self._gate:
            scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=True)

    def _watch_for_jumps(self) -> None:
        """Notice when the wall clock is set or the machine slept. APScheduler waits for a moment on the wall clock: set
        back by an hour, it would look at nothing for an hour."""
        offset = time.time() - time.monotonic()
        while not self._stopped.wait(self._queue.settings.poll_interval_s):
            now = time.time() - time.monotonic()
            if abs(now - offset) > JUMP:
                log.warning("the clock was set by %+.0f s; everything due is looked at again", now - offset)
                self._look_again()
            offset = now

    def _look_again(self) -> None:
        with self._gate:
            if self._scheduler is not None:
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(timezone.utc))

    def _on_events(self, events: list[Event]) -> None:
        # Whoever is promoting asks for the next moment when it is done.
        if not self._promoting.locked() and any(_sets_a_time(event) for event in events):
            self._wake_at_next()

    def _wake_at_next(self) -> None:
        store = self._queue.store
        due = min(
            (moment for moment in (store.next_due(), store.next_schedule_at()) if moment is not None), default=None
        )
        if due is None:
            return
        moment = moment_of(max(due, time.time()))
        with self._gate:
            if self._scheduler is not None:
                # One that asks for itself anew is still running when that moment is now.
                self._scheduler.add_job(
                    _guarded(self._promote), "date", run_date=moment, id="next", replace_existing=True, max_instances=3
                )

    def _promote(self) -> None:
        if not self._promoting.acquire(blocking=False):
            return  # whoever is at it looks again when it is done
        try:
            more = True
            # In turns: neither many jobs nor many schedules hold up the others.
            while more and not self._stopped.is_set():
                promoted = self._queue.store.promote_due(self._queue.settings.fair_share, BATCH)
                fired = self._schedules.fire_due()
                more = promoted == BATCH or fired == FIRED_AT_ONCE
        finally:
            self._promoting.release()
        self._wake_at_next()

    def recover(self) -> None:
        """Before the worker begins: else it takes another job, and what a crash interrupted is no longer the next."""
        _guarded(self._recover)()

    def _recover(self) -> None:
        while self._queue.store.give_up_waiting(BATCH) == BATCH:
            pass
        now, own = time.time(), self._own_worker()
        dead = [row["id"] for row in self._queue.store.workers() if row["id"] != own and is_dead(row, now)]
        crashes = self._queue.settings.max_crashes
        taken = self._queue.surely(self._queue.store.recover, dead, crashes, now, own or "")
        for job_id in taken:
            log.warning(
                "job %s was taken back from a worker that is gone: it is next again, or has failed with a reason",
                job_id,
            )
        if dead:
            self._queue.store.remove_workers(dead)

    def _learn(self) -> None:
        self._queue.estimates.refresh()

    def _expire(self) -> None:
        store, now = self._queue.store, time.time()
        while store.expire(BATCH) == BATCH:
            pass
        size = self._queue.settings.history_size
        while size is not None and store.shorten_history(size, BATCH) == BATCH:
            pass
        store.trim(now)
        store.forget_measurements()
        store.forget_deliveries(now)
        store.forget_uploads(now - UPLOAD_AGE)
        self._queue.media.collect(lambda names: store.unreferenced(names), now)


def _sets_a_time(event: Event) -> bool:
    if isinstance(event, JobChanged):
        return event.data.get("state") == State.SCHEDULED
    return isinstance(event, ScheduleChanged)


def _guarded(action: Callable[[], None]) -> Callable[[], None]:
    """The clock goes on when the database does not answer or a filter fails; the next tick tries again."""

    def run() -> None:
        try:
            action()
        except (StorageUnavailable, FilterFailed) as error:
            log.warning("%s put off: %s", action.__name__.strip("_"), error)

    return run
