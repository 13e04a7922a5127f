"""The remote pipeline, against a real HTTP server that stands in for another WebUI."""

import io
import socket
import threading
import time

import pytest
from PIL import Image

from queue_ext.errors import InvalidRequest, InvalidSetting, PipelineUnavailable, RequestRefused
from queue_ext.pipelines import Cancellation, Request
from queue_ext.pipelines.remote import RemotePipeline
from tests.fake_webui import FakeWebUI, png

PAYLOAD = {"prompt": "a cat", "steps": 4, "width": 64, "height": 48, "seed": 5}
DEADLINE = 20.0  # seconds


@pytest.fixture
def webui():
    with FakeWebUI() as server:
        yield server


@pytest.fixture
def remote(webui):
    pipeline = RemotePipeline(webui.url, poll_s=0.01)
    yield pipeline
    pipeline.close()


def until(condition, what="the condition"):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true within {DEADLINE} s"
        time.sleep(0.002)


def run(remote, payload=None, task="txt2img", on_progress=None, cancelled=None):
    request = Request("job", task, {**PAYLOAD, **(payload or {})})
    return remote.run(request, on_progress or (lambda p: None), cancelled or Cancellation())


class Running:
    """A run in a thread of its own."""

    def __init__(self, remote, **options):
        self.cancelled, self.result, self.error = Cancellation(), None, None
        self.thread = threading.Thread(target=self._run, args=(remote, options), daemon=True)
        self.thread.start()

    def _run(self, remote, options):
        try:
            self.result = run(remote, cancelled=self.cancelled, **options)
        except Exception as error:
            self.error = error

    def end(self):
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()
        return self.result


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_pictures_come_back_with_size_seed_and_infotext(remote):
    result = run(remote, {"batch_size": 2, "n_iter": 2})
    assert [(p.width, p.height, p.seed) for p in result.pictures] == [(64, 48, seed) for seed in (5, 6, 7, 8)]
    assert result.pictures[1].infotext == "a cat\nSteps: 4, Seed: 6"
    assert result.info["all_seeds"] == [5, 6, 7, 8]
    assert result.parameters["prompt"] == "a cat"
    assert Image.open(io.BytesIO(result.pictures[0].data)).format == "PNG"


def test_a_grid_in_front_has_no_seed(webui, remote):
    webui.grid = True
    result = run(remote, {"n_iter": 2})
    assert [(p.width, p.seed) for p in result.pictures] == [(128, None), (64, 5), (64, 6)]
    assert result.pictures[2].infotext.endswith("Seed: 6")


def test_pictures_are_asked_for_even_if_the_client_did_not(webui, remote):
    run(remote, {"send_images": False, "some_field": [1]})
    assert webui.bodies[0]["send_images"] is True and webui.bodies[0]["some_field"] == [1]


def test_img2img_and_extras_have_paths_of_their_own(webui, remote):
    assert run(remote, {"init_images": [png((8, 8))]}, "img2img").pictures
    result = remote.run(Request("j", "extras", {"image": png((8, 6)), "upscaling_resize": 4}), print, Cancellation())
    assert (result.pictures[0].width, result.pictures[0].height) == (32, 24)
    assert result.info == {"html_info": "<p>done</p>"}
    assert [line for line in webui.seen if line.startswith("POST")] == [
        "POST /sdapi/v1/img2img",
        "POST /sdapi/v1/extra-single-image",
    ]


def test_progress_tells_fraction_step_and_picture(webui, remote):
    webui.gate.clear()
    reports = []
    running = Running(remote, payload={"n_iter": 2}, on_progress=reports.append)
    until(lambda: any(r.steps == 4 for r in reports), "a report")
    webui.gate.set()
    webui.step_s = 0.02
    until(lambda: any(r.image == 2 and r.step for r in reports), "a report of the second picture")
    assert running.end().pictures
    assert all(0 <= r.fraction <= 1 and r.images == 2 for r in reports)
    assert max(r.fraction for r in reports) > 0.5


def test_the_preview_is_fetched_only_when_somebody_looks(webui, remote):
    webui.gate.clear()
    reports = []
    running = Running(remote, on_progress=reports.append)
    until(lambda: any(r.fraction for r in reports), "a report")
    assert not any("skip_current_image=false" in line for line in webui.seen)
    webui.gate.set()
    running.end()
    webui.gate.clear()
    seen = []
    running = Running(remote, on_progress=lambda p: p.fraction and seen.append(p.preview()))
    until(lambda: seen and seen[-1], "a preview")
    image = Image.open(io.BytesIO(seen[-1]))
    assert (image.format, image.size) == ("JPEG", (256, 128))
    webui.gate.set()
    running.end()


