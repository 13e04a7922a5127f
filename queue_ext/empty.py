"""What happens when the queue has run empty: a webhook, word to the browsers, a command of the administrator's."""

import logging
import subprocess
import threading
from collections.abc import Callable

from .events import Bus, Event, JobChanged
from .models import FINISHED
from .queue import JobQueue
from .settings import Settings

log = logging.getLogger(__name__)

COMMAND_TIMEOUT = 3600.0  # seconds


class WhenEmpty:
    """Looks, whenever a job has ended, whether it was the last; in a thread of its own."""

    def __init__(self, queue: JobQueue, bus: Bus) -> None:
        self._store = queue.store
        self._settings = queue.settings
        self._bus = bus
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._store.watch_line()
        self._stopped.clear()
        self._unsubscribe = self._bus.subscribe(self._on_events)
        self._thread = threading.Thread(target=self._run, name="queue-ext empty", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """A command that runs is left to itself."""
        self._unsubscribe()
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _on_events(self, events: list[Event]) -> None:
        if any(isinstance(event, JobChanged) and event.data.get("state") in FINISHED for event in events):
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self._look()
            except Exception as error:
                log.warning("whether the queue is empty cannot be said now: %r", error)
                self._stopped.wait(self._settings.poll_interval_s)
                self._wake.set()

    def _look(self) -> None:
        url, secret = self._settings.when_empty_webhook, self._settings.when_empty_secret
        webhook = {"url": url, "secret": secret} if url and secret else None
        if self._store.run_empty(webhook) and self._settings.when_empty_command:
            command = self._settings.when_empty_command
            threading.Thread(target=run_command, args=(command,), name="queue-ext command", daemon=True).start()


def run_command(command: str) -> None:
    """Run the administrator's command in the server's shell; nothing that came in over the network is part of it."""
    try:
        done = subprocess.run(
            command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("when_empty_command did not end well: %s", error)
        return
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        log.warning("when_empty_command ended with %s: %s", done.returncode, *said or ["it said nothing"])


def wanted(settings: Settings) -> bool:
    """Whether anything is to happen at all."""
    return bool(settings.when_empty_command or settings.when_empty_webhook or settings.when_empty_notify)
