"""The lock around the model: first come, first served, almost; not reentrant, and nobody stops waiting."""

import collections
import threading


class FIFOLock:
    def __init__(self):
        self._lock = threading.Lock()
        self._inner_lock = threading.Lock()
        self._pending_threads = collections.deque()

    def acquire(self, blocking=True):
        with self._inner_lock:
            if self._lock.acquire(blocking=False):
                return True
            if not blocking:
                return False
            called = threading.Event()
            self._pending_threads.append(called)
        called.wait()
        return self._lock.acquire()

    def release(self):
        """Whoever is called now may still be overtaken by somebody who has not waited."""
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_error):
        self.release()
