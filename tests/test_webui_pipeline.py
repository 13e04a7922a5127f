"""One attempt inside a host, on a stand-in of AUTOMATIC1111 and of Forge."""

import base64
import importlib
import inspect
import io
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from PIL import Image

from queue_ext.errors import InvalidRequest, RequestRefused
from queue_ext.pipelines import Cancellation, Progress, Request, Result
from queue_ext.webui import host as door

from .support import until
from .webui_standin import StandIn, installed

SMALL: dict[str, Any] = {"prompt": "a cat", "steps": 2, "n_iter": 1}
LONG: dict[str, Any] = {**SMALL, "steps": 2000}


@pytest.fixture(params=["AUTOMATIC1111", "Forge"])
def host(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for stand_in in installed(request.param == "Forge", tmp_path, monkeypatch):
        yield stand_in
        while MADE:
            MADE.pop().close()


MADE: list[Any] = []  # pipelines of the present test


class Attempt(threading.Thread):
    """Runs a payload as the worker would."""

    def __init__(self, host: StandIn, payload: dict[str, Any], pipeline: Any = None) -> None:
        super().__init__(daemon=True)
        from queue_ext.webui.pipeline import WebUIPipeline

        self.out_of_memory: list[Request] = []
        self.pipeline = pipeline or WebUIPipeline(host.app, self.out_of_memory.append)
        MADE.append(self.pipeline)
        self.request = Request("j1", "txt2img", payload)
        self.cancelled = Cancellation()
        self.progress: list[Progress] = []
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.pipeline.run(self.request, self.progress.append, self.cancelled)
        except BaseException as error:
            self.error = error

    def ended(self) -> "Attempt":
        self.join(10)
        assert not self.is_alive()
        return self


def begun(host: StandIn) -> None:
    until(lambda: host.state.job_count > 0 and host.state.sampling_step > 0)


def test_a_payload_runs_as_the_api_runs_it(host: StandIn) -> None:
    attempt = Attempt(host, {**SMALL, "n_iter": 2, "send_images": False}).ended()
    assert attempt.result is not None, attempt.error
    assert [picture.seed for picture in attempt.result.pictures] == [0, 1]
    assert attempt.result.pictures[0].data.startswith(b"\x89PNG") and attempt.result.pictures[0].infotext == "text"
    assert attempt.result.parameters["force_task_id"] is None
    assert not host.lock._lock.locked()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_as_large_as_its_file_says(host: StandIn, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (48, 16)).save(file, format_)
    answer = {"images": [base64.b64encode(file.getvalue()).decode()], "parameters": {}, "info": "{}"}
    monkeypatch.setattr(type(host.api), "text2imgapi", lambda _api, _request: types.SimpleNamespace(**answer))
    [picture] = Attempt(host, SMALL).ended().result.pictures
    assert (picture.width, picture.height, picture.data) == (48, 16, file.getvalue())


def test_the_model_is_used_in_the_thread_the_host_needs(host: StandIn) -> None:
    Attempt(host, SMALL).ended()
    Attempt(host, SMALL).ended()
    if host.main is None:
        assert all(not name.startswith("the host") for name in host.api.threads)
    else:
        assert set(host.api.threads) == {"the host's main thread"}
        assert len(host.main.finished_list) <= 1  # nothing is piled up


def test_a_picture_is_called_from_one_frame_of_ours_in_the_thread_of_the_host(
    host: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts of Forge describe every frame of the stack twice a picture."""
    if host.main is None:
        pytest.skip("this host runs its model in any thread")
    ours: list[list[str]] = []
    package = Path(door.__file__).parents[1]
    make = type(host.api).text2imgapi

    def text2imgapi(api: Any, txt2imgreq: Any) -> Any:
        ours.append([frame.function for frame in inspect.stack() if package in Path(frame.filename).parents])
        return make(api, txt2imgreq)

    monkeypatch.setattr(type(host.api), "text2imgapi", text2imgapi)
    assert Attempt(host, SMALL).ended().error is None
    assert ours == [["_work_off"]]


def test_what_the_host_asks_of_its_thread_is_done_while_jobs_follow_each_other(
    host: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our next job comes before the thread has gone back to its list; other people's tasks are not to wait for that."""
    if host.main is None:
        pytest.skip("this host runs its model in any thread")
    until(lambda: not door._lingers)  # the thread of the test before
    monkeypatch.setattr(door, "LINGER", 60.0)
    for _ in range(3):
        Attempt(host, SMALL).ended()
    assert host.main.last_id == 1  # all of them were one task for the thread
    done = threading.Event()
    host.main.async_run(done.set)
    Attempt(host, SMALL).ended()
    assert done.wait(30)


def test_progress_and_a_preview_are_told(host: StandIn) -> None:
    attempt = Attempt(host, {**SMALL, "steps": 30, "n_iter": 2}).ended()
    told = attempt.progress
    assert [p.fraction for p in told] == sorted(p.fraction for p in told) and 0 < told[-1].fraction <= 1
    assert told[-1].images == 2 and told[0].steps == 30
    assert told[0].preview is not None and (told[0].preview() or b"").startswith(b"\xff\xd8")


def test_a_job_waits_for_its_turn_and_can_be_cancelled_there(host: StandIn) -> None:
    host.lock.acquire()
    attempt = Attempt(host, SMALL)
    time.sleep(0.1)
    assert attempt.is_alive() and not host.api.threads
    attempt.cancelled.cancel()
    assert attempt.ended().result == Result()
    host.lock.release()
    until(lambda: not host.lock._pending_threads and not host.lock._lock.locked())  # and nothing is left in the line


def test_somebody_elses_turn_counts_as_busy_and_ours_does_not(host: StandIn) -> None:
    from queue_ext.webui.pipeline import WebUIPipeline

    pipeline = WebUIPipeline(host.app)
    assert not pipeline.busy()
    with host.lock:
        assert pipeline.busy()
    attempt = Attempt(host, LONG, pipeline)
    begun(host)
    assert not pipeline.busy()
    attempt.cancelled.cancel()
    attempt.ended()


def test_whoever_waits_gets_the_pipeline_between_two_jobs_however_slowly_they_wake_up(
    host: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def click() -> None:
        with host.lock:
            taken.append(len(host.api.threads))  # jobs begun so far

    threads = [threading.Thread(target=click) for _ in range(2)]
    wait = threading.Event.wait

    def wait_and_wake_up_late(event: threading.Event, timeout: float | None = None) -> bool:
        called = wait(event, timeout)
        if threading.current_thread() in threads:
            time.sleep(0.1)
        return called

    first = Attempt(host, LONG)
    begun(host)
    monkeypatch.setattr(threading.Event, "wait", wait_and_wake_up_late)
    for thread in threads:
        thread.start()
    until(lambda: len(host.lock._pending_threads) == 2)
    first.cancelled.cancel()
    first.ended()
    Attempt(host, SMALL, first.pipeline).ended()
    assert taken == [1, 1] and len(host.api.threads) == 2


def test_who_was_called_to_the_pipeline_and_never_comes_holds_up_one_job_for_some_seconds(
    host: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_ext.webui import running

    monkeypatch.setattr(running, "YIELD", 0.1)
    gone = threading.Event()  # as a debugger, or the frames of an error, would keep it
    first = Attempt(host, LONG)
    begun(host)
    host.lock._pending_threads.append(gone)
    first.cancelled.cancel()
    first.ended()
    assert Attempt(host, SMALL, first.pipeline).ended().error is None
    assert gone.is_set() and not running.Turn._before_us


def test_a_job_cancelled_while_others_go_first_does_not_begin(host: StandIn) -> None:
    gone = threading.Event()
    first = Attempt(host, LONG)
    begun(host)
    host.lock._pending_threads.append(gone)
    first.cancelled.cancel()
    first.ended()
    second = Attempt(host, SMALL, first.pipeline)
    second.cancelled.cancel()
    assert second.ended().result == Result() and len(host.api.threads) == 1


def test_cancelling_keeps_what_is_finished_and_nothing_half_made(host: StandIn) -> None:
    attempt = Attempt(host, {**SMALL, "steps": 30, "n_iter": 3, "batch_size": 2})
    until(lambda: host.state.job_no == 1 and host.state.sampling_step > 2)
    attempt.cancelled.cancel()
    result = attempt.ended().result
    assert result is not None and len(result.pictures) == 2 and result.interrupted is None
    assert not host.state.interrupted


@pytest.mark.parametrize("button", ["interrupt", "stop_generating"])
def test_the_interrupt_of_the_page_ends_the_job_and_keeps_what_was_made(host: StandIn, button: str) -> None:
    attempt = Attempt(host, {**SMALL, "steps": 60, "n_iter": 3})
    begun(host)
    getattr(host.state, button)()
    result = attempt.ended().result
    assert result is not None and result.interrupted == "interrupted in the WebUI" and len(result.pictures) == 1
    assert not (host.state.interrupted or host.state.stopping_generation)


def test_an_interrupt_left_over_from_before_is_meant_for_nobody(host: StandIn) -> None:
    host.state.interrupt()
    result = Attempt(host, SMALL).ended().result
    assert result is not None and result.interrupted is None


def test_a_cancellation_that_the_host_forgets_when_it_begins_is_repeated(host: StandIn) -> None:
    attempt = Attempt(host, LONG)
    begun(host)
    attempt.cancelled.cancel()
    host.state.interrupted = False
    attempt.ended()


def test_skip_leaves_one_picture(host: StandIn) -> None:
    attempt = Attempt(host, {**LONG, "n_iter": 1})
    begun(host)
    attempt.cancelled.skip()
    result = attempt.ended().result
    assert result is not None and len(result.pictures) == 1


def test_an_error_leaves_no_task_behind(host: StandIn) -> None:
    host.api.raises = [ValueError("boom")]
    attempt = Attempt(host, SMALL).ended()
    progress = host.modules["modules.progress"]
    assert str(attempt.error) == "boom"
    assert progress.current_task is None and not progress.pending_tasks and not host.lock._lock.locked()


def test_what_the_api_refuses_is_not_tried_again(host: StandIn) -> None:
    host.api.raises = [HTTPException(422, "Script 'nope' not found")]
    error = Attempt(host, SMALL).ended().error
    assert isinstance(error, RequestRefused) and error.detail == "Script 'nope' not found"


def test_out_of_memory_is_tried_once_more(host: StandIn) -> None:
    host.api.raises = [RuntimeError("CUDA out of memory")]
    attempt = Attempt(host, SMALL).ended()
    assert attempt.result is not None and attempt.result.pictures and host.freed and not attempt.out_of_memory


def test_out_of_memory_twice_is_told(host: StandIn) -> None:
    from queue_ext.webui.running import OutOfMemory

    host.api.raises = [RuntimeError("CUDA out of memory"), MemoryError("again")]
    attempt = Attempt(host, SMALL).ended()
    assert isinstance(attempt.error, OutOfMemory) and attempt.out_of_memory == [attempt.request]


def test_what_vanished_while_the_job_waited_is_named(host: StandIn) -> None:
    error = Attempt(host, {**SMALL, "sampler_name": "Heun"}).ended().error
    assert isinstance(error, InvalidRequest) and error.errors[0]["loc"] == ["payload", "sampler_name"]


def test_without_a_page_captured_buttons_are_refused(host: StandIn) -> None:
    from queue_ext.webui.pipeline import WebUIPipeline

    with pytest.raises(InvalidRequest):
        WebUIPipeline(host.app).check("ui:txt2img_generate", {})


def test_other_paths_are_answered_by_the_host(host: StandIn) -> None:
    from queue_ext.webui.pipeline import WebUIPipeline

    pipeline = WebUIPipeline(host.app)
    assert pipeline.forward("GET", "samplers", "", b"") == (200, "application/json", b'[{"name":"Euler"}]')
    assert pipeline.forward("GET", "nothing", "", b"")[0] == 404


def test_without_api_an_api_is_made_that_serves_nobody(host: StandIn) -> None:
    host.app.router.routes[:] = [
        route for route in host.app.routes if not getattr(route, "path", "").startswith("/sdapi")
    ]
    result = Attempt(host, SMALL).ended().result
    assert result is not None and result.pictures
    assert not any(getattr(route, "path", "").startswith("/sdapi") for route in host.app.routes)


def test_a_module_that_a_host_has_not_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look goes through all folders of the path; jobs ask for the modules of the other host several times."""
    looked: list[str] = []
    find = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: looked.append(name) or find(name))
    assert [door.optional("modules.nowhere_at_all") for _ in range(3)] == [None] * 3
    assert looked == ["modules.nowhere_at_all"]
    there = types.ModuleType("modules.nowhere_at_all")
    monkeypatch.setitem(sys.modules, there.__name__, there)
    assert door.optional(there.__name__) is there
