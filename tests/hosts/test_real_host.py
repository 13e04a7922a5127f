"""Journeys through REST, the drop-in API and Socket.IO in a real WebUI: ``pytest tests/hosts --webui-dir PATH``."""

import asyncio
import base64
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import WebUI

FLAGS = ["--api"]
pytestmark = pytest.mark.timeout(900)

SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler"}
LONG: dict[str, Any] = {**SMALL, "width": 128, "height": 128, "steps": 150}
NEVER = {"attempts": 0}  # a retry policy


def boom(how: str) -> dict[str, Any]:
    """A payload that fails inside the host, by the test extension's always-on script."""
    return {**SMALL, "alwayson_scripts": {"boom": {"args": [how]}}}


def states(job: Any) -> list[str]:
    return [entry["state"] for entry in job["history"]]


# --- the same as the host's own API ----------------------------------------------------------------------------------


def test_a_job_makes_the_picture_that_the_api_makes(webui: WebUI) -> None:
    _, own = webui.ask("POST", "/sdapi/v1/txt2img", SMALL)
    _, queued = webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", SMALL)
    assert queued["images"] == own["images"]
    assert queued["parameters"] == own["parameters"]
    assert json.loads(queued["info"])["infotexts"] == json.loads(own["info"])["infotexts"]


def test_img2img_and_extras_run(webui: WebUI) -> None:
    _, own = webui.ask("POST", "/sdapi/v1/txt2img", SMALL)
    picture = own["images"][0]
    again = webui.wait(webui.enqueue({**SMALL, "init_images": [picture], "denoising_strength": 0.5}, "img2img"))
    larger = webui.wait(webui.enqueue({"image": picture, "upscaling_resize": 2, "upscaler_1": "Lanczos"}, "extras"))
    assert again["state"] == larger["state"] == "succeeded"
    assert (larger["result"]["images"][0]["width"], larger["result"]["images"][0]["height"]) == (128, 128)


def test_scripts_run_and_their_pictures_are_listed_although_saving_is_off(webui: WebUI) -> None:
    arguments = [False, False, "positive", "comma", 0]
    payload = {**SMALL, "prompt": "a cat|red|blue", "script_name": "prompt matrix", "script_args": arguments}
    job = webui.wait(webui.enqueue(payload))
    assert job["state"] == "succeeded", job["error"]
    assert len(job["result"]["images"]) >= 4


def test_another_checkpoint_is_used_and_put_back(webui: WebUI) -> None:
    names = [item["model_name"] for item in webui.get("/sdapi/v1/sd-models")]
    assert len(names) > 1, "needs two checkpoints"
    before = webui.get("/sdapi/v1/options")["sd_model_checkpoint"]
    other = next(name for name in names if name not in (before or ""))
    job = webui.wait(webui.enqueue({**SMALL, "override_settings": {"sd_model_checkpoint": other}}))
    assert job["state"] == "succeeded", job["error"]
    assert f"Model: {other}" in job["result"]["images"][0]["infotext"]
    assert webui.get("/sdapi/v1/options")["sd_model_checkpoint"] == before


def test_other_paths_of_the_drop_in_answer_as_the_host_does(webui: WebUI) -> None:
    for path in ("sd-models", "samplers", "options", "script-info"):
        assert webui.get(f"/queue-ext/sdapi/v1/{path}") == webui.get(f"/sdapi/v1/{path}")
    assert webui.ask("GET", "/queue-ext/sdapi/v1/nothing")[0] == webui.ask("GET", "/sdapi/v1/nothing")[0] == 404
    _, own = webui.ask("POST", "/sdapi/v1/txt2img", SMALL)
    body = {"image": "data:image/png;base64," + own["images"][0]}
    assert webui.ask("POST", "/queue-ext/sdapi/v1/png-info", body) == webui.ask("POST", "/sdapi/v1/png-info", body)


