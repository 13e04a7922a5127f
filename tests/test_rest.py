"""The REST doors over a real server: every route, and everything a stranger may send to it."""

import base64
import io
import json
import socket
import ssl
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from queue_ext.identity import COOKIE, Visitor

from .support import FakePipeline, Gate, Served, pictures, png, served, until

ANN = {"X-Queue-Client": "ann-is-my-secret-name"}
BOB = {"X-Queue-Client": "bob-has-another-secret"}
HELD = "held"  # a paused lane: what is sent there waits
SURROGATE = "\ud800"
PLAIN = ssl.create_default_context()  # made once: httpx reads all certificates for every client, also without TLS


def body(**values: Any) -> dict[str, Any]:
    return {"task": "txt2img", "payload": {"prompt": "a lighthouse", "steps": 2}, **values}


def held(**values: Any) -> dict[str, Any]:
    return body(queue=HELD, **values)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everyone sees all; the client sits at this machine."""
    pipeline = FakePipeline(lambda request, *_: pictures(request.payload.get("n_iter", 1)))
    with served(tmp_path_factory.mktemp("shared"), pipeline, max_payload_mb=12) as found:
        found.app.store.put_queue(HELD, {"paused": True})
        yield found


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everyone has a login, here a header, and sees their own."""
    login = (lambda visitor: visitor.headers.get("user", "nobody"), lambda: True)
    with served(tmp_path_factory.mktemp("private"), login=login, admins=("root",)) as found:
        found.app.store.put_queue(HELD, {"paused": True})
        yield found


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=ANN, timeout=30, verify=PLAIN) as client:
        yield client


@pytest.fixture
def as_user(private: Served) -> Iterator[Any]:
    clients = []

    def make(name: str) -> httpx.Client:
        clients.append(httpx.Client(base_url=private.url, headers={"user": name}, timeout=30, verify=PLAIN))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def post(http: httpx.Client, request: Any = None, **headers: str) -> dict[str, Any]:
    answer = http.post("/jobs", json=request or held(), headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def finished(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return until(
        lambda: (job := http.get(f"/jobs/{job_id}").json())["state"] in ("succeeded", "failed", "deleted") and job
    )


def assert_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:300]}"
    assert answer.headers["content-type"].startswith("application/problem+json")
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail", "code", "errors"}
    assert told["status"] == answer.status_code and told["detail"] and told["code"] in told["type"].replace("-", "_")
    assert all(set(fault) == {"loc", "msg"} for fault in told["errors"])
    return told


def fingerprint(found: Served) -> tuple[Any, ...]:
    store = found.app.store
    return (store.last_seq(), store.counts(), [row["name"] for row in store.queues()])


# --- jobs --------------------------------------------------------------------------------------------------------------


def test_an_accepted_job_is_answered_whole(http: httpx.Client) -> None:
    answer = http.post("/jobs", json=held(name="first", labels=["a", "b"], priority=3))
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"/queue-ext/v1/jobs/{job['id']}"
    contract = [
        "id",
        "queue",
        "task",
        "name",
        "state",
        "reason",
        "priority",
        "labels",
        "position",
        "ahead",
        "eta_s",
        "duration_estimate_s",
        "owner",
        "mine",
        "created_at",
        "run_at",
        "started_at",
        "finished_at",
        "expires_at",
        "attempt",
        "max_attempts",
        "after",
        "schedule_id",
        "bookmarked",
        "progress",
        "result",
        "error",
        "message",
    ]
    assert set(contract) <= set(job)
    assert (job["state"], job["name"], job["labels"], job["priority"], job["mine"]) == (
        "enqueued",
        "first",
        ["a", "b"],
        3,
        True,
    )
    assert job["created_at"].endswith("Z") and job["position"] >= 1 and "paused" in job["message"]
    shown = http.get(answer.headers["location"].removeprefix("/queue-ext/v1")).json()
    assert shown["payload"] == held()["payload"] and [row["state"] for row in shown["history"]] == ["enqueued"]


def test_a_job_runs_and_shows_its_pictures(http: httpx.Client) -> None:
    job = finished(http, post(http, body(payload={"prompt": "x", "n_iter": 2}))["id"])
    assert job["state"] == "succeeded" and [row["state"] for row in job["history"]] == [
        "enqueued",
        "processing",
        "succeeded",
    ]
    first = job["result"]["images"][0]
    assert set(first) >= {"url", "thumbnail_url", "width", "height", "seed", "infotext"}
    assert len(job["result"]["images"]) == 2 and job["result"]["info"] == {"seed": 7}


def test_a_batch_is_accepted_whole_or_not_at_all(http: httpx.Client, server: Served) -> None:
    answer = http.post("/jobs/batch", json={"jobs": [held() for _ in range(5)]})
    assert answer.status_code == 201 and len({job["id"] for job in answer.json()["jobs"]}) == 5
    before = fingerprint(server)
    told = assert_problem(
        http.post("/jobs/batch", json={"jobs": [held(), held(priority="x"), held(payload={"width": 0}), 5]}), 422
    )
    assert [fault["loc"][:2] for fault in told["errors"]] == [["jobs", 1], ["jobs", 2], ["jobs", 3]]
    assert fingerprint(server) == before


def test_a_list_can_be_narrowed_down(http: httpx.Client) -> None:
    job = post(http, held(name="needle in a haystack", labels=["sharp"], payload={"prompt": "50% thread_and \\ more"}))
    for query in (
        {"label": "sharp"}, {"q": "NEEDLE"}, {"q": "50% thread_and \\"}, {"q": "haystack", "state": "enqueued,failed"},
        {"owner": job["owner"], "q": "needle"}, {"queue": HELD, "task": "txt2img", "label": "sharp"},
        {"label": "sharp", "order": "line"}, {"label": "sharp", "bookmarked": "false"},
    ):  # fmt: skip
        found = http.get("/jobs", params=query).json()
        assert [each["id"] for each in found["jobs"]] == [job["id"]] and found["total"] == 1, query
    for query in (
        {"q": "50_ thread"},
        {"label": "shar"},
        {"q": "needle", "state": "failed"},
        {"queue": "nowhere"},
        {"bookmarked": "true", "q": "needle"},
        {"schedule_id": "none"},
    ):
        assert http.get("/jobs", params=query).json()["jobs"] == [], query


