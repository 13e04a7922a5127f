"""A WebUI that listens for others by TLS: REST, Socket.IO over ``wss``, and the page."""

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..chromium import chromium, missing
from ..journeys.server import until
from .conftest import WebUI
from .page import ARGUMENTS, opened

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")]
SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler"}


def FLAGS(folder: Path) -> list[str]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ["--tls-keyfile", str(key), "--tls-certfile", str(certificate), "--disable-tls-verify"]
    return ["--api", "--listen", "--gradio-allowed-path", ".", *tls]


def test_jobs_run_by_https_and_others_may_come(webui: WebUI) -> None:
    assert webui.wait(webui.enqueue(SMALL))["state"] == "succeeded"
    status, answer = webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", SMALL)
    assert status == 200 and answer["images"]
    own = next((a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)), "127.0.0.1")
    socket.create_connection((own, webui.port), 5).close()


def test_a_browser_hears_its_job_over_wss(webui: WebUI) -> None:
    assert asyncio.run(_heard(webui)) == ["websocket", "succeeded"]


async def _heard(webui: WebUI) -> list[str]:
    import socketio

    client, states, done = socketio.AsyncClient(ssl_verify=False), [], asyncio.Event()

    async def on_job(job: Any) -> None:
        states.append(job["state"])
        if job["state"] == "succeeded":
            done.set()

    client.on("job", on_job, namespace="/queue")
    where = {"namespaces": ["/queue"], "socketio_path": "/queue-ext/socket.io", "transports": ["websocket"]}
    await client.connect(f"https://127.0.0.1:{webui.port}", auth={"client_id": "c" * 20}, **where)
    try:
        said = await client.call("enqueue", {"task": "txt2img", "payload": SMALL}, namespace="/queue")
        assert said["ok"], said
        await asyncio.wait_for(done.wait(), 60)
        return [client.transport(), states[-1]]
    finally:
        await client.disconnect()


@pytest.mark.skipif(missing() is not None, reason="needs Chromium")
def test_the_page_enqueues_and_its_tab_shows_the_picture(webui: WebUI) -> None:
    with chromium(*ARGUMENTS) as browser, opened(browser, f"https://127.0.0.1:{webui.port}") as page:
        page.set("by https")
        assert "Queued" in page.enqueue()
        until(lambda: webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]["prompt"] == "by https", "the job is listed")
        job = webui.wait(webui.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]["id"])
        page.page.locator(".queue-ext-toast a").last.click()
        shown = page.page.locator(f"#queue_ext img[src*='{job['id']}']").first
        shown.wait_for()
        until(lambda: shown.evaluate("image => image.naturalWidth") > 0, "the picture is loaded")
