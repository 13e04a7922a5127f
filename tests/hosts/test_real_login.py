"""A WebUI with both logins: the page's by its cookie, the API's by Basic, for REST and Socket.IO alike."""

import asyncio
import base64
import urllib.parse
import urllib.request
from typing import Any

import pytest

from .conftest import WebUI

FLAGS = ["--api", "--gradio-auth", "ann:secret,bob:word", "--api-auth", "rob:ot"]
pytestmark = pytest.mark.timeout(900)
JOB = {"task": "txt2img", "payload": {"prompt": "a cat", "width": 64, "height": 64, "steps": 1}}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def logged_in(webui: WebUI, user: str, password: str) -> dict[str, str]:
    """Log in at the page; the cookies as a header."""
    data = urllib.parse.urlencode({"username": user, "password": password}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{webui.port}/login", data) as answer:
        cookies = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    return {"Cookie": "; ".join(cookies)}


@pytest.mark.parametrize("path", ["me", "jobs", "queues", "stats", "export", "workers"])
def test_nothing_is_told_without_a_login(webui: WebUI, path: str) -> None:
    assert webui.ask("GET", f"/queue-ext/v1/{path}")[0] == 401
    assert webui.ask("GET", f"/queue-ext/v1/{path}", headers=basic("rob", "wrong"))[0] == 401
    assert webui.ask("GET", f"/queue-ext/v1/{path}", headers=basic("ann", "wrong"))[0] == 401
    assert webui.ask("GET", f"/queue-ext/v1/{path}", headers={"Cookie": "access-token=made-up"})[0] == 401


def test_nobody_enqueues_without_a_login(webui: WebUI) -> None:
    assert webui.ask("POST", "/queue-ext/v1/jobs", JOB)[0] == 401
    assert webui.ask("POST", "/queue-ext/v1/import", {"version": 1, "jobs": [JOB]})[0] == 401
    assert webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", JOB["payload"])[0] == 401


def test_each_login_is_an_owner_who_sees_their_own_jobs(webui: WebUI) -> None:
    ann, bob, rob = logged_in(webui, "ann", "secret"), logged_in(webui, "bob", "word"), basic("rob", "ot")
    for who, name in ((ann, "ann"), (bob, "bob"), (rob, "rob")):
        me = webui.ask("GET", "/queue-ext/v1/me", headers=who)[1]
        assert (me["owner"], me["admin"], me["visibility"]) == (name, False, "private")
    status, job = webui.ask("POST", "/queue-ext/v1/jobs", JOB, ann)
    assert status == 201 and job["owner"] == "ann"
    assert webui.ask("GET", f"/queue-ext/v1/jobs/{job['id']}", headers=ann)[0] == 200
    for other in (bob, rob):
        assert webui.ask("GET", f"/queue-ext/v1/jobs/{job['id']}", headers=other)[0] == 404
        assert webui.ask("DELETE", f"/queue-ext/v1/jobs/{job['id']}", headers=other)[0] == 404
    assert webui.ask("POST", "/queue-ext/v1/queues/default/pause", headers=ann)[0] == 403


def test_the_drop_in_takes_the_apis_login_along(webui: WebUI) -> None:
    status, answer = webui.ask("POST", "/queue-ext/sdapi/v1/txt2img", JOB["payload"], basic("rob", "ot"))
    assert status == 200 and answer["images"]
    assert webui.ask("GET", "/queue-ext/sdapi/v1/samplers", headers=basic("rob", "ot"))[0] == 200


def test_sockets_know_the_same_logins(webui: WebUI) -> None:
    ann = logged_in(webui, "ann", "secret")
    assert asyncio.run(_who(webui, ann)) == "ann"
    assert asyncio.run(_who(webui, basic("rob", "ot"))) == "rob"
    assert asyncio.run(_who(webui, {})) is None
    assert asyncio.run(_who(webui, basic("rob", "wrong"))) is None


async def _who(webui: WebUI, headers: dict[str, str]) -> Any:
    import socketio

    client = socketio.AsyncClient(reconnection=False)
    try:
        await client.connect(
            f"http://127.0.0.1:{webui.port}",
            headers=headers,
            namespaces=["/queue"],
            socketio_path="/queue-ext/socket.io",
        )
        return (await client.call("hello", {}, namespace="/queue"))["owner"]
    except socketio.exceptions.ConnectionError:
        return None
    finally:
        await client.disconnect()


def test_the_settings_page_changes_what_runs_but_makes_no_admins(webui: WebUI) -> None:
    rob = basic("rob", "ot")
    assert webui.ask("POST", "/sdapi/v1/options", {"queue_ext_retry_attempts": "7"}, rob)[0] == 200
    webui.ask("POST", "/sdapi/v1/options", {"queue_ext_retry_attempts": "many"}, rob)  # is put back
    webui.ask("POST", "/sdapi/v1/options", {"queue_ext_admins": "rob"}, rob)
    job = webui.ask("POST", "/queue-ext/v1/jobs", JOB, rob)[1]
    assert job["max_attempts"] == 8
    assert webui.ask("GET", "/queue-ext/v1/me", headers=rob)[1]["admin"] is False


def test_reload_ui_forgets_the_pages_logins(webui: WebUI) -> None:
    ann = logged_in(webui, "ann", "secret")
    config = webui.ask("GET", "/config", headers=ann)[1]
    number = next(n for n, item in enumerate(config["dependencies"]) if item.get("js") == "restart_reload")
    body = {"fn_index": config["dependencies"][number].get("id", number), "data": [], "session_hash": "reload"}
    before = webui.starts()
    webui.ask("POST", "/run/predict" if config["version"].startswith("3") else "/queue/join", body, ann)
    webui.wait_for_start(before)
    assert webui.ask("GET", "/queue-ext/v1/me", headers=ann)[0] == 401
    assert webui.ask("GET", "/queue-ext/v1/me", headers=logged_in(webui, "ann", "secret"))[1]["owner"] == "ann"
    assert webui.ask("GET", "/queue-ext/v1/me", headers=basic("rob", "ot"))[1]["owner"] == "rob"
