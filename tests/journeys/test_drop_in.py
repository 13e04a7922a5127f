"""Today's clients, unmodified: only their base URL has changed."""

import base64
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import webuiapi
from PIL import Image

from ..fake_webui import FakeWebUI
from .conftest import Launch
from .server import DEADLINE, Server, tiny, until

SDAPI = "/sdapi/v1"
STRANGER = {"X-Forwarded-For": "203.0.113.9"}


def client(server: Server) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=server.url + SDAPI, sampler="Euler a", steps=3)


def only_job(server: Server) -> dict[str, Any]:
    found = until(lambda: server.get("/v1/jobs")["jobs"], "the job")
    assert len(found) == 1
    return server.job(found[0]["id"])


def test_webuiapi_makes_and_changes_and_enlarges_pictures(launch: Launch) -> None:
    server = launch()
    api = client(server)
    made = api.txt2img(prompt="a lighthouse at dusk", negative_prompt="fog", seed=42, width=64, height=96, batch_size=2)
    assert [image.size for image in made.images] == [(64, 96)] * 2
    assert made.info["all_seeds"] == [42, 43] and made.info["prompt"] == "a lighthouse at dusk"
    assert made.parameters["steps"] == 3
    assert "Seed: 42" in made.image.info["parameters"]
    again = api.txt2img(
        prompt="a lighthouse at dusk", negative_prompt="fog", seed=42, width=64, height=96, batch_size=2
    )
    assert again.json["images"] == made.json["images"]

    changed = api.img2img(images=[made.image], prompt="in winter", seed=7, width=64, height=64, denoising_strength=0.5)
    assert changed.image.size == (64, 64) and changed.info["seed"] == 7
    larger = api.extra_single_image(image=made.image, upscaler_1="Lanczos", upscaling_resize=2)
    assert larger.image.size == (128, 192) and "128x192" in larger.info

    assert {job["task"] for job in server.get("/v1/jobs")["jobs"]} == {"txt2img", "img2img", "extras"}


def test_webuiapi_finds_everything_else_it_asks_a_webui_for(launch: Launch) -> None:
    api = client(launch())
    assert "Euler a" in api.util_get_sampler_names()
    assert api.util_get_model_names() == ["demo"] and api.util_get_current_model() == "demo"
    assert api.util_get_scheduler_names() == ["automatic"]
    assert "Lanczos" in [upscaler["name"] for upscaler in api.get_upscalers()]
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    for ask in (
        api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models,
        api.get_prompt_styles, api.get_embeddings, api.get_memory, api.get_cmd_flags, api.get_latent_upscale_modes,
    ):  # fmt: skip
        assert ask() is not None
    assert api.set_options({"sd_model_checkpoint": "demo"}) is None
    assert api.refresh_checkpoints() is None and api.skip() is None
    assert api.interrupt() == {}
    progress = api.get_progress()
    assert progress["progress"] == 0 and progress["state"]["job_count"] == 0
    picture = api.txt2img(prompt="x", seed=5, width=64, height=64).image
    assert "Seed: 5" in api.png_info(picture).info
    with pytest.raises(Exception, match=r"404|Not Found|Expecting|detail"):
        answer = api.custom_get("no-such-thing", baseurl=True)
        raise AssertionError(answer["detail"])


def test_the_answer_has_the_shape_of_the_webui(launch: Launch) -> None:
    server = launch()
    answer = server.post(f"{SDAPI}/txt2img", tiny()["payload"])
    assert set(answer) == {"images", "parameters", "info"}
    assert isinstance(answer["info"], str) and {"seed", "all_seeds", "infotexts", "prompt"} <= set(
        json.loads(answer["info"])
    )
    raw = base64.b64decode(answer["images"][0], validate=True)
    assert Image.open(io.BytesIO(raw)).size == (64, 64)
    without = server.post(f"{SDAPI}/txt2img", {**tiny()["payload"], "send_images": False})
    assert without["images"] == [] and json.loads(without["info"])["seed"] == 1
    larger = server.post(f"{SDAPI}/extra-single-image", {"image": answer["images"][0], "upscaling_resize": 2})
    assert set(larger) == {"html_info", "image"}