# --- at the door -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("width", {"width": 0}),
        ("width", {"width": -64}),
        ("width", {"width": 10**9}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": -5}),
        ("batch_size", {"batch_size": 0}),
        ("n_iter", {"n_iter": -1}),
        ("prompt", {"prompt": None}),
        ("sampler_name", {"sampler_name": "Eular a"}),
        ("scheduler", {"scheduler": "karas"}),
        ("override_settings", {"override_settings": {"sd_model_checkpoint": "no such model"}}),
        ("override_settings", {"override_settings": {"sd_model_chekpoint": "x"}}),
        ("script_name", {"script_name": "no such script"}),
        ("script_args", {"script_name": "prompt matrix", "script_args": [1]}),
        ("alwayson_scripts", {"alwayson_scripts": {"ControlNettt": {"args": []}}}),
        ("alwayson_scripts", {"alwayson_scripts": {"refiner": {"args": [1] * 50}}}),
        ("hr_upscaler", {"enable_hr": True, "hr_upscaler": "Latnt"}),
        ("refiner_checkpoint", {"refiner_checkpoint": "nope", "refiner_switch_at": 0.5}),
        ("styles", {"styles": ["no such style"]}),
    ],
)
def test_what_the_host_would_swallow_or_choke_on_is_refused_by_name(
    webui: WebUI, field: str, change: dict[str, Any]
) -> None:
    status, body = webui.ask("POST", "/queue-ext/v1/jobs", {"task": "txt2img", "payload": {**SMALL, **change}})
    assert status == 422
    assert body["errors"][0]["loc"][:2] == ["payload", field]


def test_a_misspelt_sampler_is_answered_with_the_nearest_names(webui: WebUI) -> None:
    _, body = webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", {**SMALL, "sampler_name": "Eular a"})
    assert "nearest: Euler a" in body["detail"]


def test_a_body_that_is_a_list_is_refused(webui: WebUI) -> None:
    assert webui.ask("POST", "/queue-ext/v1/jobs", [])[0] == 422
    assert webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", [])[0] == 422


def test_the_smallest_size_that_is_accepted_runs(webui: WebUI) -> None:
    assert webui.wait(webui.enqueue({**SMALL, "width": 16, "height": 16}, retry=NEVER))["state"] == "succeeded"


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_a_running_job_tells_its_progress_and_stops_when_cancelled(webui: WebUI) -> None:
    job_id = webui.enqueue({**LONG, "n_iter": 2, "steps": 40})
    job = webui.begun(job_id)
    assert 0 < job["progress"]["fraction"] < 1 and job["progress"]["steps"] == 40
    while webui.job(job_id)["progress"]["image"] < 2:
        time.sleep(0.1)
    assert webui.ask("DELETE", f"/queue-ext/v1/jobs/{job_id}")[0] == 200
    job = webui.wait(job_id, seconds=10)
    assert job["state"] == "deleted"
    assert len(job["result"]["images"]) == 1  # the finished one, and nothing half-made


def test_the_interrupt_of_the_webui_ends_the_job_and_keeps_what_was_made(webui: WebUI) -> None:
    job_id = webui.enqueue(LONG)
    webui.begun(job_id)
    webui.ask("POST", "/sdapi/v1/interrupt")
    job = webui.wait(job_id, seconds=10)
    assert (job["state"], job["reason"]) == ("deleted", "interrupted in the WebUI")
    assert len(job["result"]["images"]) == 1
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"  # the next one knows nothing of it


def test_an_interrupt_while_nothing_runs_is_meant_for_nobody(webui: WebUI) -> None:
    webui.ask("POST", "/sdapi/v1/interrupt")
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"


def test_skip_leaves_the_current_picture_and_goes_on(webui: WebUI) -> None:
    job_id = webui.enqueue({**LONG, "n_iter": 2, "steps": 60})
    webui.begun(job_id)
    assert webui.ask("POST", f"/queue-ext/v1/jobs/{job_id}/skip")[0] == 200
    job = webui.wait(job_id)
    assert job["state"] == "succeeded" and len(job["result"]["images"]) == 2


def test_a_timeout_ends_the_attempt(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue(LONG, timeout_s=1.5, retry=NEVER))
    assert job["state"] == "failed" and "longer than 1.5 s" in job["reason"]


def test_waiting_for_others_does_not_count_against_the_time_limit(webui: WebUI) -> None:
    call = threading.Thread(target=webui.ask, args=("POST", "/sdapi/v1/txt2img", {**LONG, "steps": 120}))
    call.start()
    time.sleep(1.0)
    started = time.monotonic()
    job = webui.wait(webui.enqueue(SMALL, timeout_s=1.5, retry=NEVER))
    call.join()
    assert job["state"] == "succeeded", job["reason"]
    assert time.monotonic() - started > 1.5


# --- in turn with others ---------------------------------------------------------------------------------------------