def test_cancelling_interrupts_until_the_remote_hears_it(webui, remote):
    webui.gate.clear()
    webui.deaf = 3
    running = Running(remote, payload={"n_iter": 5})
    until(lambda: webui.state["job_count"], "the job")
    running.cancelled.cancel()
    assert len(running.end().pictures) == 1
    assert webui.asked("POST /sdapi/v1/interrupt") >= 4


def test_a_remote_that_does_not_stop_is_left_alone_after_the_deadline(webui, remote):
    webui.gate.clear()
    webui.deaf = 10**6
    remote.interrupt_deadline_s = 0.05
    running = Running(remote)
    until(lambda: webui.state["job_count"], "the job")
    running.cancelled.cancel()
    assert running.end().pictures == () and running.error is None


def test_what_was_cancelled_before_is_never_sent(webui, remote):
    cancelled = Cancellation()
    cancelled.cancel()
    assert run(remote, cancelled=cancelled).pictures == () and webui.seen == []


def test_skipping_is_passed_on(webui, remote):
    webui.gate.clear()
    running = Running(remote)
    until(lambda: webui.state["job_count"], "the job")
    running.cancelled.skip()
    until(lambda: webui.asked("POST /sdapi/v1/skip") == 1, "the skip")
    assert running.end().pictures


def test_side_questions_share_one_connection(webui, remote):
    webui.gate.clear()
    running = Running(remote)
    until(lambda: webui.asked("GET /sdapi/v1/progress") > 5, "some polls")
    assert len(webui.connections) == 2  # one for the generation, one for all questions
    webui.gate.set()
    running.end()


def test_nobody_there_makes_the_job_wait():
    remote = RemotePipeline(f"http://127.0.0.1:{closed_port()}", poll_s=0.01)
    with pytest.raises(PipelineUnavailable, match="keeps waiting"):
        run(remote)


def test_an_unknown_name_makes_the_job_wait():
    with pytest.raises(PipelineUnavailable):
        run(RemotePipeline("http://no-such-host.invalid:7860", poll_s=0.01))


def test_it_reconnects_when_the_remote_is_back(webui):
    remote = RemotePipeline(webui.url, poll_s=0.01)
    assert run(remote).pictures
    webui.__exit__()
    with pytest.raises(PipelineUnavailable):
        run(remote)
    with FakeWebUI(port=webui.port):
        assert run(remote).pictures


@pytest.mark.parametrize("status", [401, 403, 429, 502, 503, 504])
def test_an_answer_that_says_nothing_about_the_job_makes_it_wait(webui, remote, status):
    webui.answer = (status, "<html>nginx</html>")
    with pytest.raises(PipelineUnavailable):
        run(remote)


@pytest.mark.parametrize(
    "body", [{"detail": "Not Found"}, {"error": "HTTPException", "detail": "Not Found", "errors": "x"}]
)
def test_a_remote_without_the_api_makes_the_job_wait(webui, remote, body):
    webui.answer = (404, body)
    with pytest.raises(PipelineUnavailable, match="--api"):
        run(remote)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (422, {"detail": [{"loc": ["body", "steps"], "msg": "value is not a valid integer"}]}, "steps: value is not"),
        (404, {"error": "HTTPException", "detail": "Sampler not found", "body": "", "errors": ""}, "Sampler not found"),
        (400, "nonsense", "400"),
        (500, {"error": "HTTPException", "detail": "Invalid encoded image", "errors": ""}, "Invalid encoded image"),
    ],
)
def test_a_refusal_carries_the_remotes_own_words(webui, remote, status, body, words):
    webui.answer = (status, body)
    with pytest.raises(RequestRefused, match=words):
        run(remote)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "OutOfMemoryError", "detail": "", "errors": "CUDA out of memory. Tried to"}, "ran out of memory"),
        ({"error": "ValueError", "detail": "", "body": "", "errors": "bad latent"}, "ValueError: bad latent"),
        ("Internal Server Error", "failed: 500"),
        ([1], "failed: 500"),
    ],
)
def test_a_failure_of_the_remote_is_a_failed_attempt(webui, remote, body, words):
    webui.answer = (500, body)
    with pytest.raises(RuntimeError, match=words):
        run(remote)


