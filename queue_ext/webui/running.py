"""One run inside the host: holds its pipeline, watches it, and passes on progress, interruption and skip.

``WebUIPipeline`` makes a ``HostRun`` for every attempt; what runs API payloads and what runs captured buttons both call
the host's functions through ``HostRun.call``.
"""

import contextlib
import io
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, TypeVar

from ..errors import QueueExtError
from ..pipelines import Cancellation, Progress
from . import host

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOK = 0.05  # seconds between two looks at what the host is doing
FIRST_LOOK = 0.2  # seconds until the first: a look takes the interpreter from the picture, which may be done by then
YIELD = 5.0  # seconds after which whoever was called to the pipeline and has not taken it is not coming
PREVIEW_SIDE = 512  # pixels: the longer side of a preview
PREVIEW_QUALITY = 80
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "not enough memory",
)


class Stopped(QueueExtError):
    """The attempt was told to stop before the host had begun with it."""


class OutOfMemory(QueueExtError, MemoryError):
    """The graphics card ran out of memory, also after it had been freed: {reason}"""

    status = 500


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it failed for want of memory, of the graphics card or of the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in OUT_OF_MEMORY)


class Turn:
    """Holds the host's ``queue_lock``. The lock knows no owner, so that a thread may wait for it in our stead."""

    held_by_us = False  # one worker a process: it is enough to know that it is us
    _before_us: ClassVar["weakref.WeakSet[threading.Event]"] = weakref.WeakSet()  # its line when we gave the lock

    def __init__(self, cancelled: Cancellation) -> None:
        self._cancelled = cancelled
        self._lock = host.queue_lock()

    def take(self) -> None:
        """Wait in the host's line. Raises Stopped."""
        self._let_others_first()
        if not self._lock.acquire(blocking=False):
            self._wait_in_line()
        Turn.held_by_us = True

    def give(self) -> None:
        Turn.held_by_us = False
        Turn._before_us.update(list(getattr(self._lock, "_pending_threads", ())))  # a copy: others go on coming
        self._lock.release()

    def _let_others_first(self) -> None:
        """The lock takes whom it calls out of its line, and lets us overtake them until they have woken up, which on a
        busy machine takes its time. The event each waits with lives until their ``acquire`` returns."""
        until = time.monotonic() + YIELD
        while Turn._before_us and not is_locked(self._lock):
            if self._cancelled.is_set():
                raise Stopped
            if time.monotonic() > until:
                Turn._before_us.clear()
            time.sleep(0.001)

    def _wait_in_line(self) -> None:
        """The lock knows no time-out: a thread waits, and gives it back when nobody wants it any more."""
        wanted, taken, decide = [True], threading.Event(), threading.Lock()

        def wait() -> None:
            self._lock.acquire()
            with decide:
                if wanted[0]:
                    taken.set()
                    return
            self._lock.release()

        threading.Thread(target=wait, name="queue-ext waits for the pipeline", daemon=True).start()
        while not taken.wait(LOOK):
            if self._cancelled.is_set():
                with decide:
                    if not taken.is_set():
                        wanted[0] = False
                        raise Stopped
                self._lock.release()
                raise Stopped


@contextlib.contextmanager
def lent(lock: Any) -> Iterator[None]:
    """Let the function that we are about to call take the lock that we hold; for the time of the context.

    Other extensions' buttons take ``queue_lock`` themselves, and would wait for us for ever. While they run, in this
    thread or in the one that Forge keeps for its model, the lock takes them for us; everybody else waits as before.
    """
    ours, kind = {threading.get_ident(), threading.main_thread().ident}, type(lock)

    class Lent(kind):  # type: ignore[misc,valid-type]
        def acquire(self, *args: Any, **kwargs: Any) -> Any:
            return True if threading.get_ident() in ours else kind.acquire(self, *args, **kwargs)

        def release(self) -> None:
            if threading.get_ident() not in ours:
                kind.release(self)

        def __enter__(self) -> Any:
            return self.acquire()

        def __exit__(self, *_error: object) -> None:
            self.release()

    lock.__class__ = Lent  # a ``with`` asks the class: methods put into the object would not be seen
    try:
        yield
    finally:
        lock.__class__ = kind


