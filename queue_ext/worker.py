"""The worker: the one thread of a process that runs jobs, and the one beside it that keeps its lease alive."""

import contextlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from .errors import FilterFailed, InvalidRequest, LeaseLost, PipelineUnavailable, RequestRefused, StorageUnavailable
from .events import Bus, CancelRequested, Event, JobChanged, QueueChanged, SkipRequested
from .filters import Run
from .ids import new_id
from .models import State
from .order import lanes_of
from .pipelines import Cancellation, Pipeline, Progress, Request, Result
from .queue import JobQueue
from .views import Row

log = logging.getLogger(__name__)

PROGRESS_RATE = 4.0  # progress messages a second, at most
PATIENCE_FIRST = 1.0  # seconds until a pipeline or a disk that failed is tried again; doubles
PATIENCE_MOST = 30.0
ABSENT = (PipelineUnavailable, StorageUnavailable)  # what a job waits for; its attempt does not count
EARLY_LIMIT = 1000  # requests to cancel that are remembered until their job is seen to start

ProgressHandler = Callable[[Row, dict[str, Any], "bytes | None"], None]


class Running:
    """The attempt that runs now."""

    def __init__(self, job: Row) -> None:
        self.job = job
        self.cancelled = Cancellation()
        self.cancelled_by = "cancelled while it ran"
        self.progress: dict[str, Any] = {}
        self.began = 0.0  # on the monotonic clock: when it got its turn
        self.seconds: float | None = None  # how long it ran; None where that says nothing about others like it
        self.skipped = False
        self.timer: threading.Timer | None = None


