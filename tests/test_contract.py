"""The documents say what the server says: current, whole, true of every message, and readable without the internet."""

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest

from queue_ext.__main__ import main
from queue_ext.compat import PYDANTIC_2
from queue_ext.pipelines import Progress
from queue_ext.rest.contract import document
from queue_ext.wire import CLIENT_EVENTS, SERVER_EVENTS

from .support import FakePipeline, Gate, Served, pictures, png, served
from .test_namespace import ANN, Browser, enqueue, off_loop, run

SECRET = {"X-Queue-Client": ANN}
made_with_pydantic_2 = pytest.mark.skipif(not PYDANTIC_2, reason="made with pydantic 2; with 1.10 they are only served")


@made_with_pydantic_2
def test_the_documents_are_current(capsys: Any) -> None:
    from queue_ext.contract import outdated

    assert outdated() == [], "run `python -m queue_ext contract`"
    assert main(["contract"]) == 0 and "current" in capsys.readouterr().out
    assert main(["contract", "asyncapi"]) == 0
    assert json.loads(capsys.readouterr().out) == document("asyncapi")


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _references(value)]
    return [ref for value in node for ref in _references(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(name: str) -> None:
    for reference in _references(document(name)):
        found: Any = document(name)
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_every_refusal_is_described_as_the_problem_it_is() -> None:
    operations = [operation for path in document("openapi")["paths"].values() for operation in path.values()]
    refusals = [
        (status, answer)
        for operation in operations
        for status, answer in operation["responses"].items()
        if status.startswith("4")
    ]
    assert len([status for status, _ in refusals if status == "422"]) > 30
    assert {kind for _, answer in refusals for kind in answer["content"]} == {"application/problem+json"}


def test_every_event_is_described_and_no_other(tmp_path: Any) -> None:
    messages = document("asyncapi")["channels"]["queue"]["messages"]
    assert set(messages) == {
        *SERVER_EVENTS,
        *(f"{name}.{part}" for name in CLIENT_EVENTS for part in ("ask", "answer")),
    }
    with served(tmp_path) as found:
        assert set(found.app.namespace._handlers) == set(CLIENT_EVENTS)


class Judge:
    """Says whether a value is just what a document says, with no field more."""

    def __init__(self, name: str) -> None:
        self._whole = _strict(json.loads(json.dumps(document(name))))
        self._messages = self._whole.get("channels", {}).get("queue", {}).get("messages", {})

    def message(self, name: str, value: Any) -> None:
        self._check(self._messages[name]["payload"], value, name)

    def shape(self, name: str, value: Any) -> None:
        self._check({"$ref": f"#/components/schemas/{name}"}, value, name)

    def _check(self, schema: Any, value: Any, name: str) -> None:
        whole = {**schema, "components": self._whole["components"]}
        errors = list(jsonschema.Draft202012Validator(whole).iter_errors(value))
        assert not errors, f"{name}: {errors[0].json_path} {errors[0].message}"


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(value) for value in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "properties" in node and "additionalProperties" not in node else {}
    return {**{key: _strict(value) for key, value in node.items()}, **closed}


class Script:
    """Fails once, then shows progress and a preview while the gate is closed."""

    def __init__(self) -> None:
        self.gate, self.failures = Gate(), 0

    def __call__(self, request: Any, on_progress: Any, cancelled: Any) -> Any:
        if request.payload["prompt"] == "broken" and not self.failures:
            self.failures = 1
            raise RuntimeError("no memory")
        on_progress(Progress(0.5, 1, 2, 1, 1, lambda: png()))
        self.gate(request, on_progress, cancelled)
        return pictures(1)


def test_every_message_of_a_day_is_as_described(tmp_path: Any) -> None:
    """Ann asks for everything there is; what she hears and what she is answered is held against the document."""
    script, judge = Script(), Judge("asyncapi")

    async def asked(ann: Browser, event: str, data: Any = None) -> Any:
        answer = await ann.call(event, data)
        judge.message(f"{event}.ask", data or {})
        judge.message(f"{event}.answer", answer)
        return answer

    async def scenario(found: Served) -> None:
        async with Browser(found) as ann:
            await asked(ann, "preview", {"enabled": True})
            await asked(ann, "watch", {"queue": "default"})
            first = (await asked(ann, "enqueue", {"task": "txt2img", "payload": {"prompt": "broken"}}))["job"]["id"]
            await ann.until(lambda b: b.of("failed") and [p for p in b.of("progress") if "preview" in p])
            second = enqueue(found, count=2)[1]
            await asked(ann, "move", {"job_id": second, "to": "front"})
            await ann.until(lambda b: b.of("positions") and b.of("line"))
            await asked(ann, "skip", {"job_id": first})
            await asked(ann, "waiting_count", {"queue": "default"})
            script.gate.open.set()
            await ann.until(lambda b: len(b.of("result")) == 3 and b.of("empty"))
            await asked(ann, "cancel", {"job_id": first})  # refused: it is done
            deleted = enqueue(found, delay_s=3600)[0]
            await asked(ann, "cancel", {"job_id": deleted})
            await asked(ann, "requeue", {"job_id": deleted})
            await asked(ann, "unwatch", {"queue": "default"})
            http = httpx.Client(base_url=found.url, headers=SECRET)
            await off_loop(lambda: (http.put("/queues/other"), http.delete("/queues/other")))
            plan = {"name": "often", "cron": "@daily", "template": {"task": "txt2img", "payload": {"prompt": "x"}}}
            await off_loop(lambda: http.post("/schedules", json=plan))
            await off_loop(lambda: http.delete(f"/jobs/{first}"))
            await ann.until(lambda b: b.of("removed"))
            await ann.until(lambda b: b.of("schedule") and [q for q in b.of("queue") if "deleted" in q])
            await asked(ann, "hello", {"since": 0})
            await asked(ann, "hello")
            for _, event, data in ann.heard:
                shown = {**data, "preview": "a JPEG"} if "preview" in data else data
                judge.message(event, shown)
            assert {event for _, event, _ in ann.heard} == set(SERVER_EVENTS)

    with served(tmp_path, FakePipeline(script), when_empty_notify=True) as found:
        run(scenario(found))


def test_rest_answers_are_as_described(tmp_path: Any) -> None:
    judge = Judge("openapi")
    with served(tmp_path) as found, httpx.Client(base_url=found.url, headers=SECRET) as http:
        body = {"task": "txt2img", "payload": {"prompt": "x"}}
        job = http.post("/jobs", json=body).json()
        judge.shape("Job", job)
        judge.shape("JobDetails", http.get(f"/jobs/{job['id']}").json())
        judge.shape("JobList", http.get("/jobs").json())
        judge.shape("Me", http.get("/me").json())
        judge.shape("Token", http.post("/tokens").json())
        judge.shape("Upload", http.post("/uploads", content=png()).json())
        judge.shape("LaneList", http.get("/queues").json())
        plan = http.post("/schedules", json={"name": "n", "cron": "@daily", "template": body}).json()
        judge.shape("ScheduleDetails", plan)
        judge.shape("ScheduleList", http.get("/schedules").json())
        judge.shape("Problem", http.post("/jobs", json={}).json())
        judge.shape("JobRequest", {**body, "priority": 3, "after": ["x", 0], "retry": {"attempts": 1}})
    with served(tmp_path / "private", worker=False, visibility="private") as found:
        enqueue(found, "somebody-else-entirely")
        away = {"X-Forwarded-For": "10.0.0.1", **SECRET}
        line = httpx.get(f"{found.url}/jobs?order=line", headers=away).json()
        assert line["jobs"][0]["id"] is None
        judge.shape("JobList", line)


@pytest.mark.parametrize("root", ["", "/sdui"])
def test_the_documents_and_their_page_are_served_and_need_nothing_from_elsewhere(tmp_path: Any, root: str) -> None:
    with served(tmp_path, root_path=root) as found:
        base = f"{found.base}/queue-ext"
        assert httpx.get(f"{base}/v1/openapi.json").json()["servers"] == [{"url": f"{root}/queue-ext"}]
        here = httpx.get(f"{base}/v1/asyncapi.json").json()["servers"]["queue"]
        assert (here["host"], here["pathname"]) == (found.base[7:], f"{root}/queue-ext/socket.io")
        page = httpx.get(f"{base}/docs")
        assert page.status_code == 200 and page.text == httpx.get(f"{base}/v1/docs").text
    assert not re.search(r"<script|<link|<img|src=|@import|url\(", page.text)
    assert all(link.startswith(("#", f"{root}/queue-ext/")) for link in re.findall(r"href='([^']*)'", page.text))
    anchors = set(re.findall(r"id='([^']*)'", page.text))
    assert set(re.findall(r"href='#([^']*)'", page.text)) <= anchors
    for said in ("/v1/jobs/{job_id}/move", "positions", "JobRequest"):
        assert said in page.text