def is_locked(lock: Any) -> bool:
    """Whether anybody holds the host's lock."""
    inner = getattr(lock, "_lock", lock)
    locked = getattr(inner, "locked", None)
    return bool(locked()) if locked is not None else False


def held_by_others() -> bool:
    """Whether a Generate click or an API call holds the pipeline."""
    return not Turn.held_by_us and is_locked(host.queue_lock())


class HostRun:
    """The host's pipeline for the length of one attempt.

    ::

        with HostRun(on_progress, cancelled, images=4) as run:      # waits for its turn; raises Stopped
            answer = run.call(function, *args)                      # in the host's thread, watched

    ``interrupted`` tells afterwards that somebody pressed the WebUI's own Interrupt, ``finished`` which part of the
    pictures (0.0 to 1.0) was done when the attempt was stopped; None when it was not.
    """

    def __init__(
        self, on_progress: Callable[[Progress], None], cancelled: Cancellation, watcher: "Watcher", images: int = 1
    ) -> None:
        self._watcher = watcher
        self.cancelled = cancelled
        self.images = images
        self.interrupted = False
        self.finished: float | None = None
        self._gently = False  # the picture that is being made may be finished first
        self._on_progress = on_progress
        self.state = host.state()
        self._turn = Turn(cancelled)
        self._previewed: tuple[Any, bytes | None] = (None, None)

    def __enter__(self) -> "HostRun":
        self._turn.take()
        began = getattr(self._on_progress, "began", None)
        if began is not None:
            began()
        self._clear()  # an Interrupt pressed while nothing ran was meant for nobody
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._clear()
        finally:
            self._turn.give()

    def _clear(self) -> None:
        """As ``wrap_gradio_call`` does: what stopped this run is not to stop the next one."""
        state = self.state
        state.skipped = state.interrupted = state.stopping_generation = False
        state.job_count, state.job = 0, ""

    def call(
        self, function: Callable[..., T], *args: Any, task_id: str | None = None, hop: bool = True, **kwargs: Any
    ) -> T:
        """Call a function of the host that makes pictures; what it returns or raises.

        ``hop=False`` is for functions that go to the host's main thread themselves (Forge's ``txt2img.txt2img``).
        ``task_id`` is for functions that leave ``state.begin`` and the progress bar to their caller, as a button's do.
        Raises Stopped when the attempt was told to stop before the function began.
        """
        work = partial(function, *args, **kwargs)  # no frame of ours: scripts of a host look at every one of the stack
        if task_id is not None:
            work = partial(_shown, task_id, work)
        self._watcher.watch(self)
        try:
            if hop and host.has_main_thread():
                return host.in_main_thread(work, self._require_wanted, self.look)
            self._require_wanted()
            try:
                return work()
            finally:
                self.look()  # before anybody clears the host's flags
        finally:
            self._watcher.leave()

    def _require_wanted(self) -> None:
        if self.cancelled.is_set():
            raise Stopped

    # --- what the watcher does ---------------------------------------------------------------------------------------

    def look(self) -> None:
        """Note an interruption that was not ours, and how far the host had come."""
        state = self.state
        if not (state.interrupted or state.stopping_generation):
            return
        if self.finished is None:
            self.finished = state.job_no / state.job_count if (state.job_count or 0) > 0 else 0.0
        if not self.cancelled.is_set() and not self.interrupted:
            self.interrupted, self._gently = True, not state.interrupted
        elif state.interrupted:
            self._gently = False

    def steer(self) -> None:
        """Stop what is to be stopped: again and again, since the host forgets it when it begins."""
        state = self.state
        if self.cancelled.is_set() or (self.interrupted and not self._gently):
            state.interrupt()
            self.look()
        elif self.interrupted:
            state.stop_generating()

    def report(self) -> None:
        state = self.state
        count = state.job_count or 0
        if count <= 0:
            return
        done, step, steps = min(state.job_no, count), state.sampling_step or 0, state.sampling_steps or 0
        fraction = done / count + (min(1.0, step / steps) / count if steps > 0 else 0.0)
        image = min(self.images, int(done / count * self.images) + 1)
        self._on_progress(Progress(min(1.0, fraction), step, steps, image, self.images, self._preview))

    def _preview(self) -> bytes | None:
        """The host's own live preview as a JPEG; encoded once."""
        state = self.state
        state.set_current_image()
        image = state.current_image
        if image is None:
            return None
        if self._previewed[0] is not image:
            self._previewed = (image, _jpeg(image))
        return self._previewed[1]


