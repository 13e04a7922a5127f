"""A queue before another WebUI: unreachable, dying, interrupted."""

import asyncio
import time

from ..fake_webui import FakeWebUI
from .browser import Browser, off
from .conftest import Launch
from .server import free_port, tiny, until


def test_a_job_waits_for_a_remote_that_is_not_there_yet_and_health_says_why(launch: Launch) -> None:
    port = free_port()
    server = launch("--pipeline", f"http://127.0.0.1:{port}")
    job_id = server.add()["id"]
    health = until(lambda: (said := server.get("/v1/health"))["status"] == "waiting" and said, "it is noticed")
    assert health["database"] == "ok"
    assert f"remote http://127.0.0.1:{port} is not reachable: the connection was refused" in health["worker"]
    job = server.wait_state(job_id, "enqueued")
    assert "not reachable" in (job["reason"] or "") and job["attempt"] == 0 and job["error"] is None
    assert job["position"] == 1
    second = server.add()["id"]
    assert server.job(second)["position"] == 2, "the first one stays at the head"
    with FakeWebUI(port=port) as webui:
        done = server.wait_state(job_id, "succeeded")
        assert done["attempt"] == 1 and len(done["result"]["images"]) == 1
        server.wait_state(second, "succeeded")
        assert len(webui.bodies) == 2, "each was sent once"
        assert until(lambda: server.get("/v1/health")["worker"] == "running", "health is well again")


def test_a_remote_that_dies_while_a_job_runs_costs_an_attempt(launch: Launch) -> None:
    port = free_port()
    server = launch("--pipeline", f"http://127.0.0.1:{port}", "--retry-attempts", "1", "--retry-delay-s", "0.1")
    with FakeWebUI(port=port) as webui:
        webui.gate.clear()
        job_id = server.add(steps=20)["id"]
        until(lambda: webui.state["job_count"], "the remote is at it")
        webui.drop = "middle"
        webui.gate.set()
        until(lambda: len(webui.bodies) == 2, "it is tried again")
    job = server.wait_state(job_id, "failed")
    assert job["attempt"] == job["max_attempts"] == 2
    assert "broke off the connection while the job ran" in job["error"]["message"]
    assert [row["state"] for row in job["history"] if row["state"] == "failed"] == ["failed", "failed"]
    with FakeWebUI(port=port):
        server.post(f"/v1/jobs/{job_id}/requeue")
        assert server.wait_state(job_id, "succeeded")["attempt"] == 1


def test_a_cancelled_job_is_interrupted_at_the_remote_and_keeps_what_is_done(launch: Launch) -> None:
    with FakeWebUI() as webui:
        server = launch("--pipeline", webui.url)
        webui.step_s = 0.02
        job_id = server.add(steps=10, n_iter=100)["id"]
        until(lambda: webui.state["job_no"] >= 2, "two pictures are done")
        server.call("DELETE", f"/v1/jobs/{job_id}")
        job = server.wait_state(job_id, "deleted", deadline=10)
        assert webui.asked("POST /sdapi/v1/interrupt") >= 1
        assert 2 <= len(job["result"]["images"]) < 100
        assert server.wait_state(server.add(steps=1)["id"], "succeeded")


def test_stopping_the_server_interrupts_the_remote_and_gives_the_job_back(launch: Launch) -> None:
    with FakeWebUI() as webui:
        webui.step_s = 0.02
        server = launch("--pipeline", webui.url)
        job_id = server.add(steps=1000)["id"]
        until(lambda: webui.state["sampling_step"] > 2, "it runs")
        server.terminate()
        assert webui.asked("POST /sdapi/v1/interrupt") >= 1
        assert webui.state["job_count"] == 0, "the remote is free again"
        webui.step_s = 0
        server.start()
        assert server.wait_state(job_id, "succeeded")["attempt"] == 1


def test_a_killed_server_does_not_leave_the_remote_with_two_jobs_at_once(launch: Launch) -> None:
    """The remote goes on with what nobody waits for; the job is sent again and has to wait for its turn there."""
    with FakeWebUI() as webui:
        webui.step_s = 0.02
        server = launch("--pipeline", webui.url)
        job_id = server.add(steps=50)["id"]
        until(lambda: webui.state["sampling_step"] > 2, "it runs")
        server.kill()
        server.start()
        job = server.wait_state(job_id, "succeeded")
        assert job["attempt"] == 2 and len(job["result"]["images"]) == 1


def test_a_refusal_of_the_remote_is_told_in_its_words_and_not_tried_again(launch: Launch) -> None:
    with FakeWebUI() as webui:
        server = launch("--pipeline", webui.url)
        webui.answer = (404, {"detail": "Sampler not found"})
        job_id = server.add()["id"]
        job = server.wait_state(job_id, "failed")
        assert "Sampler not found" in job["error"]["message"] and job["attempt"] == 1
        webui.answer = (401, {"detail": "Incorrect username or password"})
        waiting = server.add()["id"]
        until(lambda: "credentials" in server.get("/v1/health")["worker"], "health says what is wanted")
        webui.answer = None
        server.wait_state(waiting, "succeeded")


def test_progress_of_the_remote_reaches_the_browser(launch: Launch) -> None:
    with FakeWebUI() as webui:
        webui.step_s = 0.05
        server = launch("--pipeline", webui.url)

        async def journey() -> None:
            async with Browser(server, "ann-has-a-secret-1") as ann:
                await ann.ask("preview", {"enabled": True})
                began = time.monotonic()
                job = (await ann.ask("enqueue", tiny(steps=40)))["job"]
                seen = await ann.until(
                    lambda: next((d for d in ann.of("progress") if "preview" in d), None), "a preview"
                )
                assert seen["steps"] == 40 and 0 < seen["fraction"] < 1 and seen["preview"].startswith(b"\xff\xd8")
                await ann.until(lambda: job["id"] in ann.results(), "the result")
                assert len(ann.of("progress")) <= 4 * (time.monotonic() - began) + 2
                picture = ann.of("result")[0]["images"][0]["url"]
                assert (await off(server.http.get, server.root + picture)).headers["content-type"] == "image/png"

        asyncio.run(journey())