@pytest.mark.parametrize(
    "body",
    [
        '{"images": [',
        "[]",
        {"info": "{}"},
        {"images": ["AAAA"]},
        {"images": [3]},
        {"images": None, "info": 3},
        b"\xff\xfe",
    ],
)
def test_a_broken_answer_is_a_failed_attempt_that_says_so(webui, remote, body):
    webui.answer = (200, body)
    with pytest.raises(RuntimeError, match="answered with"):
        run(remote)


@pytest.mark.parametrize(
    "info", ["not json", None, "[1]", '{"all_seeds": 3, "infotexts": [null], "index_of_first_image": null}']
)
def test_pictures_survive_an_info_that_cannot_be_read(webui, remote, info):
    webui.answer = (200, {"images": [png((9, 9))], "info": info})
    assert run(remote).pictures[0].seed is None


@pytest.mark.parametrize("moment", ["start", "middle"])
def test_a_connection_that_breaks_while_the_job_runs_is_a_failed_attempt(webui, remote, moment):
    webui.drop = moment
    with pytest.raises(ConnectionError, match="broke off") as caught:
        run(remote)
    assert not isinstance(caught.value, PipelineUnavailable)
    assert len(webui.bodies) == 1  # never sent twice


def test_a_generation_that_takes_longer_than_allowed_is_interrupted(webui):
    webui.gate.clear()
    with pytest.raises(PipelineUnavailable, match="in time"):
        run(RemotePipeline(webui.url, timeout_s=0.2, poll_s=0.01))
    assert webui.asked("POST /sdapi/v1/interrupt") == 1


def test_polls_without_an_answer_do_not_end_a_job_at_once(webui, remote):
    webui.silent = True
    webui.gate.clear()
    running = Running(remote)
    until(lambda: webui.asked("GET /sdapi/v1/progress") > 5, "some polls")
    webui.gate.set()
    assert running.end().pictures


def test_a_remote_that_stays_silent_makes_the_job_wait(webui, remote):
    webui.silent = True
    webui.gate.clear()
    remote.silence_s = 0.05
    with pytest.raises(PipelineUnavailable, match="has not answered"):
        run(remote)


def test_an_error_in_the_listener_stops_the_remote(webui, remote):
    webui.gate.clear()
    with pytest.raises(KeyError):
        run(remote, on_progress=lambda p: {}["x"])
    assert webui.asked("POST /sdapi/v1/interrupt") == 1


def test_credentials_in_the_address_are_used_and_never_shown(webui):
    webui.auth = "us er:p@ss"
    remote = RemotePipeline(webui.url.replace("http://", "http://us%20er:p%40ss@"), poll_s=0.01)
    assert run(remote).pictures
    assert remote.name == f"remote {webui.url}"
    webui.drop = "start"
    with pytest.raises(ConnectionError) as caught:
        run(remote)
    wrong = RemotePipeline(webui.url.replace("http://", "http://user:geheim@"), poll_s=0.01)
    with pytest.raises(PipelineUnavailable, match="credentials") as refused:
        run(wrong)
    for error in (caught.value, refused.value):
        assert "p@ss" not in str(error) and "p%40ss" not in str(error) and "geheim" not in str(error)


def test_redirects_are_not_followed(webui, remote):
    with FakeWebUI() as other:
        webui.answer, webui.headers = (307, {}), {"Location": f"{other.url}/sdapi/v1/txt2img"}
        with pytest.raises(PipelineUnavailable, match="redirects"):
            run(remote)
        assert other.seen == []


@pytest.mark.parametrize(
    "url", ["", "gpu:7860", "ftp://gpu", "http://", "http://gpu:99999", "http://u:geheim@gpu:port"]
)
def test_what_is_no_address_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidSetting) as caught:
        RemotePipeline(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://gpu:7860/", "remote http://gpu:7860"),
        ("https://gpu/sd/", "remote https://gpu/sd"),
        ("http://[::1]:7860", "remote http://[::1]:7860"),
        (" http://GPU:7860 ", "remote http://gpu:7860"),
    ],
)
def test_the_name_is_the_address(url, name):
    assert RemotePipeline(url).name == name


def test_check_asks_nobody():
    remote = RemotePipeline(f"http://127.0.0.1:{closed_port()}")
    remote.check("txt2img", {"sampler_name": "whatever"})
    with pytest.raises(InvalidRequest):
        remote.check("ui:txt2img_generate", {})
    assert not remote.busy()
    remote.close()
