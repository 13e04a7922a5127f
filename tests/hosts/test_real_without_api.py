"""A WebUI with its page but without ``--api``, behind a path of a proxy."""

import pytest

from .conftest import WebUI
from .test_real_host import SMALL

FLAGS = ["--subpath", "sd"]
pytestmark = pytest.mark.timeout(900)


def test_jobs_run_without_the_hosts_api(webui: WebUI) -> None:
    assert webui.ask("POST", "/sdapi/v1/txt2img", SMALL)[0] in (404, 405)
    status, answer = webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", SMALL)
    assert status == 200 and len(answer["images"]) == 1


def test_what_the_host_does_not_serve_is_not_served_by_us(webui: WebUI) -> None:
    assert webui.ask("GET", "/queue-ext/sdapi/v1/options")[0] == webui.ask("GET", "/sdapi/v1/options")[0] == 404


def test_addresses_carry_the_path_of_the_proxy(webui: WebUI) -> None:
    job = webui.wait(webui.enqueue(SMALL))
    url = job["result"]["images"][0]["url"]
    assert url.startswith("/sd/queue-ext/v1/")
    status, data = webui.ask("GET", url.removeprefix("/sd"))  # as the proxy passes it on
    assert status == 200 and data[:4] == b"\x89PNG"


def test_reload_ui_brings_the_queue_back(webui: WebUI) -> None:
    webui.reload()
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"
