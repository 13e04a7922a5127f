"""What stands between a button and its function: the lock, the progress, and an error as HTML."""

import html
import time
from functools import wraps

from modules import errors, fifo_lock, progress, shared

queue_lock = fifo_lock.FIFOLock()


def wrap_queued_call(func):
    def locked(*args, **kwargs):
        with queue_lock:
            return func(*args, **kwargs)

    return locked


def wrap_gradio_gpu_call(func, extra_outputs=None):
    @wraps(func)
    def alone(*args, **kwargs):
        given = args[0] if args else None
        task = given if type(given) is str and given.startswith("task(") and given.endswith(")") else None
        if task:
            progress.add_task_to_queue(task)
        with queue_lock:
            shared.state.begin(job=task)
            progress.start_task(task)
            try:
                made = func(*args, **kwargs)
                progress.record_results(task, made)
            finally:
                progress.finish_task(task)
            shared.state.end()
        return made

    return wrap_gradio_call(alone, extra_outputs=extra_outputs, add_stats=True)


def wrap_gradio_call(func, extra_outputs=None, add_stats=False):
    @wraps(func)
    def cleared(*args, **kwargs):
        try:
            return func(*args, **kwargs)
        finally:
            state = shared.state
            state.skipped = state.interrupted = state.stopping_generation = False
            state.job_count, state.job = 0, ""

    return wrap_gradio_call_no_job(cleared, extra_outputs, add_stats)


def wrap_gradio_call_no_job(func, extra_outputs=None, add_stats=False):
    @wraps(func)
    def answered(*args, **kwargs):
        begun = time.perf_counter()
        try:
            outputs = list(func(*args, **kwargs))
        except Exception as error:
            errors.report("Error completing request", exc_info=True)
            text = html.escape(f"{type(error).__name__}: {error}")
            outputs = [*(extra_outputs or [None, ""]), f"<div class='error'>{text}</div>"]
        if add_stats:
            seconds = time.perf_counter() - begun
            outputs[-1] += f"<div class='performance'><p class='time'>Time taken: {seconds:.1f} sec.</p></div>"
        return tuple(outputs)

    return answered