def test_jobs_and_api_calls_take_turns_and_none_starves(webui: WebUI) -> None:
    webui.ask("POST", "/sdapi/v1/txt2img", SMALL)
    ids = [webui.enqueue({**SMALL, "seed": seed}) for seed in range(12)]
    ends = []
    for seed in range(4):
        status, _ = webui.ask("POST", "/sdapi/v1/txt2img", {**SMALL, "seed": 100 + seed})
        assert status == 200
        ends.append(time.time())
    jobs = [webui.wait(job_id) for job_id in ids]
    assert all(job["state"] == "succeeded" for job in jobs)
    unfinished = sum(job["finished_at"] > _iso(ends[0]) for job in jobs)
    assert unfinished > 3, "the API call had to wait for the whole queue"


def test_a_call_that_holds_the_pipeline_counts_as_one_ahead(webui: WebUI) -> None:
    call = threading.Thread(target=webui.ask, args=("POST", "/sdapi/v1/txt2img", {**LONG, "steps": 60}))
    call.start()
    time.sleep(1.0)
    ids = [webui.enqueue(SMALL), webui.enqueue(SMALL)]
    time.sleep(0.5)
    assert webui.job(ids[1])["ahead"] >= 1
    call.join()
    assert all(webui.wait(job_id)["state"] == "succeeded" for job_id in ids)


def test_a_job_submitted_around_the_queue_running_empty_starts_at_once(webui: WebUI) -> None:
    late = []
    for number in range(30):
        before = webui.enqueue(SMALL)
        if number % 3:
            webui.wait(before)
        time.sleep(number * 0.02)
        job = webui.wait(webui.enqueue({**SMALL, "seed": number}), seconds=10)
        late.append(job["attempt"])
    assert late == [1] * 30


def test_a_client_that_leaves_cancels_its_job(webui: WebUI) -> None:
    with pytest.raises(OSError):
        webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", LONG, timeout=3)
    newest = webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]
    assert webui.wait(newest["id"], seconds=10)["state"] == "deleted"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_an_error_inside_the_host_is_told_and_leaves_nothing_behind(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue(boom("error"), retry=NEVER))
    assert job["state"] == "failed"
    assert job["error"]["message"] == "boom inside the host's pipeline"
    assert webui.get("/internal/pending-tasks")["size"] == 0
    task = {"id_task": f"task(queue-{job['id']})", "id_live_preview": -1}
    assert webui.ask("POST", "/internal/progress", task)[1]["active"] is False
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"


def test_out_of_memory_is_tried_once_more_with_freed_memory(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue(boom("memory once:first"), retry=NEVER))
    assert job["state"] == "succeeded" and job["attempt"] == 1


def test_out_of_memory_twice_pauses_the_queue_and_says_why(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue(boom("memory"), queue="tight", retry=NEVER))
    assert job["state"] == "failed" and "out of memory" in job["error"]["message"]
    lane = next(lane for lane in webui.get("/queue-ext/v1/queues")["queues"] if lane["name"] == "tight")
    assert lane["paused"] and job["id"] in lane["pause_reason"]
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"


def test_a_checkpoint_that_cannot_be_loaded_fails_its_job_alone(webui: WebUI) -> None:
    models = Path(webui.command[webui.command.index("--ckpt-dir") + 1])
    broken = models / "queue-ext-broken.safetensors"
    broken.write_bytes(b"this is no checkpoint" * 100)
    try:
        webui.ask("POST", "/sdapi/v1/refresh-checkpoints")
        payload = {**SMALL, "override_settings": {"sd_model_checkpoint": "queue-ext-broken"}}
        job = webui.wait(webui.enqueue(payload, retry=NEVER))
        assert job["state"] == "failed" and "queue-ext-broken" in job["error"]["message"], job["error"]
        assert webui.wait(webui.enqueue(SMALL, retry=NEVER))["state"] == "succeeded"
        waiting = webui.enqueue(payload, delay_s=3, retry=NEVER)
    finally:
        for file in models.glob("queue-ext-broken*"):  # Forge renames what it cannot read
            file.unlink()
    webui.ask("POST", "/sdapi/v1/refresh-checkpoints")
    job = webui.wait(waiting)  # gone since it was accepted
    assert job["state"] == "failed" and "queue-ext-broken" in job["error"]["message"]
    assert webui.wait(webui.enqueue(SMALL, retry=NEVER))["state"] == "succeeded"