@pytest.mark.parametrize("order", ["newest", "oldest", "line"])
def test_pages_show_every_job_once_while_others_are_added(http: httpx.Client, order: str) -> None:
    lane = f"paged-{order}"
    http.put(f"/queues/{lane}", json={"paused": True})
    ids = [post(http, body(queue=lane, priority=number % 3))["id"] for number in range(23)]
    seen: list[str] = []
    cursor = None
    while True:
        page = http.get(
            "/jobs", params={"queue": lane, "limit": 5, "order": order, **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [job["id"] for job in page["jobs"]]
        if len(seen) < 20:
            post(http, body(queue=lane, priority=-4))
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [job_id for job_id in seen if job_id in ids] == {
        "newest": ids[::-1], "oldest": ids, "line": sorted(ids, key=lambda job_id: (-(ids.index(job_id) % 3), ids.index(job_id)))
    }[order]  # fmt: skip
    assert len(seen) == len(set(seen))


def test_a_job_can_be_changed_while_it_waits(http: httpx.Client) -> None:
    job = post(http)
    changed = http.patch(
        f"/jobs/{job['id']}",
        json={
            "name": "new",
            "labels": ["x"],
            "bookmarked": True,
            "priority": 7,
            "payload": {"prompt": "other"},
            "queue": "held",
        },
    ).json()
    assert (changed["name"], changed["labels"], changed["bookmarked"], changed["priority"], changed["prompt"]) == (
        "new",
        ["x"],
        True,
        7,
        "other",
    )
    later = http.patch(f"/jobs/{job['id']}", json={"run_at": "2099-01-01T00:00:00+01:00"}).json()
    assert (later["state"], later["run_at"]) == ("scheduled", "2098-12-31T23:00:00.000Z")
    assert later["message"] == "Your job starts at 2098-12-31 23:00:00 UTC at the earliest."
    assert http.patch(f"/jobs/{job['id']}", json={"run_at": None}).json()["state"] == "enqueued"
    assert http.patch(f"/jobs/{job['id']}", json={}).status_code == 200


def test_a_finished_job_keeps_all_but_name_labels_and_bookmark(http: httpx.Client) -> None:
    job = finished(http, post(http, body())["id"])
    assert (
        http.patch(f"/jobs/{job['id']}", json={"name": "n", "labels": [], "bookmarked": True}).json()["expires_at"]
        is None
    )
    for change in ({"payload": {}}, {"priority": 1}, {"queue": "default"}, {"run_at": "2099-01-01T00:00:00Z"}):
        assert_problem(http.patch(f"/jobs/{job['id']}", json=change), 409)


def test_delete_cancels_what_waits_and_then_forgets_it(http: httpx.Client) -> None:
    job = post(http)
    assert http.delete(f"/jobs/{job['id']}").json()["state"] == "deleted"
    assert http.delete(f"/jobs/{job['id']}").status_code == 204
    assert_problem(http.delete(f"/jobs/{job['id']}"), 404)


def test_a_deleted_job_can_be_requeued_and_a_waiting_one_not(http: httpx.Client) -> None:
    job = post(http)
    http.delete(f"/jobs/{job['id']}")
    assert http.post(f"/jobs/{job['id']}/requeue").json()["state"] == "enqueued"
    assert_problem(http.post(f"/jobs/{job['id']}/requeue"), 409)


def test_a_clone_is_a_new_job_with_some_fields_changed(http: httpx.Client) -> None:
    encoded = base64.b64encode(png()).decode()
    job = post(
        http,
        held(
            task="img2img",
            payload={"init_images": [encoded], "prompt": "p"},
            priority=4,
            labels=["x"],
            timeout_s=77,
            retry={"attempts": 9},
        ),
    )
    clone = http.post(f"/jobs/{job['id']}/clone", json={"payload": {"prompt": "q"}, "priority": 1}, headers=BOB)
    made = http.get(f"/jobs/{clone.json()['id']}").json()
    assert clone.status_code == 201 and made["id"] != job["id"] and made["owner"] != job["owner"]
    assert (made["payload"]["prompt"], made["priority"], made["labels"], made["queue"], made["max_attempts"]) == (
        "q",
        1,
        ["x"],
        HELD,
        10,
    )
    assert made["payload"]["init_images"] == http.get(f"/jobs/{job['id']}").json()["payload"]["init_images"]
    assert http.post(f"/jobs/{job['id']}/clone").status_code == 201
    assert_problem(http.post(f"/jobs/{job['id']}/clone", json={"payload": {"width": 1}}), 422)


def test_a_job_with_a_picture_is_repeated_after_all_that_is_left_of_it_has_gone(
    http: httpx.Client, server: Served
) -> None:
    """As the page does it: what the job's own JSON says is the template, ``upload:`` references included."""
    encoded = base64.b64encode(png(37, 23)).decode()
    job = post(http, held(task="img2img", payload={"init_images": [encoded], "mask": encoded, "prompt": "p"}))
    shown = http.get(f"/jobs/{job['id']}").json()
    assert shown["payload"]["init_images"][0].startswith("upload:")
    template = {"task": shown["task"], "payload": shown["payload"], "queue": HELD}
    made = http.post("/schedules", json={"name": "again", "cron": "0 0 1 1 *", "template": template})
    assert made.status_code == 201, made.text
    http.delete(f"/jobs/{job['id']}"), http.delete(f"/jobs/{job['id']}")  # cancelled, then forgotten
    assert http.get(f"/jobs/{job['id']}").status_code == 404
    store, media = server.app.store, server.app.queue.media
    store.forget_uploads(time.time() + 1)
    media.collect(store.unreferenced, time.time() + 365 * 86400)
    with pytest.raises(FileNotFoundError):
        media.read(shown["payload"]["init_images"][0].removeprefix("upload:"))
    for _ in range(2):
        run = http.post(f"/schedules/{made.json()['id']}/trigger")
        assert run.status_code in (200, 201), run.text
    again = http.get("/jobs", params={"schedule_id": made.json()["id"]}).json()["jobs"]
    documents = http.get("/export", params={"queue": HELD}).json()["jobs"]
    assert len(again) == 2
    assert [one["payload"]["init_images"] for one in documents if "mask" in one["payload"]] == [[encoded]] * 2
    http.delete(f"/schedules/{made.json()['id']}")


def test_a_picture_of_somebody_elses_job_is_nobodys_where_jobs_are_private(as_user: Any) -> None:
    ann, bob = as_user("ann"), as_user("bob")
    encoded = base64.b64encode(png(31, 17)).decode()
    job = post(ann, held(task="img2img", payload={"init_images": [encoded]}))
    again = held(task="img2img", payload=ann.get(f"/jobs/{job['id']}").json()["payload"])
    assert_problem(bob.post("/jobs", json=again), 422)
    assert ann.post("/jobs", json=again).status_code == 201
    assert as_user("root").post("/jobs", json=again).status_code == 201


def test_jobs_move(http: httpx.Client) -> None:
    http.put("/queues/moving", json={"paused": True})
    a, b, c = (post(http, body(queue="moving"))["id"] for _ in range(3))

    def line() -> list[str]:
        return [job["id"] for job in http.get("/jobs", params={"queue": "moving", "order": "line"}).json()["jobs"]]

    assert http.post(f"/jobs/{c}/move", json={"to": "front"}).json()["position"] == 1
    assert line() == [c, a, b]
    http.post(f"/jobs/{c}/move", json={"after": a}), http.post(f"/jobs/{b}/move", json={"before": a})
    assert line() == [b, a, c]
    http.post(f"/jobs/{b}/move", json={"to": "back"})
    assert line() == [a, c, b]


def test_a_running_job_can_be_skipped_cancelled_and_is_position_zero(tmp_path: Any) -> None:
    gate = Gate()
    with served(tmp_path, FakePipeline(gate)) as found, httpx.Client(base_url=found.url, headers=ANN) as http:
        running, waiting = post(http, body()), post(http, body())
        assert gate.started.wait(10)
        assert waiting["ahead"] == 1 and waiting["message"] == "Submitted. 1 job is ahead of yours."
        shown = http.get(f"/jobs/{running['id']}").json()
        assert (shown["state"], shown["position"], shown["ahead"]) == ("processing", 0, 0)
        assert_problem(http.post(f"/jobs/{waiting['id']}/skip"), 409)
        assert http.post(f"/jobs/{running['id']}/skip").status_code == 200
        assert_problem(http.patch(f"/jobs/{running['id']}", json={"priority": 1}), 409)
        assert http.delete(f"/jobs/{running['id']}").status_code == 200
        assert finished(http, running["id"])["state"] == "deleted"
        gate.open.set()
        assert finished(http, waiting["id"])["state"] == "succeeded"


def test_actions_change_many_by_ids_or_by_filter(http: httpx.Client) -> None:
    ids = [post(http, held(labels=["many"]))["id"] for _ in range(6)]
    act = lambda **what: http.post("/jobs/actions", json=what).json()["changed"]  # noqa: E731
    assert act(action="bookmark", ids=[*ids[:2], "nobody", ids[0]]) == 2
    assert act(action="cancel", filter={"label": "many", "bookmarked": False}) == 4
    assert act(action="cancel", filter={"label": "many", "state": ["deleted"]}) == 0
    assert act(action="requeue", filter={"label": "many", "state": ["deleted"]}) == 4
    assert act(action="delete", filter={"label": "many"}) == 0
    assert act(action="cancel", ids=ids) == 6 and act(action="delete", ids=ids) == 6
    assert http.get("/jobs", params={"label": "many"}).json()["total"] == 0


def test_actions_prioritise_label_and_move_many(http: httpx.Client) -> None:
    http.put("/queues/row", json={"paused": True})
    ids = [post(http, body(labels=["row"], queue="row"))["id"] for _ in range(4)]
    act = lambda **what: http.post("/jobs/actions", json=what).json()["changed"]  # noqa: E731
    line = lambda: [job["id"] for job in http.get("/jobs?order=line&queue=row").json()["jobs"]]  # noqa: E731
    a, b, c, d = ids
    assert act(action="move", ids=[c, d], place={"to": "front"}) == 2 and line() == [c, d, a, b]
    assert act(action="move", ids=[c, a], place={"after": b}) == 2 and line() == [d, b, c, a]
    assert act(action="move", ids=[c, a, b], place={"before": d}) == 3 and line() == [c, a, b, d]
    assert act(action="move", ids=[c, a, "nobody"], place={"to": "back"}) == 2 and line() == [b, d, c, a]
    assert act(action="prioritise", ids=[a, c], priority=5) == 2 and line() == [a, c, b, d]
    assert act(action="label", ids=[a, b], labels=["sea", "row"]) == 2
    assert http.get(f"/jobs/{a}").json()["labels"] == ["row", "sea"]
    assert act(action="unlabel", filter={"label": "sea"}, labels=["row"]) == 2
    assert http.get(f"/jobs/{a}").json()["labels"] == ["sea"]
    assert act(action="bookmark", ids=[a]) == act(action="unbookmark", ids=[a]) == 1
    assert http.get(f"/jobs/{a}").json()["bookmarked"] is False
    assert act(action="cancel", ids=ids) == 4
    assert act(action="prioritise", ids=ids, priority=1) == act(action="move", ids=ids, place={"to": "front"}) == 0
    assert act(action="delete", ids=ids) == 4


def test_lists_go_by_checkpoint_and_by_time(http: httpx.Client) -> None:
    named = {"prompt": "x", "override_settings": {"sd_model_checkpoint": "sea_100%.ckpt"}}
    old = post(http, body(labels=["found"], queue=HELD, payload=named))["id"]
    new = post(http, held(labels=["found"]))
    find = lambda **by: [job["id"] for job in http.get("/jobs", params={"label": "found", **by}).json()["jobs"]]  # noqa: E731
    assert find(checkpoint="sea_100%.ckpt") == [old] and find(checkpoint="sea") == find(checkpoint="%") == []
    assert find(since=new["created_at"]) == [new["id"]] and find(since="2020-01-01T00:00:00Z") == [new["id"], old]
    assert find(since="2090-01-01T00:00:00Z") == []
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        assert_problem(http.get("/jobs", params={"since": wrong}), 422)


# --- idempotency -------------------------------------------------------------------------------------------------------


def test_a_key_gives_the_same_job_in_header_or_body(http: httpx.Client) -> None:
    first = post(http, held(idempotency_key="k1"))
    assert post(http, held(), **{"Idempotency-Key": "k1"})["id"] == first["id"]
    assert http.post("/jobs", json=held(), headers={**BOB, "Idempotency-Key": "k1"}).json()["id"] != first["id"]


@pytest.mark.parametrize(
    "other",
    [
        {"priority": 1},
        {"payload": {"prompt": "other"}},
        {"timeout_s": 5},
        {"retry": {"attempts": 1}},
        {"labels": ["x"]},
        {"name": "n"},
    ],
)
def test_a_key_with_another_body_is_refused(http: httpx.Client, server: Served, other: dict[str, Any]) -> None:
    key = f"k-{sorted(other)}"
    post(http, held(idempotency_key=key))
    before = fingerprint(server)
    assert (
        assert_problem(http.post("/jobs", json=held(idempotency_key=key, **other)), 422)["code"]
        == "idempotency_key_reused"
    )
    assert fingerprint(server) == before


def test_a_key_does_not_mind_the_order_of_fields(http: httpx.Client) -> None:
    one = post(http, held(payload={"prompt": "x", "steps": 3}, idempotency_key="order"))
    assert post(http, held(payload={"steps": 3, "prompt": "x"}, idempotency_key="order"))["id"] == one["id"]


def test_a_key_whose_job_is_gone_makes_a_new_one(http: httpx.Client) -> None:
    first = post(http, held(idempotency_key="gone"))
    http.delete(f"/jobs/{first['id']}"), http.delete(f"/jobs/{first['id']}")
    assert post(http, held(idempotency_key="gone"))["id"] != first["id"]


# --- pictures ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(server: Served) -> dict[str, Any]:
    with httpx.Client(base_url=server.url, headers=ANN) as http:
        return finished(http, post(http, body(payload={"prompt": "x", "n_iter": 2}))["id"])


def test_a_picture_has_an_etag_and_comes_in_ranges(http: httpx.Client, job: dict[str, Any]) -> None:
    path = f"/jobs/{job['id']}/images/0"
    whole = http.get(path)
    assert whole.content == pictures(2).pictures[0].data and whole.headers["content-type"] == "image/png"
    size = len(whole.content)
    assert http.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    for wanted, (low, high) in {
        "bytes=0-9": (0, 9),
        "bytes=10-": (10, size - 1),
        "bytes=-7": (size - 7, size - 1),
        f"bytes=5-{size * 9}": (5, size - 1),
        f"bytes=-{size * 9}": (0, size - 1),
    }.items():
        part = http.get(path, headers={"Range": wanted})
        assert (part.status_code, part.content) == (206, whole.content[low : high + 1])
        assert part.headers["content-range"] == f"bytes {low}-{high}/{size}"
    assert http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200
    for wanted in (
        "bytes=9-5",
        f"bytes={size}-",
        "bytes=",
        "bytes=a-b",
        "pages=1-2",
        "bytes=--1",
        "bytes=" + "9" * 5000 + "-",
    ):
        assert_problem(http.get(path, headers={"Range": wanted}), 416)


def test_thumbnail_and_zip(http: httpx.Client, job: dict[str, Any]) -> None:
    small = http.get(f"/jobs/{job['id']}/images/1/thumbnail")
    assert small.headers["content-type"] == "image/webp" and small.content[8:12] == b"WEBP"
    with zipfile.ZipFile(io.BytesIO(http.get(f"/jobs/{job['id']}/images.zip").content)) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [picture.data for picture in pictures(2).pictures]


def test_only_pictures_a_job_owns_are_served(http: httpx.Client, job: dict[str, Any]) -> None:
    for path in ("images/2", "images/-1", "images/99999999999999999999", "images/9/thumbnail"):
        assert_problem(http.get(f"/jobs/{job['id']}/{path}"), 404)
    assert_problem(http.get(f"/jobs/{job['id']}/images/..%2f..%2fqueue.sqlite3"), 404, 422)
    assert_problem(http.get("/jobs/nobody/images/0"), 404)
    assert_problem(http.get("/jobs/nobody/images.zip"), 404)


def test_a_signed_address_needs_no_name_and_cannot_be_changed(
    private: Served, as_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = as_user("ann")
    job = finished(ann, post(ann, body())["id"])
    image = job["result"]["images"][0]
    with httpx.Client(base_url=private.base, headers={"user": "bob"}) as bob:
        assert bob.get(image["url"]).content == png(colour="#000080")
        assert bob.get(image["thumbnail_url"]).status_code == 200
        path, _, query = image["url"].partition("?")
        assert_problem(bob.get(path), 404)
        values = dict(part.split("=") for part in query.split("&"))
        for change in (
            {"signature": "0" * 32}, {"signature": ""}, {"signature": "ü"}, {"expires": "1"}, {"expires": "²"}, {"expires": ""},
            {"expires": "9" * 5000}, {"expires": str(int(values["expires"]) + 1)}, {"expires": "-1"},
        ):  # fmt: skip
            assert_problem(bob.get(path, params={**values, **change}), 404)
        assert_problem(bob.get(f"{path}/thumbnail", params=values), 404)
        now = time.time()
        monkeypatch.setattr("queue_ext.views.time.time", lambda: now + 3 * 86400)
        assert_problem(bob.get(image["url"]), 404)


def test_uploads_are_kept_for_payloads_to_refer_to(http: httpx.Client) -> None:
    raw = http.post("/uploads", content=png(90, 90), headers={"Content-Type": "image/png"})
    form = http.post("/uploads", files={"file": ("x.png", png(90, 90), "image/png")})
    assert raw.status_code == form.status_code == 201 and raw.json() == form.json()
    assert raw.json()["id"].startswith("upload:") and (raw.json()["width"], raw.json()["mime"]) == (90, "image/png")
    request = held(task="img2img", payload={"init_images": [raw.json()["id"]]})
    assert_problem(http.post("/jobs", json=request, headers=BOB), 422)
    job = post(http, request)
    assert job["summary"]["inputs"] == 1
    shown = http.get(f"/jobs/{job['id']}/inputs/0/thumbnail")
    assert shown.headers["content-type"] == "image/webp" and shown.content[8:12] == b"WEBP"
    assert_problem(http.get(f"/jobs/{job['id']}/inputs/1/thumbnail"), 404)
    assert http.post("/jobs", json=request, headers=BOB).status_code == 201  # it is in a job that all may see


def test_what_is_no_picture_is_not_kept(http: httpx.Client, server: Served) -> None:
    media = server.app.settings.media_dir
    before = sorted(media.rglob("*"))
    for data in (b"", b"hello", png()[:40], b"PK\x03\x04" + b"\0" * 50):
        assert_problem(http.post("/uploads", content=data), 422)
    for form in ({"other": ("x.png", png())}, {"file": ("x.png", b"no")}):
        assert_problem(http.post("/uploads", files=form), 422)
    assert_problem(http.post("/uploads", data={"file": "text"}, files={"x": b""}), 422)
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(http.post("/uploads", content=b"--x\r\nbroken", headers=broken), 422)
    assert_problem(http.post("/uploads", content=b"x", headers={"Content-Type": "multipart/form-data"}), 422)
    assert sorted(media.rglob("*")) == before


# --- lanes and the rest ------------------------------------------------------------------------------------------------


def test_lanes(http: httpx.Client) -> None:
    made = http.put("/queues/slow", json={"retry_attempts": 1, "retry_delay_s": 2, "timeout_s": 60}).json()
    assert (made["name"], made["paused"], made["retry_attempts"], made["timeout_s"]) == ("slow", False, 1, 60)
    assert http.post("/queues/slow/pause").json()["paused"] is True
    job = post(http, body(queue="slow"))
    assert job["max_attempts"] == 2
    assert "slow" in [lane["name"] for lane in http.get("/queues").json()["queues"]]
    assert_problem(http.delete("/queues/slow"), 409)
    assert http.post("/queues/slow/clear").json() == {"changed": 1}
    assert http.post("/queues/slow/resume").json()["paused"] is False
    assert http.put("/queues/slow").status_code == 200
    assert http.delete("/queues/slow").status_code == 204
    for answer in (
        http.delete("/queues/slow"),
        http.post("/queues/slow/pause"),
        http.post("/queues/slow/resume"),
        http.post("/queues/slow/clear"),
    ):
        assert_problem(answer, 404)
    assert_problem(http.delete("/queues/default"), 409)
    for name in ("Slow", "a b", "ü", "x" * 33, "%00"):
        assert_problem(http.put(f"/queues/{name}"), 422, 404)
    for change in (
        {"retry_attempts": -1},
        {"timeout_s": 0},
        {"paused": None},
        {"paused": "yes"},
        {"unknown": 1},
        {"retry_delay_s": 10**400},
        [],
    ):
        assert_problem(http.put("/queues/other", json=change), 422)


def test_me_workers_stats_health_and_metrics(http: httpx.Client, job: dict[str, Any]) -> None:
    me = http.get("/me").json()
    assert (
        me["owner"] == job["owner"]
        and me["admin"] is True
        and set(me["quota"]) == {"limit", "used", "remaining", "resets_at"}
    )
    worker = http.get("/workers").json()["workers"][0]
    assert set(worker) >= {"id", "host", "pid", "queues", "heartbeat_at", "job_id"}
    stats = http.get("/stats").json()
    assert stats["counts"]["default"]["succeeded"] >= 1 and stats["per_hour"][-1]["succeeded"] >= 1
    assert set(stats["duration_s"]) == {"median", "p95"} and isinstance(stats["failures"], list)
    assert http.get("/health").json()["status"] == "ok"
    assert 'queue_jobs{queue="default",state="succeeded"}' in http.get("/metrics").text


def test_waiting_jobs_can_be_carried_elsewhere(http: httpx.Client) -> None:
    http.put("/queues/carried", json={"paused": True})
    encoded = base64.b64encode(png()).decode()
    post(
        http,
        body(
            queue="carried",
            task="img2img",
            payload={"init_images": [encoded]},
            name="one",
            priority=2,
            labels=["x"],
            timeout_s=9,
        ),
    )
    post(http, body(queue="carried", run_at="2099-01-01T00:00:00Z"))
    document = http.get("/export", params={"queue": "carried"}).json()
    assert len(document["jobs"]) == 2 and document["jobs"][0]["payload"]["init_images"] == [encoded]
    http.post("/queues/carried/clear")
    assert http.post("/import", json=document).json()["imported"] == 2
    assert http.get("/export", params={"queue": "carried"}).json() == document
    for bad in (
        {},
        [],
        {"version": 2, "jobs": []},
        {"version": 1, "jobs": {}},
        {"version": 1, "jobs": [1]},
        {"version": 1, "jobs": [held(task="__import__")]},
    ):
        assert_problem(http.post("/import", json=bad), 422)
    assert_problem(http.post("/import", content=b"[" * 100_000), 422, 400)


# --- bad input ---------------------------------------------------------------------------------------------------------

DEEP: Any = 1
for _ in range(300):
    DEEP = {"x": DEEP}

BAD_BODIES: dict[str, Any] = {
    "no object": 5,
    "null": None,
    "a list": [held()],
    "text": "hello",
    "empty": {},
    "no payload": {"task": "txt2img"},
    "an unknown field": held(colour="red"),
    "an unknown field with half a letter": {**held(), SURROGATE: 1},
    "an unknown task": held(task="txt2video"),
    "a task with half a letter": held(task=SURROGATE),
    "a task of the wrong type": held(task=5),
    "a payload that is text": held(payload="x"),
    "a payload that is null": held(payload=None),
    "a width of 0": held(payload={"width": 0}),
    "a width of 100,000": held(payload={"width": 100_000}),
    "a width that is text": held(payload={"width": "512"}),
    "a width of null": held(payload={"width": None}),
    "a huge picture": held(payload={"width": 8192, "height": 8193}),
    "no steps": held(payload={"steps": 0}),
    "too many pictures": held(payload={"n_iter": 1000, "batch_size": 1000}),
    "a prompt of 10 MB": held(payload={"prompt": "x" * 10_000_000}),
    "a prompt with NUL": held(payload={"prompt": "a\0b"}),
    "a prompt with half a letter": held(payload={"prompt": SURROGATE}),
    "a key with half a letter": held(payload={SURROGATE: 1}),
    "a huge number": held(payload={"steps": 10**400}),
    "infinity": held(payload={"cfg_scale": float("inf")}),
    "no number": held(payload={"cfg_scale": float("nan")}),
    "deep nesting": held(payload={"alwayson_scripts": {"x": DEEP}}),
    "broken base64": held(task="img2img", payload={"init_images": ["%%%"]}),
    "a zip posing as a picture": held(task="img2img", payload={"init_images": [base64.b64encode(b"\x89PNG\r\n\x1a\nPK\x03\x04").decode()]}),
    "an address as a picture": held(task="img2img", payload={"init_images": ["http://169.254.169.254/latest"]}),
    "a file as a picture": held(task="img2img", payload={"init_images": ["file:///etc/passwd"]}),
    "an upload of nobody": held(task="img2img", payload={"init_images": ["upload:" + "0" * 64]}),
    "an upload named strangely": held(task="img2img", payload={"init_images": ["upload:ü\0"]}),
    "no pictures": held(task="img2img", payload={"init_images": []}),
    "what the pipeline refuses": held(payload={"sampler_name": "unknown"}),
    "a queue in capitals": held() | {"queue": "HELD"},
    "a queue with a slash": held() | {"queue": "../x"},
    "a queue of a number": held() | {"queue": 5},
    "a priority of 5000": held(priority=5000),
    "a priority of text": held(priority="1"),
    "a priority of true": held(priority=True),
    "a huge priority": held(priority=10**400),
    "a fractional priority": held(priority=1.5),
    "a negative delay": held(delay_s=-1),
    "a huge delay": held(delay_s=10**400),
    "an endless delay": held(delay_s=float("inf")),
    "a delay that is text": held(delay_s="5"),
    "both delays": held(delay_s=5, run_at="2099-01-01T00:00:00Z"),
    "a time without offset": held(run_at="2099-01-01T00:00:00"),
    "a time that is none": held(run_at="tomorrow"),
    "a time beyond the calendar": held(run_at="9999-12-31T23:59:59-12:00"),
    "a time before the calendar": held(run_at="0001-01-01T00:00:00+12:00"),
    "a time of a number": held(run_at=5),
    "a name too long": held(name="x" * 201),
    "a name with NUL": held(name="a\0"),
    "a name with half a letter": held(name=SURROGATE),
    "a label too long": held(labels=["x" * 65]),
    "an empty label": held(labels=[""]),
    "a label with half a letter": held(labels=[SURROGATE]),
    "too many labels": held(labels=[str(number) for number in range(21)]),
    "labels that are text": held(labels="x"),
    "a timeout of 0": held(timeout_s=0),
    "a huge timeout": held(timeout_s=10**400),
    "too many attempts": held(retry={"attempts": 101}),
    "huge attempts": held(retry={"attempts": 10**400, "delay_s": 10**400}),
    "an unknown retry": held(retry={"times": 1}),
    "a retry that is text": held(retry="often"),
    "an empty key": held(idempotency_key=""),
    "a key with half a letter as well": held(idempotency_key=SURROGATE),
    "a key too long": held(idempotency_key="x" * 201),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_request_is_refused_with_its_reason_and_changes_nothing(
    http: httpx.Client, server: Served, name: str
) -> None:
    text = json.dumps(BAD_BODIES[name])
    before = fingerprint(server)
    answer = http.post("/jobs", content=text, headers={"Content-Type": "application/json"})
    told = assert_problem(answer, 422)
    assert told["errors"] and len(answer.content) < 20_000
    assert fingerprint(server) == before


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"task": "txt2img", "payload": {"seed": ' + b"9" * 5000 + b"}}",
        b'{"task": "txt2img", "payload": {"steps": 1e999}}', b"null", b'"\\ud800"', b"\0",
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch", "/jobs/actions", "/import", "/../sdapi/v1/txt2img"])
def test_what_is_no_json_is_refused_everywhere(http: httpx.Client, server: Served, path: str, data: bytes) -> None:
    before = fingerprint(server)
    url = server.url.replace("/v1", "") + "/sdapi/v1/txt2img" if "sdapi" in path else server.url + path
    assert_problem(http.post(url, content=data, headers={"Content-Type": "application/json"}), 422, 400)
    assert fingerprint(server) == before


@pytest.mark.parametrize(
    "query",
    [
        {"states": "failed"},
        {"state": "waiting"}, {"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"limit": "9" * 5000}, {"order": "random"}, {"cursor": "x"},
        {"cursor": "ü"}, {"cursor": base64.urlsafe_b64encode(b"[" * 9000).decode()}, {"q": "x" * 501}, {"bookmarked": "maybe"},
        {"cursor": base64.urlsafe_b64encode(b'["line", ["a"]]').decode(), "order": "line"},
        {"cursor": base64.urlsafe_b64encode(b'["line", "ab"]').decode(), "order": "line"},
        {"cursor": base64.urlsafe_b64encode(b'["line", ["a", "b", "c"]]').decode(), "order": "line"},
        {"cursor": base64.urlsafe_b64encode(b'["newest", 5]').decode()}, {"cursor": base64.urlsafe_b64encode(b'["newest"]').decode()},
        {"cursor": base64.urlsafe_b64encode(b"5").decode()}, {"cursor": base64.urlsafe_b64encode(b'["oldest", "x"]').decode()},
    ],
    ids=range(19),
)  # fmt: skip
def test_a_bad_question_is_refused(http: httpx.Client, query: dict[str, str]) -> None:
    assert_problem(http.get("/jobs", params=query), 422)


@pytest.mark.parametrize(
    ("path", "body", "where", "allowed"),
    [
        ("/jobs", b"[]", ["body"], "must be an object"), ("/jobs", b"5", ["body"], "must be an object"),
        ("/jobs", b"{", ["body"], "must be JSON"), ("/jobs", b"\xff", ["body"], "must be JSON"),
        ("/jobs", b"[" * 100_000, ["body"], "must be JSON"), ("/jobs", b"", ["body"], "is required"),
        ("/jobs/batch", b'{"jobs": [5]}', ["jobs", 0], "must be an object"),
        ("/jobs/batch", b'{"jobs": {}}', ["jobs"], "must be a list"),
        ("/jobs", b'{"task": "txt2img", "payload": []}', ["payload"], "must be an object"),
        ("/jobs", b'{"task": 5, "payload": {}}', ["task"], "must be text"),
        ("/jobs", b'{"task": "txt2img", "payload": {}, "labels": "x"}', ["labels"], "must be a list"),
    ],
)  # fmt: skip
def test_what_a_body_must_be_is_said_in_the_words_of_json(
    http: httpx.Client, path: str, body: bytes, where: list[Any], allowed: str
) -> None:
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert assert_problem(answer, 422)["errors"] == [{"loc": where, "msg": allowed}]


def test_an_unknown_filter_is_named_with_those_that_are_known(http: httpx.Client) -> None:
    """Else who mistypes one would be given everything, and think it filtered."""
    [fault] = assert_problem(http.get("/jobs", params={"stat": "failed", "limit": 5}), 422)["errors"]
    assert fault["loc"] == ["stat"] and "bookmarked, checkpoint, cursor, label" in fault["msg"]
    [fault] = assert_problem(http.get("/export", params={"lane": HELD}), 422)["errors"]
    assert fault == {"loc": ["lane"], "msg": "is not a known parameter; known are queue"}
    before = total(http)
    [fault] = assert_problem(http.post("/jobs", params={"dry_run": 1}, json=held()), 422)["errors"]
    assert fault == {"loc": ["dry_run"], "msg": "is not a known parameter; there are none here"}
    assert total(http) == before, "who meant to try has not done it"
    assert http.get("/health", params={"at": 5}).status_code == 200, "a monitor may add what it likes"


def total(http: httpx.Client) -> int:
    return http.get("/jobs").json()["total"]


def test_a_forgotten_header_and_a_wrong_method_are_named(http: httpx.Client) -> None:
    forgotten = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl sends with -d
    [fault] = assert_problem(http.post("/jobs", content=json.dumps(held()), headers=forgotten), 422)["errors"]
    assert fault["loc"] == ["body"] and '"Content-Type: application/json"' in fault["msg"]
    refused = http.put("/jobs", json=held())
    told = assert_problem(refused, 405)
    assert told["code"] == "method_not_allowed" and "allowed is GET, POST" in told["detail"]
    assert refused.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ({"limit": "x"}, "must be a whole number"), ({"limit": "0"}, "must be at least 1"),
        ({"limit": "999"}, "must be at most 200"), ({"bookmarked": "maybe"}, "must be true or false"),
        ({"task": "foo"}, "must be txt2img, img2img, extras or ui:<elem_id>"),
        ({"queue": "No Such"}, "must be 1 to 32 characters a-z, 0-9, _ or -"),
    ],
)  # fmt: skip
def test_what_a_parameter_must_be_is_said(http: httpx.Client, query: dict[str, str], allowed: str) -> None:
    assert assert_problem(http.get("/jobs", params=query), 422)["errors"] == [{"loc": list(query), "msg": allowed}]


@pytest.mark.parametrize(
    ("path", "body", "where", "instead"),
    [
        ("/jobs", held(prio=5), ["prio"], "; did you mean priority?"),
        ("/jobs", held(retry={"attempt": 1}), ["retry", "attempt"], "; did you mean attempts?"),
        ("/jobs", held(retry={"x": 1}), ["retry", "x"], "; known are attempts, delay_s"),
        ("/jobs/batch", {"jobs": [held(), held(lables=["a"])]}, ["jobs", 1, "lables"], "; did you mean labels?"),
        ("/jobs/actions", {"action": "move", "ids": [], "place": {"x": 1}}, ["place", "x"], "; known are to, before, after"),
        ("/jobs/actions", {"action": "cancel", "filter": {"task": "foo"}}, ["filter", "task"], None),
        ("/jobs/nobody/clone", {"queu": "x"}, ["queu"], "; did you mean queue?"),
        ("/schedules", {"name": "a", "cron": "@daily", "template": {}, "zone": "UTC"}, ["zone"], "; did you mean timezone?"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_told_what_it_could_be(
    http: httpx.Client, path: str, body: Any, where: list[Any], instead: str | None
) -> None:
    [fault] = assert_problem(http.post(path, json=body), 422)["errors"]
    assert fault["loc"] == where
    assert fault["msg"].startswith(f"is not a known field{instead}" if instead else "must be txt2img, img2img")


def test_what_is_wrong_is_named_by_the_place_where_it_stands(http: httpx.Client, server: Served) -> None:
    job_id = post(http, held())["id"]
    for method, url, body, headers, where, allowed in (
        ("POST", "/jobs/actions", {"action": "cancel", "filter": {"state": ["waiting"]}}, {}, ["filter", "state"], "must be one of"),
        ("POST", "/jobs/actions", {"action": "move", "ids": [job_id], "place": {}}, {}, ["place", "to"], "give exactly one"),
        ("POST", f"/jobs/{job_id}/move", {"to": "middle"}, {}, ["to"], "must be front or back"),
        ("PATCH", f"/jobs/{job_id}", {"payload": None}, {}, ["payload"], "must not be null"),
        ("POST", "/jobs", held(), {"Idempotency-Key": "x" * 300}, ["idempotency-key"], "must be text of at most 200 characters"),
        ("GET", "/jobs?q=" + "x" * 501, None, {}, ["q"], "must be text of at most 500 characters"),
        ("POST", server.url.replace("/v1", "/sdapi/v1/txt2img"), {"steps": 0}, {}, ["steps"], "must be an integer from 1 to 1000, not 0"),
    ):  # fmt: skip
        [fault] = assert_problem(http.request(method, url, json=body, headers=headers), 422)["errors"]
        assert fault["loc"] == where and fault["msg"].startswith(allowed), fault


def test_whoever_asks_for_what_is_not_there_is_told_where_to_read(http: httpx.Client) -> None:
    for path in ("/", "/job", "/../nothing"):
        told = assert_problem(http.get(path), 404)["detail"]
        assert "/queue-ext/docs describes what there is" in told
    assert http.get("/../docs").status_code == 200


def test_a_client_id_of_the_wrong_form_is_named_by_its_header(http: httpx.Client) -> None:
    [fault] = assert_problem(http.get("/me", headers={"X-Queue-Client": "short"}), 422)["errors"]
    assert fault["loc"] == ["x-queue-client"] and "16 to 128" in fault["msg"]


@pytest.mark.parametrize(
    "strange", ["%00", "a%00b", "%C3%BC", "%F0%9F%90%88", "%ED%A0%80", "%FF", "'%3B--", "..%2F..", "x" * 3000]
)
def test_strange_names_find_nothing(http: httpx.Client, server: Served, strange: str) -> None:
    before = fingerprint(server)
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/requeue"), ("POST", "/clone"), ("POST", "/skip"), ("GET", "/images/0"),
        ("GET", "/images/0/thumbnail"), ("GET", "/images.zip"),
    ):  # fmt: skip
        assert_problem(
            http.request(method, f"{server.url}/jobs/{strange}{path}", json={} if method == "PATCH" else None), 404, 405
        )
    assert_problem(http.post(f"{server.url}/jobs/{strange}/move", json={"to": "front"}), 404)
    assert_problem(http.delete(f"{server.url}/queues/{strange}"), 404)
    for name in ("queue", "label", "q", "owner", "task", "schedule_id", "cursor"):
        assert http.get(f"{server.url}/jobs?{name}={strange}").status_code in (200, 422)
    assert fingerprint(server) == before


def test_bad_changes_moves_and_actions_are_refused(http: httpx.Client, server: Served) -> None:
    job_id = post(http)["id"]
    before = fingerprint(server)
    for change in (
        {"priority": 5000},
        {"queue": None},
        {"bookmarked": None},
        {"priority": None},
        {"unknown": 1},
        {"task": "img2img"},
        {"payload": {"width": 1}},
        {"run_at": "x"},
        {"name": "x" * 300},
        [],
    ):
        assert_problem(http.patch(f"/jobs/{job_id}", json=change), 422)
    for place in ({}, {"to": "middle"}, {"to": "front", "after": "x"}, {"before": 5}, {"to": None}, [], {"x": 1}):
        assert_problem(http.post(f"/jobs/{job_id}/move", json=place), 422)
    for place in ({"before": "nobody"}, {"after": "\0"}, {"after": "ü"}):
        assert_problem(http.post(f"/jobs/{job_id}/move", json=place), 404)
    for action in (
        {},
        {"action": "cancel"},
        {"action": "explode", "ids": []},
        {"action": "cancel", "ids": [], "filter": {}},
        {"action": "cancel", "ids": [5]},
        {"action": "cancel", "ids": "all"},
        {"action": "cancel", "ids": ["x"] * 10_001},
        {"action": "cancel", "filter": {"state": ["x"]}},
        {"action": "cancel", "filter": {"owner": "x"}},
        {"action": "prioritise", "ids": [job_id]},
        {"action": "prioritise", "ids": [job_id], "priority": 5000},
        {"action": "label", "ids": [job_id]},
        {"action": "label", "ids": [job_id], "labels": [""]},
        {"action": "label", "ids": [job_id], "labels": [str(number) for number in range(21)]},
        {"action": "move", "ids": [job_id]},
        {"action": "move", "ids": [job_id], "place": {}},
    ):
        assert_problem(http.post("/jobs/actions", json=action), 422)
    assert http.post("/jobs/actions", json={"action": "cancel", "ids": ["\0", "ü", "x" * 999]}).json() == {"changed": 0}
    assert fingerprint(server) == before


def test_who_cancels_what_is_theirs_is_called_its_owner_though_an_admin(http: httpx.Client, server: Served) -> None:
    own = http.post("/jobs", json=held()).json()["id"]
    other = http.post("/jobs", json=held(), headers={"X-Queue-Client": "somebody-else-0001"}).json()["id"]
    reasons = {}
    for ids in ([own], [other]):
        assert http.post("/jobs/actions", json={"action": "cancel", "ids": ids}).json() == {"changed": 1}
        reasons[ids[0]] = http.get(f"/jobs/{ids[0]}").json()["reason"]
    assert reasons == {own: "cancelled by its owner", other: "cancelled by an admin"}


def test_a_thousand_and_one_jobs_are_too_many_and_a_thousand_are_not(http: httpx.Client, server: Served) -> None:
    before = fingerprint(server)
    assert_problem(http.post("/jobs/batch", json={"jobs": [held()] * 1001}), 422)
    assert_problem(http.post("/jobs/batch", json={"jobs": []}), 422)
    assert fingerprint(server) == before
    answer = http.post("/jobs/batch", json={"jobs": [held(labels=["thousand"])] * 1000})
    assert answer.status_code == 201 and len(answer.json()["jobs"]) == 1000
    assert http.post("/jobs/actions", json={"action": "cancel", "filter": {"label": "thousand"}}).json() == {
        "changed": 1000
    }


def test_a_body_above_the_limit_is_refused_announced_or_not(http: httpx.Client, server: Served) -> None:
    before = fingerprint(server)
    large = b" " * 13_000_000
    for content in (large, iter([large[:1_000_000]] * 13)):
        try:
            answer = http.post("/jobs", content=content, headers={"Content-Type": "application/json"})
        except httpx.TransportError:  # the server has answered and closed before it was sent whole
            continue
        assert_problem(answer, 413)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST /queue-ext/v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in raw.recv(4000)
    assert fingerprint(server) == before
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["jobs", "uploads", "import"])
def test_a_client_that_vanishes_while_it_sends_changes_nothing(
    http: httpx.Client, server: Served, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = fingerprint(server)
    for head in (b"Content-Length: 5000", b"Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(
                b"POST /queue-ext/v1/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n"
                % (path.encode(), head)
            )
            raw.sendall(b'5\r\n{"tas' if b"chunked" in head else b'{"task": "txt2img"')
            time.sleep(0.05)
    assert http.get("/health").status_code == 200
    assert fingerprint(server) == before and "defect" not in caplog.text and "Traceback" not in caplog.text


def test_garbage_instead_of_http_disturbs_nobody(http: httpx.Client, server: Served) -> None:
    for garbage in (
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /queue-ext/v1/jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(garbage)
    assert http.get("/health").status_code == 200


def test_unknown_routes_and_methods_are_problems_too(http: httpx.Client, server: Served) -> None:
    assert_problem(http.get("/nothing"), 404)
    assert_problem(http.put("/jobs"), 405)
    assert_problem(http.get(f"{server.base}/queue-ext/nothing"), 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Queue-Client": "short"},
        {"X-Queue-Client": "x" * 129},
        {"X-Queue-Client": "with space in it yes"},
        {"Cookie": f"{COOKIE}=short"},
    ],
)
def test_a_client_id_of_the_wrong_form_is_refused(server: Served, headers: dict[str, str]) -> None:
    assert_problem(httpx.get(f"{server.url}/me", headers=headers), 422)


# --- who is who --------------------------------------------------------------------------------------------------------


def test_a_browser_without_a_name_gets_one_and_keeps_it(server: Served) -> None:
    with httpx.Client(base_url=server.url) as browser:
        first = browser.get("/me")
        assert (
            first.json()["owner"] == "anonymous"
            and "HttpOnly" in first.headers["set-cookie"]
            and "samesite=lax" in first.headers["set-cookie"].lower()
        )
        second, third = browser.get("/me"), browser.get("/me")
        assert second.json()["owner"] == third.json()["owner"] != "anonymous" and "set-cookie" not in second.headers


def test_the_secret_is_in_no_answer(http: httpx.Client, server: Served) -> None:
    job = post(http)
    answers = [
        http.get(path).text
        for path in ("/me", "/jobs", f"/jobs/{job['id']}", "/export", "/workers", "/stats", "/queues", "/metrics")
    ]
    answers.append(http.get("/jobs/nobody").text)
    assert all(ANN["X-Queue-Client"] not in text for text in answers)
    with server.app.db.read() as conn:
        assert not [
            row for row in conn.exec_driver_sql("SELECT * FROM queue_job") if ANN["X-Queue-Client"] in repr(row)
        ]


def test_others_jobs_do_not_exist_where_that_is_private(private: Served, as_user: Any) -> None:
    ann, bob, root = as_user("ann"), as_user("bob"), as_user("root")
    job = post(ann, held(name="secret", labels=["secret"], payload={"prompt": "secret"}))
    path = f"/jobs/{job['id']}"
    before = fingerprint(private)
    for method, more in (
        ("GET", ""), ("DELETE", ""), ("POST", "/requeue"), ("POST", "/clone"), ("POST", "/skip"), ("GET", "/images/0"), ("GET", "/images.zip"),  # noqa: E501
    ):  # fmt: skip
        assert_problem(bob.request(method, path + more), 404)
    assert_problem(bob.patch(path, json={"name": "mine"}), 404)
    assert_problem(bob.post(f"{path}/move", json={"to": "front"}), 404)
    assert bob.post("/jobs/actions", json={"action": "cancel", "ids": [job["id"]]}).json() == {"changed": 0}
    assert bob.post("/jobs/actions", json={"action": "cancel", "filter": {}}).json() == {"changed": 0}
    assert bob.get("/jobs").json() == {"jobs": [], "next_cursor": None, "total": 0}
    assert bob.get("/jobs", params={"owner": "ann"}).json()["jobs"] == [] and bob.get("/export").json()["jobs"] == []
    assert fingerprint(private) == before
    assert root.get(path).json()["name"] == "secret" and root.get("/jobs").json()["total"] >= 1
    assert ann.get(path).json()["mine"] is True and root.get(path).json()["mine"] is False


def test_the_line_shows_others_as_places_and_tells_nothing_of_them(private: Served, as_user: Any) -> None:
    ann, bob = as_user("ann"), as_user("bob")
    job = post(ann, held(name="hidden treasure", labels=["gold"], payload={"prompt": "hidden treasure"}))
    own = post(bob, held())
    text = bob.get("/jobs", params={"order": "line", "limit": 200}).text
    assert "treasure" not in text and job["id"] not in text and own["id"] in text
    places = [each["position"] for each in json.loads(text)["jobs"] if each["queue"] == HELD]
    assert places == sorted(places)
    for query in ({"q": "treasure"}, {"label": "gold"}, {"owner": "ann"}, {"bookmarked": "false", "q": "hidden"}):
        found = bob.get("/jobs", params={"order": "line", **query}).json()
        assert found["jobs"] == [] and found["total"] == 0, query


def test_what_is_the_admins_is_refused_to_others(private: Served, as_user: Any) -> None:
    bob, root = as_user("bob"), as_user("root")
    job = post(bob, held())
    before = fingerprint(private)
    for answer in (
        bob.put("/queues/new"), bob.delete("/queues/held"), bob.post("/queues/held/pause"), bob.post("/queues/held/resume"),
        bob.post("/queues/held/clear"), bob.post(f"/jobs/{job['id']}/move", json={"to": "front"}),
    ):  # fmt: skip
        assert_problem(answer, 403)
    assert fingerprint(private) == before
    assert bob.get("/me").json()["admin"] is False and root.get("/me").json()["admin"] is True
    assert root.post(f"/jobs/{job['id']}/move", json={"to": "front"}).status_code == 200


def test_owners_have_names_of_any_script(tmp_path: Any) -> None:
    name = "Zoë 猫 %00 ' \" <b>"

    def login(visitor: Visitor) -> str:
        return base64.b64decode(visitor.headers["user"]).decode()

    with served(tmp_path, login=(login, lambda: True)) as found:  # noqa: SIM117
        with httpx.Client(base_url=found.url, headers={"user": base64.b64encode(name.encode()).decode()}) as http:
            job = finished(http, post(http, body())["id"])
            assert job["owner"] == http.get("/me").json()["owner"] == name
            assert http.get("/jobs", params={"owner": name}).json()["total"] == 1
            assert http.get(f"{found.base}{job['result']['images'][0]['url']}").status_code == 200


# --- limits ------------------------------------------------------------------------------------------------------------


def test_limits_are_named_and_say_when_to_come_back(tmp_path: Any) -> None:
    with (
        served(tmp_path, max_waiting=4, max_waiting_per_owner=3, worker=False) as found,
        httpx.Client(base_url=found.url, headers=ANN) as http,
    ):
        for _ in range(3):
            post(http, body())
        before = fingerprint(found)
        told = http.post("/jobs", json=body())
        assert (
            assert_problem(told, 429)["code"] == "limit_reached"
            and "max_waiting_per_owner" in told.text
            and int(told.headers["retry-after"]) > 0
        )
        told = http.post("/jobs/batch", json={"jobs": [body(), body()]}, headers=BOB)
        assert assert_problem(told, 429) and "max_waiting" in told.text
        assert fingerprint(found) == before
        assert http.post("/jobs", json=body(), headers=BOB).status_code == 201


def test_a_full_disk_or_a_lost_database_is_a_reason_and_no_crash(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_ext.errors import StorageUnavailable

    def refuse(*_args: Any) -> Any:
        raise StorageUnavailable(reason="the disk is full")

    with served(tmp_path) as found, httpx.Client(base_url=found.url, headers=ANN) as http:
        job = finished(http, post(http, body())["id"])
        with monkeypatch.context() as patched:
            patched.setattr(found.app.queue.media, "_write", refuse)
            told = http.post("/uploads", content=png(99, 99))
            assert "the disk is full" in assert_problem(told, 503)["detail"] and int(told.headers["retry-after"]) > 0
            assert_problem(http.get(f"/jobs/{job['id']}/images/0/thumbnail"), 503)
            assert http.get(f"/jobs/{job['id']}/images/0").status_code == 200
            patched.setattr(found.app.store, "add_jobs", refuse)
            assert_problem(http.post("/jobs", json=body()), 503)
            patched.setattr(found.app.store, "ping", refuse)
            assert_problem(http.get("/health"), 503)
        assert finished(http, post(http, body())["id"])["state"] == "succeeded"


# --- languages, origins, places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "chinese"),
    [
        ("zh", True), ("zh-CN,zh;q=0.9,en;q=0.8", True), ("en-US,en;q=0.9,zh;q=0.8", False), ("fr, zh;q=0.5", True), ("fr", False), ("", False),  # noqa: E501
        ("zh;q=0", False), ("zh;q=1.2.3", False), ("zh;q=x, en", False), (";;;,,,q=", False), ("*", False), ("x" * 5000, False), ("zh;q=.", False),  # noqa: E501
    ],
)  # fmt: skip
def test_sentences_come_in_english_or_chinese(http: httpx.Client, accept: str, chinese: bool) -> None:
    job = http.post("/jobs", json=held(), headers={"Accept-Language": accept})
    assert job.status_code == 201 and (("暂停" in job.json()["message"]) is chinese or ".2" in accept)


def test_what_is_wrong_and_why_a_job_ended_is_told_in_the_language_of_the_reader(http: httpx.Client) -> None:
    chinese = {"Accept-Language": "zh-CN,zh;q=0.9"}
    told = assert_problem(http.post("/jobs", json=held(payload={"width": 0}), headers=chinese), 422)
    assert told["errors"] == [{"loc": ["payload", "width"], "msg": "必须是 16 到 8192 的整数，而不是 0"}]
    assert told["detail"] == "payload.width: 必须是 16 到 8192 的整数，而不是 0"
    assert assert_problem(http.get("/jobs/nobody", headers=chinese), 404)["detail"] == "任务 nobody 不存在。"
    job_id = post(http, held())["id"]
    gone = http.delete(f"/jobs/{job_id}", headers=chinese).json()
    assert (gone["reason"], gone["message"]) == ("由其所有者取消", "您的任务已结束：由其所有者取消")
    details = http.get(f"/jobs/{job_id}", headers=chinese).json()
    assert details["history"][-1]["reason"] == "由其所有者取消"
    assert http.get(f"/jobs/{job_id}").json()["history"][-1]["reason"] == "cancelled by its owner"


def test_named_origins_may_use_the_queue_and_others_not(tmp_path: Any) -> None:
    with served(tmp_path, cors_allowed_origins=("https://shop.example",)) as found:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-queue-client"}
        fine = httpx.options(f"{found.url}/jobs", headers={"Origin": "https://shop.example", **preflight})
        assert fine.status_code == 200 and fine.headers["access-control-allow-origin"] == "https://shop.example"
        other = httpx.options(f"{found.url}/jobs", headers={"Origin": "https://evil.example", **preflight})
        assert "access-control-allow-origin" not in other.headers
        assert other.status_code == 403 and "cors_allowed_origins" in other.json()["detail"]
        assert (
            "access-control-allow-origin"
            not in httpx.get(f"{found.url}/me", headers={"Origin": "https://evil.example"}).headers
        )


def test_without_the_setting_no_origin_is_named(server: Served) -> None:
    assert (
        "access-control-allow-origin"
        not in httpx.get(f"{server.url}/me", headers={"Origin": "https://shop.example"}).headers
    )


def test_addresses_are_right_below_a_proxys_prefix(tmp_path: Any) -> None:
    with served(tmp_path, root_path="/sdui") as found, httpx.Client(base_url=found.url, headers=ANN) as http:
        job = finished(http, post(http, body())["id"])
        url = job["result"]["images"][0]["url"]
        assert url.startswith("/sdui/queue-ext/v1/jobs/")
        assert http.get(found.base + url.removeprefix("/sdui")).status_code == 200
        assert http.post("/jobs", json=body()).headers["location"].startswith("/sdui/queue-ext/v1/jobs/")


def test_every_route_is_described_with_an_example(server: Served) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    text = json.dumps(document)
    assert "/v1/jobs/{job_id}/move" in text
    lacking = []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            if not route.get("summary") or '"example' not in json.dumps(route):
                lacking.append(f"{method} {path}")
    assert not lacking
    assert httpx.get(f"{server.url}/docs").status_code == 200


# --- the drop-in -------------------------------------------------------------------------------------------------------


def test_the_drop_in_answers_as_the_webui_does(server: Served) -> None:
    base = server.url.replace("/v1", "/sdapi/v1")
    answer = httpx.post(f"{base}/txt2img", json={"prompt": "x", "n_iter": 2}, timeout=30).json()
    assert [base64.b64decode(image) for image in answer["images"]] == [picture.data for picture in pictures(2).pictures]
    assert json.loads(answer["info"]) == {"seed": 7} and answer["parameters"] == {"steps": 1}
    assert httpx.post(f"{base}/txt2img", json={"prompt": "x", "send_images": False}, timeout=30).json()["images"] == []
    encoded = base64.b64encode(png()).decode()
    assert len(httpx.post(f"{base}/img2img", json={"init_images": [encoded]}, timeout=30).json()["images"]) == 1
    assert (
        base64.b64decode(httpx.post(f"{base}/extra-single-image", json={"image": encoded}, timeout=30).json()["image"])
        == pictures().pictures[0].data
    )


def test_the_drop_in_refuses_as_the_queue_does(server: Served) -> None:
    base = server.url.replace("/v1", "/sdapi/v1")
    before = fingerprint(server)
    for bad in ({"width": 0}, {"prompt": "x" * 100_001}, []):
        assert httpx.post(f"{base}/txt2img", json=bad, timeout=30).status_code == 422
    assert httpx.post(f"{base}/img2img", json={"init_images": ["%%%"]}).status_code == 422
    assert fingerprint(server) == before


def test_closing_the_connection_cancels_a_drop_in_job_unless_it_is_detached(tmp_path: Any) -> None:
    gate = Gate()
    with served(tmp_path, FakePipeline(gate)) as found:
        base = found.url.replace("/v1", "/sdapi/v1")
        for query in ("", "?detach=true"):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{base}/txt2img{query}", json={"prompt": "x"}, timeout=0.5)
        store = found.app.store
        until(lambda: store.counts().get(("default", "deleted")) == 1)
        gate.open.set()
        until(lambda: store.counts().get(("default", "succeeded")) == 1)