class Worker:
    """Claims, runs and finishes jobs one at a time. ``on_progress`` hears of progress, in the worker's thread."""

    def __init__(
        self,
        queue: JobQueue,
        bus: Bus,
        pipeline: Pipeline,
        on_progress: ProgressHandler,
        wants_preview: Callable[[str], bool],
    ) -> None:
        self._queue = queue
        self._bus = bus
        self._pipeline = pipeline
        self._settings = queue.settings
        self._on_progress = on_progress
        self._wants_preview = wants_preview
        self.id = new_id()
        self.running: Running | None = None
        self._next: Row | None = None  # claimed together with the end of the last job
        self._behind = ThreadPoolExecutor(1, "queue-ext settles")  # waits for the disk while the next job runs
        self._settling: Future[None] | None = None
        self.trouble: str | None = None  # why nothing runs although something waits
        self.registered = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._early: dict[str, Event] = {}
        self._in_doubt = False  # a claim or an end may have been committed although we were told of an error
        self._threads: list[threading.Thread] = []
        self._lock = _worker_lock(queue)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._beaten_at = 0.0

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._unsubscribe = self._bus.subscribe(self._on_events)
        self._threads = [
            threading.Thread(target=self._work, name="queue-ext worker", daemon=True),
            threading.Thread(target=self._beat, name="queue-ext heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def halt(self) -> None:
        """Begin no more jobs, and stop the running one as far as it goes without waiting; ``stop`` follows."""
        self._stopping.set()
        self._wake.set()
        running = self.running
        if running is not None:
            running.cancelled.cancel("shutdown")

    def stop(self, patience: float | None = None) -> None:
        """Let the running job go back to the head of its queue; waits so many seconds, by default
        ``shutdown_timeout_s``, for it to let go."""
        self.halt()
        work, beat = self._threads
        work.join(self._settings.shutdown_timeout_s if patience is None else patience)
        running = self.running
        if work.is_alive() and running is not None:
            self._give_up(running)
        self._behind.shutdown()
        self._ended.set()
        beat.join()
        self._unsubscribe()
        self._leave()

    def _give_up(self, running: Running) -> None:
        """The pipeline does not let go: its job is next again, and what it still makes is turned away by its lease."""
        log.warning("job %s did not stop in time; it goes back to the queue", running.job["id"])
        try:
            self._queue.give_back(running.job, "the process stopped")
        except (LeaseLost, StorageUnavailable) as error:
            log.warning("job %s: %s", running.job["id"], error)

    def _leave(self) -> None:
        if self.registered and not self._in_doubt:  # else whoever comes next finds the dead worker, and its job
            try:
                self._queue.store.remove_workers([self.id])
            except StorageUnavailable as error:
                log.warning("worker %s could not sign off: %s", self.id, error)
            self.registered = False
        if self._lock is not None:
            self._lock.release()

    def wake(self) -> None:
        """Something may have come in."""
        self._wake.set()

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CancelRequested):
                self._on_cancel(event)
            elif isinstance(event, SkipRequested):
                running = self.running
                if running is not None and running.job["id"] == event.job_id:
                    running.skipped = True
                    running.cancelled.skip()
            elif isinstance(event, QueueChanged):
                self._queue.forget_lanes()
                self._wake.set()
            elif self._is_work(event):
                self._wake.set()

    def _is_work(self, event: Event) -> bool:
        """Whether a job has come into a lane that is served here."""
        has_come = isinstance(event, JobChanged) and event.data.get("state") == State.ENQUEUED
        return has_come and bool(lanes_of(self._settings.queues, [str(event.queue)]))

    def _on_cancel(self, event: Event) -> None:
        self._early[str(event.job_id)] = event
        while len(self._early) > EARLY_LIMIT:
            self._early.pop(next(iter(self._early)))
        if self.running is not None:
            self._cancel(self.running, event)

    def _cancel(self, running: Running, event: Event | None) -> None:
        """Stop the attempt an event is about. It is told by its lease: clocks of other hosts may be slow."""
        if event is None or event.job_id != running.job["id"] or event.data.get("lease") != running.job["lease"]:
            return
        running.cancelled_by = event.data.get("reason") or running.cancelled_by
        running.cancelled.cancel("cancelled")

    # --- the loop --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        patience = PATIENCE_FIRST
        while self._next is not None or not self._stopping.is_set():
            try:
                progressed = self._step()
                patience = PATIENCE_FIRST
            except (*ABSENT, FilterFailed) as error:
                self._doubt(isinstance(error, StorageUnavailable))
                self._complain(str(error))
                self._stopping.wait(patience)
                patience = min(patience * 2, PATIENCE_MOST)
                continue
            except Exception:
                self._doubt(False)
                log.exception("the worker stumbled and goes on")
                self._stopping.wait(patience)
                continue
            if not progressed:
                self._wake.wait(self._settings.poll_interval_s)
                self._wake.clear()

    def _doubt(self, storage: bool) -> None:
        """After trouble: what was claimed ahead, or may have been, goes back to its lane."""
        self._in_doubt |= storage or self._next is not None
        self._next = None

    def _step(self) -> bool:
        """Run one job; whether there was one."""
        if not self._enter():
            return False
        job, self._next = self._next or self._queue.claim(self.id), None
        if job is None:
            self.trouble = None
            return False
        self._run(job)
        return True

    def _enter(self) -> bool:
        """Become the worker: only one process of a host is, on one SQLite file. Whether this one is."""
        if self._lock is not None and not self._lock.is_locked:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                self.trouble = "another process of this host runs the jobs of this database"
                return False
        if not self.registered:
            self._register()
        if self._in_doubt:
            self._next = None
            for job in self._queue.store.held_by(self.id):
                with contextlib.suppress(LeaseLost):
                    self._queue.give_back(job, "it was claimed while the database did not answer")
            self._in_doubt = False
        return True

    def _register(self) -> None:
        now = time.time()
        self._queue.store.add_worker(
            {
                "id": self.id, "host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time(),
                "pipeline": self._pipeline.name, "queues": json.dumps(list(self._settings.queues)), "started_at": now,
                "heartbeat_at": now, "lease_s": self._settings.lease_s,
            }
        )  # fmt: skip
        self.registered = True
        self.trouble = None

    def _complain(self, text: str) -> None:
        if text != self.trouble:
            log.warning("no job runs now: %s", text)
        self.trouble = text

    # --- one job ---------------------------------------------------------------------------------------------------

    def _run(self, job: Row) -> None:
        running = Running(job)
        self.running = running
        self._beaten_at = time.monotonic()
        self._cancel(running, self._early.get(job["id"]))
        if self._stopping.is_set():  # claimed in the very moment of stopping
            running.cancelled.cancel("shutdown")
        try:
            self._settle(running, self._attempt(running))
        finally:
            self.running = None
            self._queue.live.pop(job["id"], None)

    def _attempt(self, running: Running) -> "Result | BaseException":
        """Run the pipeline; what it made, or what it raised."""
        if not getattr(self._pipeline, "takes_turns", False):  # else its time begins with its turn
            self.set_timer(running)
        run, job, filters = Run(running.job), running.job, self._queue.store.filters
        try:
            self._queue.require_task(job)
            run.payload = self._queue.payload(job)
            filters.start(run)
            request = Request(job["id"], job["task"], run.payload, job["attempt"], job["owner"])
            running.began = time.monotonic()
            run.result = self._pipeline.run(request, Relay(self, running), running.cancelled)
            running.seconds = None if running.skipped else time.monotonic() - running.began
        except Exception as error:
            if running.cancelled.reason is None and not isinstance(error, (*ABSENT, RequestRefused)):
                log.exception("job %s: attempt %s failed", job["id"], job["attempt"])
            run.error = error
        finally:
            if running.timer is not None:
                running.timer.cancel()
        self._look_back(running, run)
        return run.error or run.result or TypeError("a filter left no result")

    def _look_back(self, running: Running, run: Run) -> None:
        """Let filters see how the attempt went; it fails with what they raise."""
        run.stopped = running.cancelled.reason
        try:
            parameters = self._queue.store.filters.finish(run)
        except Exception as error:
            run.error = run.error or error
        else:
            if parameters is not None:
                running.job = {**running.job, "parameters": parameters}

    def set_timer(self, running: Running) -> None:
        """The attempt's time limit counts from now."""
        if running.timer is not None:
            running.timer.cancel()
        seconds = self._queue.timeout(running.job)
        if seconds is None:
            return
        running.timer = threading.Timer(seconds, running.cancelled.cancel, ["timeout"])
        running.timer.daemon = True
        running.timer.start()

    def _settle(self, running: Running, outcome: "Result | BaseException") -> None:
        """Write down how the attempt ended; again and again while the database or the disk refuses."""
        wait = PATIENCE_FIRST
        while True:
            try:
                self._write_down(running, outcome)
                self.trouble = None
                break
            except LeaseLost as error:
                log.warning("%s", error)
                break
            except StorageUnavailable as error:
                self._in_doubt = True
                self._complain(f"the outcome of job {running.job['id']} cannot be stored: {error}")
                if self._stopping.wait(wait):
                    return
                wait = min(wait * 2, PATIENCE_MOST)
            except Exception as error:
                if not isinstance(outcome, Result):
                    raise
                log.exception("what job %s made cannot be stored: the attempt failed", running.job["id"])
                outcome = error
        if isinstance(outcome, ABSENT) and running.cancelled.reason is None:
            raise outcome

    def _write_down(self, running: Running, outcome: "Result | BaseException") -> None:
        queue, job, reason = self._queue, running.job, running.cancelled.reason
        if reason == "lease lost":
            raise LeaseLost(job_id=job["id"], lease=job["lease"])
        if reason == "shutdown":
            queue.give_back(job, "the process stopped")
        elif reason == "cancelled":
            queue.cancelled(job, outcome if isinstance(outcome, Result) else Result(), running.cancelled_by)
        elif reason == "timeout":
            queue.fail(job, TimeoutError(f"the attempt took longer than {queue.timeout(job):g} s"))
        elif isinstance(outcome, Result):
            if outcome.interrupted:
                queue.cancelled(job, outcome, outcome.interrupted)
            else:
                self._finish(running, outcome)
        elif isinstance(outcome, ABSENT):
            queue.give_back(job, outcome.detail[:1000])
        else:
            queue.fail(job, outcome, final=isinstance(outcome, (RequestRefused, InvalidRequest)))

    def _finish(self, running: Running, outcome: Result) -> None:
        """It succeeded, and the next one begins: before the disk has taken that for good, since the pipeline would wait
        for it. Of no more than one end the disk may still know nothing."""
        if self._settling is not None:
            self._settling.result()
        if self._stopping.is_set():
            self._queue.finish(running.job, outcome, running.seconds)
            return
        self._next, settle = self._queue.finish_and_claim(running.job, outcome, self.id, running.seconds)
        if self._next is None:
            self._settled(settle)
        else:
            self._settling = self._behind.submit(self._settled, settle)

    @staticmethod
    def _settled(settle: Callable[[], None]) -> None:
        try:
            settle()
        except Exception:  # it is written and told of; only the death of the machine could take it back now
            log.warning("the end of a job is perhaps not on the disk yet", exc_info=True)

    def report(self, running: Running, progress: dict[str, Any], preview: bytes | None) -> None:
        """Pass on where the attempt stands."""
        running.progress = progress
        self._queue.live[running.job["id"]] = progress
        self._on_progress(running.job, progress, preview)

    def expected(self, job: Row) -> float | None:
        """How long such a job takes, as far as anybody knows. Asks no database: the pipeline would wait for it."""
        return self._queue.estimates.remembered(job)

    def wants_preview(self, job_id: str) -> bool:
        return self._settings.preview_fps > 0 and self._wants_preview(job_id)

    @property
    def preview_fps(self) -> float:
        return self._settings.preview_fps

    # --- the heartbeat ---------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        interval = min(self._settings.poll_interval_s, self._settings.heartbeat_s)
        while not self._ended.wait(interval):
            if not self.registered or time.monotonic() - self._beaten_at < self._settings.heartbeat_s:
                continue
            self._beaten_at = time.monotonic()
            try:
                self._show_life()
            except StorageUnavailable as error:
                log.warning("the heartbeat could not be stored: %s", error)
            except Exception:
                log.exception("a heartbeat failed; the next one is on its way")

    def _show_life(self) -> None:
        running = self.running
        if not self._queue.store.beat(self.id, time.time(), running.progress if running else None):
            log.warning("worker %s was taken for dead; it signs on again", self.id)
            self.id = new_id()
            self._register()
        if running is None:
            return
        held = self._queue.store.renew(running.job["id"], running.job["lease"], time.time() + self._settings.lease_s)
        if not held and self.running is running:
            running.cancelled.cancel("lease lost")


class Relay:
    """The progress callback of one attempt: passes on at most PROGRESS_RATE a second, previews at most preview_fps."""

    def __init__(self, worker: Worker, running: Running) -> None:
        self._worker = worker
        self._running = running
        self._told_at = 0.0
        self._shown_at = 0.0

    def began(self) -> None:
        """For a pipeline that others use as well: it has given us our turn, and what came before was waiting."""
        self._running.began = self._told_at = time.monotonic()  # what is done at once is not worth a message
        self._worker.set_timer(self._running)

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told_at < 1 / PROGRESS_RATE and progress.fraction < 1:
            return
        self._told_at = now
        self._worker.report(self._running, self._described(progress, now), self._preview(progress, now))

    def _described(self, progress: Progress, now: float) -> dict[str, Any]:
        left = self._left(progress.fraction, now - self._running.began)
        return {
            "fraction": round(min(1.0, max(0.0, progress.fraction)), 4), "step": progress.step, "steps": progress.steps,
            "image": progress.image, "images": progress.images, "eta_s": None if left is None else round(left, 1),
        }  # fmt: skip

    def _left(self, fraction: float, ran: float) -> float | None:
        """Seconds until the attempt is done. The first step holds what comes before all steps, so that at first what
        such jobs took before tells more than how far this one has come."""
        if fraction <= 0.01:
            return None
        by_pace = ran * (1 - fraction) / fraction
        expected = self._worker.expected(self._running.job)
        return by_pace if expected is None else fraction * by_pace + (1 - fraction) * (1 - fraction) * expected

    def _preview(self, progress: Progress, now: float) -> bytes | None:
        if progress.preview is None or not self._worker.wants_preview(self._running.job["id"]):
            return None
        if now - self._shown_at < 1 / self._worker.preview_fps:
            return None
        self._shown_at = now
        try:
            return progress.preview()
        except Exception:  # nobody loses a picture because it could not be shown half done
            log.exception("a preview of job %s failed", self._running.job["id"])
            return None


def is_dead(worker: Row, now: float) -> bool:
    """Whether a worker is gone: its process is not there any more on this host, or it has been silent for its lease."""
    if worker["host"] == platform.node():
        try:
            process = psutil.Process(worker["pid"])
            # A killed process that its parent has not waited for still has its pid and its times.
            return abs(process.create_time() - worker["born"]) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            pass
    return now - worker["heartbeat_at"] > worker["lease_s"]


def _worker_lock(queue: JobQueue) -> FileLock | None:
    database = queue.store.db.url.database
    if queue.store.db.dialect != "sqlite" or not database or database == ":memory:":
        return None
    return FileLock(str(Path(database).absolute()) + ".worker.lock", thread_local=False)
