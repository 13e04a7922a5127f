"""What happened, as frozen past-tense values, and the bus that carries them in the order of their commits."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

log = logging.getLogger(__name__)

TAIL_BATCH = 1000  # events read at once
BREATH = 0.005  # seconds between two looks at the log: in a storm of commits they are read together


@dataclass(frozen=True)
class Event:
    """Something that was committed. ``seq`` grows with every event; ``at`` is seconds since the epoch."""

    seq: int
    at: float
    owner: str
    job_id: str | None
    queue: str | None
    data: dict[str, Any] = field(default_factory=dict)


class JobChanged(Event):
    """A job entered a state (``data["state"]``) or was edited."""


class JobMoved(Event):
    """A waiting job got another place in its line."""


class JobRemoved(Event):
    """A finished job was forgotten."""


class CancelRequested(Event):
    """Somebody asked a running job to stop."""


class SkipRequested(Event):
    """Somebody asked a running job to leave its current picture."""


class QueueChanged(Event):
    """A lane was made, paused, resumed, changed or deleted."""


class ScheduleChanged(Event):
    """A schedule was made, changed, deleted or fired (``data["what"]``)."""


class QueueEmptied(Event):
    """Nothing is in line any more, and nothing runs."""


KINDS: dict[str, type[Event]] = {
    "job": JobChanged,
    "moved": JobMoved,
    "removed": JobRemoved,
    "cancel": CancelRequested,
    "skip": SkipRequested,
    "queue": QueueChanged,
    "schedule": ScheduleChanged,
    "empty": QueueEmptied,
}


def from_row(row: Any) -> Event:
    """The event a row of the log stands for; one of a later version is a plain Event."""
    kind = KINDS.get(row["kind"], Event)
    return kind(row["seq"], row["at"], row["owner"], row["job_id"], row["queue"], json.loads(row["data"]))


Handler = Callable[[list[Event]], None]


class Bus:
    """Hands batches of events to whoever subscribed. A handler that raises is logged; the others still hear."""

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self._lock = threading.Lock()

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        """Call ``handler`` with every batch; the returned function ends that."""
        with self._lock:
            self._handlers.append(handler)
        return lambda: self._unsubscribe(handler)

    def _unsubscribe(self, handler: Handler) -> None:
        with self._lock:
            if handler in self._handlers:
                self._handlers.remove(handler)

    def publish(self, events: list[Event]) -> None:
        with self._lock:
            handlers = list(self._handlers)
        for handler in handlers:
            try:
                handler(events)
            except Exception:
                log.exception("a handler of events failed")


class Log(Protocol):
    """The part of the store the tail reads."""

    def last_seq(self) -> int: ...

    def events_after(self, seq: int, limit: int, owner: str | None = None) -> list[Any]: ...


class Tail:
    """A thread that publishes the log's end: every event once, in order, after its commit, whichever process made it.

    What this process commits it is handed (``hand``), and reads the log only where others have written in between.
    ``wake()`` makes it look at once; else it looks every ``interval`` seconds.
    """

    def __init__(self, log_: Log, bus: Bus, interval: float) -> None:
        self._log = log_
        self._bus = bus
        self._interval = interval
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._handed: deque[Any] = deque(maxlen=TAIL_BATCH)
        self._asked = False
        self.seq = self.first = 0

    def start(self) -> None:
        self._handed.clear()
        self.seq = self.first = self._log.last_seq()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="queue-ext tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """There may be something in the log that nobody hands over."""
        self._asked = True
        self._wake.set()

    def hand(self, rows: Sequence[Any]) -> None:
        """What has just been committed, as the log holds it."""
        self._handed.extend(rows)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._interval)
            self._wake.clear()
            asked, self._asked = self._asked, False
            try:
                if asked or not self._publish_handed():
                    self._read()
                self._stopped.wait(BREATH)
            except Exception as error:
                log.warning("the event log cannot be read now: %s", error)
                self._stopped.wait(self._interval)

    def _publish_handed(self) -> bool:
        """Publish what was handed over, if it is all there is: numbers have no gaps, and commits follow them."""
        handed = sorted((self._handed.popleft() for _ in range(len(self._handed))), key=itemgetter("seq"))
        rows = [row for row in handed if row["seq"] > self.seq]
        if not rows or rows[-1]["seq"] - self.seq != len(rows):
            return False
        self._publish(rows)
        return True

    def _read(self) -> None:
        while rows := self._log.events_after(self.seq, TAIL_BATCH):
            self._publish(rows)
            if len(rows) < TAIL_BATCH:
                return

    def _publish(self, rows: Sequence[Any]) -> None:
        self.seq = rows[-1]["seq"]
        self._bus.publish([from_row(row) for row in rows])