def test_errors_say_what_is_wrong(launch: Launch) -> None:
    server = launch("--retry-attempts", "0")

    def refused(path: str, body: Any, status: int, text: str) -> None:
        answer = server.call("POST", f"{SDAPI}/{path}", json=body)
        assert answer.status_code == status and text in answer.json()["detail"], answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    refused("txt2img", {"prompt": "x", "width": 0}, 422, "width")
    refused("txt2img", {"prompt": "x", "sampler_name": "Oiler"}, 422, "Oiler")
    refused("txt2img", [1], 422, "object")
    refused("img2img", {"prompt": "x", "init_images": ["not a picture"]}, 422, "init_images")
    refused("img2img", {"prompt": "x"}, 422, "init_images")
    refused("extra-single-image", {"upscaling_resize": 2}, 422, "image")
    refused("txt2img", {**tiny()["payload"], "prompt": "!fail"}, 500, "the prompt asked for a failure")
    answer = server.call("POST", f"{SDAPI}/txt2img", data=b"{not json", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    with pytest.raises(RuntimeError, match="the prompt asked for a failure"):
        client(server).txt2img(prompt="!fail", width=64, height=64)


def hang_up(server: Server, path: str, body: Any) -> None:
    """Send a request, and close the connection as soon as its job runs."""
    data = json.dumps(body).encode()
    head = f"POST /queue-ext{SDAPI}/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + data)
        until(lambda: server.states().get("processing"), "the job runs")


def test_a_client_that_hangs_up_cancels_its_job_unless_it_is_detached(launch: Launch) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.02"})
    hang_up(server, "txt2img", {**tiny()["payload"], "steps": 1000})
    job = only_job(server)
    assert server.wait_state(job["id"], "deleted", deadline=5)["reason"] == "its client closed the connection"
    server.call("DELETE", f"/v1/jobs/{job['id']}")
    hang_up(server, "txt2img?detach=true", {**tiny()["payload"], "steps": 60})
    job = only_job(server)
    assert len(server.wait_state(job["id"], "succeeded")["result"]["images"]) == 1


def test_a_client_that_hangs_up_while_it_waits_never_runs(launch: Launch) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.02"})
    first = server.add(steps=200)["id"]
    server.wait_state(first, "processing")
    data = json.dumps(tiny()["payload"]).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /queue-ext{SDAPI}/txt2img HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        waiting = until(lambda: server.get("/v1/jobs", params={"state": "enqueued"})["jobs"], "it waits")[0]["id"]
    job = server.wait_state(waiting, "deleted", deadline=5)
    assert [row["state"] for row in job["history"]] == ["enqueued", "deleted"] and job["attempt"] == 0


def test_eight_clients_at_once_get_their_own_pictures(launch: Launch) -> None:
    server = launch()

    def ask(number: int) -> list[int]:
        api = client(server)
        return [
            api.txt2img(prompt=f"number {number}", seed=number * 100 + turn, width=64, height=64).info["seed"]
            for turn in range(4)
        ]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[number * 100 + turn for turn in range(4)] for number in range(8)]
    assert server.states() == {"succeeded": 32}


def test_an_interrupted_client_gets_the_pictures_made_so_far(launch: Launch) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.02"})
    api, answers = client(server), []
    thread = threading.Thread(
        target=lambda: answers.append(api.txt2img(prompt="x", steps=10, n_iter=50, width=64, height=64))
    )
    thread.start()
    other = client(server)
    until(lambda: other.get_progress()["state"]["job_no"] >= 2, "two pictures are done")
    assert 0 < other.get_progress()["progress"] < 1
    assert other.interrupt() == {}
    thread.join(DEADLINE)
    assert 2 <= len(answers[0].images) < 50
    until(lambda: other.get_progress()["state"]["job_count"] == 0, "the demo is at rest")


def test_where_jobs_are_private_nobody_stops_or_watches_those_of_others(launch: Launch) -> None:
    server = launch("--visibility", "private", env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    mine, theirs = ({**STRANGER, "X-Queue-Client": f"{name}-has-a-secret-1"} for name in ("ann", "ben"))
    job = server.post("/v1/jobs", tiny(steps=200), 201, headers=mine)
    until(lambda: server.get(f"{SDAPI}/progress", headers=mine)["progress"] > 0, "it runs")
    assert server.get(f"{SDAPI}/progress", headers=theirs)["progress"] == 0
    assert server.call("POST", f"{SDAPI}/interrupt", headers=theirs).status_code == 403
    assert server.job(job["id"])["state"] == "processing"
    assert server.post(f"{SDAPI}/interrupt", headers=mine) == {}
    assert server.wait_state(job["id"], "deleted", deadline=5)["reason"] == "cancelled by its owner"


def test_a_remote_answers_for_itself_and_only_below_its_api(launch: Launch) -> None:
    with FakeWebUI() as webui:
        webui.auth = "ann:s3cret"
        url = webui.url.replace("http://", "http://ann:s3cret@")
        server = launch("--pipeline", url, "--visibility", "private")
        answer = server.get(f"{SDAPI}/progress", headers=STRANGER)
        assert answer["state"]["job_count"] == 0
        assert server.call("GET", f"{SDAPI}/samplers").status_code == 404, "as the fake says"
        assert "GET /sdapi/v1/samplers" in webui.seen
        before = list(webui.seen)
        for path in ("%2e%2e/%2e%2e/internal", "..%2f..%2finternal", "a//b", "samplers/..%2f..", "x%0d%0ay"):
            assert server.call("GET", f"{SDAPI}/{path}").status_code == 404
        assert server.call("POST", f"{SDAPI}/options", json={}, headers=STRANGER).status_code == 403
        assert webui.seen == before
        webui.auth = "ann:changed"
        answer = server.call("GET", f"{SDAPI}/samplers")
        assert answer.status_code == 503 and "credentials" in answer.json()["detail"] and "s3cret" not in answer.text
    answer = server.call("GET", f"{SDAPI}/samplers")
    assert answer.status_code == 503 and "s3cret" not in answer.text + server.said


def test_requests_survive_a_restart_as_jobs(prepare: Launch) -> None:
    """The connection is lost with the process; the job is not: its client was never told that it was refused."""
    server = prepare(env={"QUEUE_EXT_DEMO_STEP_S": "0.05"}).start()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            requests.post(f"{server.url}{SDAPI}/txt2img", json={**tiny()["payload"], "steps": 40}, timeout=DEADLINE)
        except requests.RequestException as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: server.states().get("processing"), "it runs")
    began = time.monotonic()
    server.kill()
    thread.join(DEADLINE)
    assert failed and time.monotonic() - began < 5
    server.start()
    assert server.wait_state(only_job(server)["id"], "succeeded")["attempt"] == 2
