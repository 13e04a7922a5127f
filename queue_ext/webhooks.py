"""Telling the world outside: a thread of its own takes what is due and a few others deliver it, never the worker.

Every body is signed: ``X-Queue-Signature`` is ``sha256=`` and the HMAC-SHA256 of ``<X-Queue-Timestamp>.<body>`` under
the secret that came with the webhook. What does not arrive is tried again, later and later.
"""

import hashlib
import hmac
import http.client
import json
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import __version__
from .addresses import Connection, Deadline, target
from .errors import JobNotFound, StorageUnavailable
from .events import Bus, Event, JobChanged, QueueEmptied
from .identity import Owner
from .models import FINISHED
from .queue import JobQueue
from .shapes import from_epoch
from .views import Row

log = logging.getLogger(__name__)

AT_ONCE = 4  # deliveries: a slow receiver does not hold up the others
TIMEOUT = 10.0  # seconds an exchange may take
HOLD = 60.0  # seconds until another process tries what this one has taken
TRIES = 10
LONGEST = 3600.0  # seconds between two tries


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver compares ``X-Queue-Signature`` with."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Deliverer:
    """Delivers what is due as long as it is started, whichever process it comes from."""

    def __init__(self, queue: JobQueue, bus: Bus) -> None:
        self._queue = queue
        self._store = queue.store
        self._settings = queue.settings
        self._bus = bus
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._free = threading.Semaphore(AT_ONCE)
        self._open: set[Connection] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._stopped.clear()
        self._threads = ThreadPoolExecutor(AT_ONCE, "queue-ext delivery")
        self._unsubscribe = self._bus.subscribe(self._on_events)
        self._thread = threading.Thread(target=self._run, name="queue-ext webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut what is under way; it is tried again by whoever comes next."""
        self._unsubscribe()
        self._stopped.set()
        self._wake.set()
        for connection in list(self._open):
            connection.cut()
        if self._thread is not None and self._threads is not None:
            self._thread.join()
            self._threads.shutdown(wait=True)
            self._thread = self._threads = None

    def _on_events(self, events: list[Event]) -> None:
        if any(_tells(event) for event in events):
            self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                pause = self._hand_out()
            except Exception as error:
                log.warning("webhooks are put off: %r", error)
                pause = self._settings.schedule_poll_interval_s
            self._wake.wait(pause)
            self._wake.clear()

    def _hand_out(self) -> float:
        """Give away what is due; seconds until there may be more."""
        while not self._stopped.is_set():
            if not self._free.acquire(timeout=0.5):
                continue
            row = None if self._stopped.is_set() else self._store.take_delivery(time.time(), HOLD)
            if row is None:
                self._free.release()
                break
            assert self._threads is not None
            self._threads.submit(self._deliver, row).add_done_callback(lambda _done: self._free.release())
        due, backstop = self._store.next_delivery(), self._settings.schedule_poll_interval_s
        return backstop if due is None else min(backstop, max(0.0, due - time.time()))

    def _deliver(self, row: Row) -> None:
        try:
            error = self._tried(row)
            if error is None:
                self._store.end_delivery(row, due_at=None, delivered_at=time.time(), error=None)
            else:
                self._put_off(row, error)
        except StorageUnavailable as error:
            log.warning("how delivery %s went cannot be stored; it comes again: %s", row["id"], error)

    def _put_off(self, row: Row, error: str) -> None:
        if row["tries"] >= TRIES and not self._stopped.is_set():
            log.warning("%s of job %s was not delivered in %s tries: %s", row["event"], row["job_id"], TRIES, error)
            self._store.end_delivery(row, due_at=None, error=error)
            return
        delay = min(self._settings.webhook_retry_delay_s * 2 ** (row["tries"] - 1), LONGEST) * random.uniform(0.9, 1.1)
        self._store.end_delivery(row, due_at=time.time() + delay, error=error)
        self._wake.set()

    def _tried(self, row: Row) -> str | None:
        """What went wrong, or None; whatever it was, it is worth another try."""
        try:
            return self._try(row)
        except StorageUnavailable:
            raise
        except Exception as error:
            log.exception("delivery %s failed", row["id"])
            return type(error).__name__

    def _try(self, row: Row) -> str | None:
        """Deliver; what went wrong, or None."""
        try:
            found = target(row["url"], self._settings.webhook_hosts, self._settings.webhook_private)
        except ValueError as error:
            return f"the address {error}"
        connection = Connection(found, self._settings.webhook_private, TIMEOUT)
        body = json.dumps(self._body(row)).encode()
        self._open.add(connection)
        if self._stopped.is_set():  # in this very moment
            connection.cut()
        try:
            with Deadline(connection, TIMEOUT):
                connection.request("POST", found.path, body, {"Host": found.shown_host, **self._headers(row, body)})
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _why(error)
        finally:
            self._open.discard(connection)
        if 300 <= status < 400:
            return f"it answered {status}; redirects are not followed"
        return None if 200 <= status < 300 else f"it answered {status}"

    def _body(self, row: Row) -> dict[str, Any]:
        return {
            "id": row["id"],
            "event": row["event"],
            "at": from_epoch(row["at"]),
            "reason": row["reason"],
            "job_id": row["job_id"],
            "job": self._job(row["job_id"]) if row["job_id"] else None,
        }

    def _job(self, job_id: str) -> dict[str, Any] | None:
        """The job as its owner sees it by now; None where it has been forgotten."""
        try:
            owner = self._store.job(job_id)["owner"]
        except JobNotFound:
            return None
        return next(iter(self._queue.show(Owner(owner), [job_id])), None)

    def _headers(self, row: Row, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        return {
            "Content-Type": "application/json",
            "User-Agent": f"queue-ext/{__version__}",
            "X-Queue-Event": row["event"],
            "X-Queue-Delivery": row["id"],
            "X-Queue-Timestamp": timestamp,
            "X-Queue-Signature": signature(row["secret"], timestamp, body),
        }


def _tells(event: Event) -> bool:
    return isinstance(event, QueueEmptied) or (isinstance(event, JobChanged) and event.data.get("state") in FINISHED)


def _why(error: Exception) -> str:
    """In words that name no address: whoever may see the job sees them."""
    if isinstance(error, TimeoutError):
        return f"it did not answer within {TIMEOUT:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "it refused the connection"
    return " ".join(str(error).split())[:300] or type(error).__name__
