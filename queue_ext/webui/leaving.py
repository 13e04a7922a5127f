"""Ctrl+C and SIGTERM: a host ends on them at once (``os._exit``), and the job that runs would count as a crash."""

import atexit
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from . import host

PATIENCE = 1.0  # seconds the host's end waits for the running job to go back to the queue, and for a database
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]

_leave: Callable[[float], None] | None = None


def before_leaving(leave: Callable[[float], None]) -> None:
    """Have ``leave`` called once before this process ends, with the seconds it has."""
    global _leave
    _leave = leave
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    if threading.current_thread() is threading.main_thread():
        _listen()
    elif host.has_main_thread():  # which may be busy for a while yet
        threading.Thread(target=host.in_main_thread, args=[_listen], name="queue-ext signals", daemon=True).start()


def _listen() -> None:
    """Only the main thread may say who hears a signal."""
    for number in SIGNALS:
        before = signal.getsignal(number)
        if before not in (None, signal.SIG_IGN) and not isinstance(before, _Before):
            signal.signal(number, _Before(before))


class _Before:
    """Hears a signal, and passes it on to whoever heard it before."""

    def __init__(self, then: Any) -> None:
        self._then = then

    def __call__(self, number: int, frame: FrameType | None) -> None:
        _last_words()
        if callable(self._then):
            self._then(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _last_words() -> None:
    """In a thread: the one that is interrupted here may hold a lock that is needed."""
    thread = threading.Thread(target=_take(), args=[PATIENCE], name="queue-ext leaves", daemon=True)
    thread.start()
    thread.join(2 * PATIENCE)


def _at_exit() -> None:
    """The signal has only ended a loop of the host, or nobody sent one. New threads cannot be had any more."""
    _take()(PATIENCE)


def _take() -> Callable[[float], None]:
    """What is to be called; whoever is impatient and presses again is not kept."""
    global _leave
    leave, _leave = _leave, None
    return leave or (lambda _patience: None)
