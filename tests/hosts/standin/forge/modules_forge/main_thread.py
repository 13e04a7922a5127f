"""Forge's one thread for the model: looks for work every 10 ms, and swallows what the work raises."""

import threading
import time
import traceback

PERIOD = 0.01  # seconds

lock = threading.Lock()
last_id = 0
waiting_list = []
finished_list = []
last_exception = None


class Task:
    def __init__(self, task_id, func, args, kwargs):
        self.task_id, self.func, self.args, self.kwargs = task_id, func, args, kwargs
        self.result = self.exception = None

    def work(self):
        global last_exception
        try:
            self.result = self.func(*self.args, **self.kwargs)
            last_exception = None
        except Exception as error:
            traceback.print_exc()
            self.exception = last_exception = error


def loop():
    while True:
        time.sleep(PERIOD)
        if not waiting_list:
            continue
        with lock:
            task = waiting_list.pop(0)
        task.work()
        with lock:
            finished_list.append(task)


def async_run(func, *args, **kwargs):
    global last_id
    with lock:
        last_id += 1
        waiting_list.append(Task(last_id, func, args, kwargs))
        return last_id


def run_and_wait_result(func, *args, **kwargs):
    number = async_run(func, *args, **kwargs)
    while True:
        time.sleep(PERIOD)
        done = next((task for task in list(finished_list) if task.task_id == number), None)
        if done is not None:
            with lock:
                finished_list.remove(done)
            return done.result