class Watcher:
    """Looks at the host while it works. One thread for all runs: starting one for each, and waiting for its end, would
    keep the pipeline idle for two changes of threads a job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while we reach into the host's state
        self._wanted = threading.Event()
        self._ended = threading.Event()  # of the present thread
        self._thread: threading.Thread | None = None
        self._run: HostRun | None = None
        self._due = 0.0  # on the monotonic clock: when the present run is first looked at
        self._skip_at: int | None = None  # the picture that is to be left

    def watch(self, run: HostRun) -> None:
        """Look at this run from now on."""
        with self._lock:
            self._run, self._skip_at, self._due = run, None, time.monotonic() + FIRST_LOOK
            self._wanted.set()
            if self._thread is not None:
                return
            self._ended = threading.Event()
            self._thread = threading.Thread(
                target=self._work, args=[self._ended], name="queue-ext watches the pipeline", daemon=True
            )
        self._thread.start()

    def leave(self) -> None:
        """After this nothing of ours reaches into the host's state any more."""
        with self._lock:
            self._run = None
            if not self._ended.is_set():
                self._wanted.clear()

    def end(self) -> None:
        """Give the thread back, as soon as nothing runs; the next run gets a new one."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._ended.set()
            self._wanted.set()
            idle = self._run is None
        if thread is not None and idle:
            thread.join()

    def _work(self, ended: threading.Event) -> None:
        while True:
            self._wanted.wait()
            time.sleep(max(LOOK, self._due - time.monotonic()))
            with self._lock:
                if self._run is None:
                    if ended.is_set():
                        return
                elif time.monotonic() >= self._due:  # else another run has begun meanwhile
                    self._look_at(self._run)

    def _look_at(self, run: HostRun) -> None:
        try:
            run.look()
            run.steer()
            self._skip(run)
            run.report()
        except Exception:  # whatever a host's state is like, the picture is worth more than its progress
            log.debug("the host's progress could not be read", exc_info=True)

    def _skip(self, run: HostRun) -> None:
        state = run.state
        if run.cancelled.take_skip():
            self._skip_at = state.job_no
        if self._skip_at is not None and self._skip_at == state.job_no:
            state.skip()
        else:
            self._skip_at = None


@contextlib.contextmanager
def shown_as(task_id: str) -> Any:
    """Let the page's own progress bar show a run under a task id, as ``wrap_gradio_gpu_call`` does."""
    state, progress = host.state(), host.progress()
    state.begin(job=task_id)
    progress.start_task(task_id)
    try:
        yield
    finally:
        progress.finish_task(task_id)
        state.end()


def _shown(task_id: str, work: Callable[[], T]) -> T:
    with shown_as(task_id):
        return work()


def forget_task(task_id: str) -> None:
    """Clear what the host's API function leaves behind when it raises."""
    progress = host.progress()
    progress.pending_tasks.pop(task_id, None)
    if progress.current_task == task_id:
        progress.finish_task(task_id)


def _jpeg(image: Any) -> bytes | None:
    out = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    small.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()