def test_a_folder_that_cannot_be_written_fails_the_job_and_says_so(webui: WebUI) -> None:
    outputs = webui.data / "outputs"
    kept = webui.data / "outputs-kept"
    if outputs.exists():
        shutil.move(outputs, kept)
    outputs.write_text("no folder")
    try:
        job = webui.wait(webui.enqueue({**SMALL, "save_images": True}, retry=NEVER))
        assert job["state"] == "failed" and "outputs" in job["error"]["message"]
    finally:
        outputs.unlink()
    assert webui.wait(webui.enqueue({**SMALL, "save_images": True}))["state"] == "succeeded"
    assert list(outputs.rglob("*.png"))


# --- sockets ---------------------------------------------------------------------------------------------------------


def test_a_browser_hears_of_progress_previews_and_results(webui: WebUI) -> None:
    heard = asyncio.run(_listen(webui))
    names = [name for name, _ in heard]
    assert "progress" in names and "result" in names
    assert any(name == "progress" and data.get("preview", b"")[:2] == b"\xff\xd8" for name, data in heard)
    job = next(data for name, data in heard if name == "job" and data["state"] == "succeeded")
    assert job["progress"] is None or job["progress"]["fraction"] <= 1


async def _listen(webui: WebUI) -> list[tuple[str, Any]]:
    import socketio

    client, heard, done = socketio.AsyncClient(), [], asyncio.Event()

    async def on_any(name: str, data: Any = None) -> None:
        heard.append((name, data))
        if name == "result":
            done.set()

    client.on("*", on_any, namespace="/queue")
    await client.connect(
        f"http://127.0.0.1:{webui.port}",
        namespaces=["/queue"],
        socketio_path="/queue-ext/socket.io",
        auth={"client_id": "c" * 20},
    )
    try:
        assert (await client.call("hello", {}, namespace="/queue"))["ok"]
        await client.call("preview", {"enabled": True}, namespace="/queue")
        said = await client.call("enqueue", {"task": "txt2img", "payload": {**LONG, "steps": 60}}, namespace="/queue")
        assert said["ok"], said
        refused = await client.call(
            "enqueue", {"task": "txt2img", "payload": {**LONG, "sampler_name": "x"}}, namespace="/queue"
        )
        assert refused["error"]["errors"][0]["loc"] == ["payload", "sampler_name"]
        await asyncio.wait_for(done.wait(), 60)
        await asyncio.sleep(1)
    finally:
        await client.disconnect()
    return heard


# --- the host comes and goes -----------------------------------------------------------------------------------------


def test_reload_ui_loses_no_job_leaks_no_thread_and_leaves_one_worker(webui: WebUI) -> None:
    running = webui.enqueue({**LONG, "steps": 40})
    others = [webui.enqueue({**SMALL, "seed": seed}) for seed in range(3)]
    threads = []
    for _ in range(10):
        webui.wait(running, "processing", "succeeded")
        webui.reload()
        job = webui.wait(running, "processing", "succeeded")
        assert job["attempt"] == 1
        assert len(webui.get("/queue-ext/v1/workers")["workers"]) == 1
        if job["state"] == "succeeded":
            running = webui.enqueue({**LONG, "steps": 40})
        threads.append(len(webui.threads()))
    job = webui.wait(running)
    assert job["state"] == "succeeded" and states(job).count("succeeded") == 1
    assert states(job).count("failed") == 0
    for job_id in others:
        job = webui.wait(job_id)
        assert (job["state"], states(job).count("succeeded")) == ("succeeded", 1)
    assert max(threads[1:]) - min(threads[1:]) <= 3, threads


def test_a_killed_webui_runs_its_job_again(webui: WebUI) -> None:
    running, waiting = webui.enqueue(LONG), webui.enqueue(SMALL)
    webui.begun(running)
    webui.stop(9)
    webui.start()
    job = webui.wait(running)
    assert job["state"] == "succeeded" and job["attempt"] == 2
    assert webui.wait(waiting)["state"] == "succeeded"


def test_a_picture_of_a_result_carries_its_infotext(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue({**SMALL, "prompt": "an owl"}))
    _, data = webui.ask("GET", job["result"]["images"][0]["url"])
    assert data[:4] == b"\x89PNG" and b"an owl" in data
    _, told = webui.ask(
        "POST", "/sdapi/v1/png-info", {"image": "data:image/png;base64," + base64.b64encode(data).decode()}
    )
    assert told["info"] == job["result"]["images"][0]["infotext"]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
