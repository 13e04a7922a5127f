"""A WebUI without its page."""

import pytest

from .conftest import WebUI
from .test_real_host import LONG, SMALL

FLAGS = ["--nowebui", "--queue-retry-attempts", "1"]
pytestmark = pytest.mark.timeout(900)


def test_jobs_run_without_a_page(webui: WebUI) -> None:
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"
    _, own = webui.ask("POST", "/sdapi/v1/txt2img", SMALL)
    assert webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", SMALL)[1]["images"] == own["images"]


def test_captured_buttons_are_refused(webui: WebUI) -> None:
    status, body = webui.ask("POST", "/queue-ext/v1/jobs", {"task": "ui:txt2img_generate", "payload": {}})
    assert status == 422, body


def test_the_command_line_has_our_settings(webui: WebUI) -> None:
    assert webui.job(webui.enqueue(SMALL))["max_attempts"] == 2


def test_a_running_job_is_cancelled(webui: WebUI) -> None:
    job_id = webui.enqueue(LONG)
    webui.begun(job_id)
    webui.ask("DELETE", f"/queue-ext/v1/jobs/{job_id}")
    assert webui.wait(job_id, seconds=10)["state"] == "deleted"
