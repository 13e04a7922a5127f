"""Socket.IO with real clients on a real server: what is asked is answered, what happens is pushed, to whom it concerns."""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
import socketio

from queue_ext.events import JobChanged, from_row
from queue_ext.identity import Owner, owner_of
from queue_ext.models import UNFINISHED, State
from queue_ext.namespace import POSITIONS_INTERVAL, _filled, outward
from queue_ext.pipelines import Progress

from .support import DEADLINE, FakePipeline, Gate, Served, pictures, served, until

ANN, BOB, CAROL = "ann-is-my-secret-name", "bob-has-another-secret", "carol-is-a-third-secret"
NEWS = ("job", "result", "failed")
QUIET = 0.6  # seconds without a push after which none is expected
REQUEST = {"task": "txt2img", "payload": {"prompt": "x"}}


class Browser:
    """One connection that remembers all it hears."""

    def __init__(self, found: Served, client_id: str = ANN, since: int | None = None, **headers: str) -> None:
        self.found = found
        self.auth = {"client_id": client_id, **({} if since is None else {"since": since})}
        self.headers = headers
        self.heard: list[tuple[float, str, Any]] = []
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._hear, namespace="/queue")

    async def _hear(self, event: str, data: Any = None) -> None:
        self.heard.append((time.monotonic(), event, data))

    async def __aenter__(self) -> "Browser":
        await self.connect()
        return self

    async def connect(self, transports: list[str] | None = None, auth: Any = None) -> None:
        await self.sio.connect(
            self.found.base, namespaces=["/queue"], socketio_path="/queue-ext/socket.io", auth=self.auth if auth is None else auth,
            transports=transports or ["websocket"], headers=self.headers, wait_timeout=10,
        )  # fmt: skip

    async def __aexit__(self, *_exc: object) -> None:
        await self.sio.disconnect()

    async def call(self, event: str, data: Any = None) -> Any:
        return await self.sio.call(event, data, namespace="/queue", timeout=10)

    async def asked(self, event: str, data: Any = None) -> Any:
        answer = await self.call(event, data)
        assert answer["ok"] is True, answer
        return answer

    async def refused(self, event: str, data: Any = None) -> str:
        answer = await self.call(event, data)
        assert (
            answer["ok"] is False and set(answer["error"]) == {"code", "detail", "errors"} and answer["error"]["detail"]
        )
        return answer["error"]["code"]

    def of(self, *events: str) -> list[Any]:
        return [data for _, event, data in self.heard if event in events]

    async def until(self, condition: Callable[["Browser"], Any]) -> Any:
        end = time.monotonic() + DEADLINE
        while not (found := condition(self)):
            assert time.monotonic() < end, f"heard in vain {[(event, data) for _, event, data in self.heard][-5:]}"
            await asyncio.sleep(0.005)
        return found

    async def quiet(self) -> None:
        """Wait until nothing has been heard for a while."""
        start = time.monotonic()
        while time.monotonic() - max([start, *(at for at, _, _ in self.heard[-1:])]) < QUIET:
            await asyncio.sleep(0.02)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 90))


async def off_loop(action: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, action, *args)


def enqueue(found: Served, client_id: str = ANN, count: int = 1, **values: Any) -> list[str]:
    return found.app.queue.enqueue(
        Owner(owner_of(client_id)), [{**REQUEST, **values} for _ in range(count)], batch=True
    )


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def shared(tmp_path: Any) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def gated(tmp_path: Any, gate: Gate) -> Iterator[Served]:
    with served(tmp_path, FakePipeline(gate), ping_interval_s=2) as found:
        yield found


@pytest.fixture
def private(tmp_path: Any, gate: Gate) -> Iterator[Served]:
    """Everyone sees their own; a proxy stands before, so that nobody is an admin."""
    with served(tmp_path, FakePipeline(gate), visibility="private") as found:
        yield found


PROXIED = {"X-Forwarded-For": "10.0.0.9"}


# --- asking ------------------------------------------------------------------------------------------------------------


def test_hello_tells_who_one_is_and_how_things_stand(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        running, waiting = await off_loop(enqueue, gated, ANN, 2)
        await off_loop(gate.started.wait, 10)
        await off_loop(enqueue, gated, BOB)
        async with Browser(gated) as ann:
            said = await ann.asked("hello")
            assert set(said) >= {"owner", "admin", "cursor", "waiting_count", "jobs", "queues", "snapshot"}
            assert said["owner"] == owner_of(ANN) and ANN not in json.dumps(said)
            assert said["waiting_count"] == 2 and said["queues"][0]["name"] == "default"
            assert [(job["id"], job["position"]) for job in said["jobs"]] == [(running, 0), (waiting, 2)]

    run(scenario())


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_job_can_be_queued_moved_cancelled_and_requeued(gated: Served, gate: Gate, transport: str) -> None:
    async def scenario() -> None:
        ann = Browser(gated)
        await ann.connect([transport])
        first = (await ann.asked("enqueue", REQUEST))["job"]
        second = (await ann.asked("enqueue", {**REQUEST, "name": "second"}))["job"]
        third = (await ann.asked("enqueue", REQUEST))["job"]
        assert second["name"] == "second" and third["mine"] is True
        await off_loop(gate.started.wait, 10)
        assert (await ann.asked("move", {"job_id": third["id"], "to": "front"}))["job"]["position"] == 1
        assert (await ann.asked("cancel", {"job_id": second["id"]}))["job"]["state"] == "deleted"
        assert (await ann.asked("requeue", {"job_id": second["id"]}))["job"]["state"] == "enqueued"
        assert (await ann.asked("skip", {"job_id": first["id"]}))["job"]["state"] == "processing"
        assert await ann.refused("requeue", {"job_id": second["id"]}) == "unexpected_state"
        assert (
            (await ann.asked("waiting_count"))["count"]
            == (await ann.asked("waiting_count", {"queue": "default"}))["count"]
            == 2
        )
        assert (await ann.asked("waiting_count", {"queue": "nowhere"}))["count"] == 0
        with contextlib.suppress(asyncio.TimeoutError):  # a client that polls waits for its last answer
            await asyncio.wait_for(ann.sio.disconnect(), 0.5)

    run(scenario())


WRONG: list[tuple[str, Any]] = [
    ("explode", None), ("", None), ("x" * 5000, None), ("trigger_event", None), ("on_hello", None),
    ("_hello", None), ("hello", 5), ("hello", [1]), ("hello", "x"), ("hello", {"since": "x"}), ("hello", {"since": 1.5}),
    ("hello", {"since": True}), ("enqueue", None), ("enqueue", []), ("enqueue", {"task": 5}), ("enqueue", {**REQUEST, "payload": {"width": 0}}),  # noqa: E501
    ("enqueue", {**REQUEST, "delay_s": 10**90}), ("enqueue", {**REQUEST, "name": "\ud800"}), ("enqueue", {**REQUEST, "colour": 1}),
    ("cancel", None), ("cancel", {}), ("cancel", {"job_id": 5}), ("cancel", {"job_id": ""}), ("cancel", {"job_id": "nobody"}),
    ("cancel", {"job_id": "\0"}), ("cancel", {"job_id": "ü"}), ("requeue", {"job_id": ["x"]}), ("skip", {"job_id": {}}),
    ("move", {"job_id": "x"}), ("move", {"job_id": "x", "to": "middle"}), ("move", {"to": "front"}), ("waiting_count", {"queue": 5}),
    ("waiting_count", 7), ("watch", None), ("watch", {}), ("watch", {"queue": 5}), ("watch", {"queue": "nowhere"}),
    ("watch", {"queue": "\0"}), ("watch", {"job_id": "nobody"}), ("watch", {"room": "owner:x"}), ("unwatch", {"job_id": 5}),
    ("preview", None), ("preview", {"enabled": "yes"}), ("preview", {"enabled": 1}),
]  # fmt: skip


def test_whatever_is_wrong_is_answered_and_ends_no_connection(shared: Served, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Browser(shared) as ann:
            before = shared.app.store.last_seq()
            for event, data in WRONG:
                code = await ann.refused(event, data)
                assert code != "defect", (event, data)
            answer = await ann.sio.call("hello", ("two", "things"), namespace="/queue", timeout=10)
            assert answer["ok"] is False
            async with Browser(shared, **{"Accept-Language": "zh"}) as chinese:
                said = (await chinese.call("cancel", {"job_id": "nobody"}))["error"]
                assert said["detail"] == "任务 nobody 不存在。"
            assert shared.app.store.last_seq() == before and ann.sio.connected
            await ann.asked("hello")

    run(scenario())
    assert "Traceback" not in caplog.text


# --- pushes ------------------------------------------------------------------------------------------------------------


def test_the_way_of_a_job_is_pushed_in_order_to_its_owner(shared: Served) -> None:
    async def scenario() -> None:
        async with Browser(shared) as ann, Browser(shared, BOB) as bob:
            job = (await ann.asked("enqueue", REQUEST))["job"]
            await ann.until(lambda ann: ann.of("result"))
            await bob.until(lambda bob: len(bob.of("job")) == 3)
            await bob.quiet()
            states = [data["state"] for data in ann.of("job")]
            assert states == ["enqueued", "processing", "succeeded"]
            assert all(data["id"] == job["id"] and data["mine"] is True for data in ann.of("job"))
            result = ann.of("result")[0]
            assert result["job_id"] == job["id"] and len(result["images"]) == 1
            assert httpx.get(shared.base + result["images"][0]["url"]).status_code == 200
            seqs = [data["seq"] for data in ann.of(*NEWS)]
            assert seqs == sorted(set(seqs))
            assert [data["mine"] for data in bob.of("job")] == [False] * 3 and bob.of("job")[-1]["result"] is None
            assert bob.of("result", "progress", "failed") == [] and bob.of("positions") in ([], [{}])
            assert "signature" not in json.dumps(bob.of("job"))

    run(scenario())


def test_a_result_is_pushed_once_however_often_the_job_is_edited_later(shared: Served) -> None:
    async def scenario() -> None:
        async with Browser(shared) as ann:
            job = (await ann.asked("enqueue", REQUEST))["job"]
            await ann.until(lambda ann: ann.of("result"))
            await off_loop(shared.app.store.bookmark, [job["id"]])
            await ann.until(lambda ann: any(data["bookmarked"] for data in ann.of("job")))
            await ann.quiet()
            assert len(ann.of("result")) == 1

    run(scenario())


def test_a_failure_says_whether_it_is_tried_again(tmp_path: Any) -> None:
    def script(*_args: Any) -> Any:
        raise RuntimeError("it broke")

    async def scenario(found: Served) -> None:
        async with Browser(found) as ann, Browser(found, BOB) as bob:
            await ann.asked("enqueue", {**REQUEST, "retry": {"attempts": 1, "delay_s": 0.1}})
            await ann.until(lambda ann: len(ann.of("failed")) == 2)
            first, last = ann.of("failed")
            assert (first["will_retry"], last["will_retry"], last["run_at"]) == (True, False, None)
            assert first["run_at"].endswith("Z") and first["error"] == {
                "type": "RuntimeError",
                "message": "it broke",
                "attempt": 1,
            }
            await bob.quiet()
            assert bob.of("failed") == []

    with served(tmp_path, FakePipeline(script)) as found:
        run(scenario(found))


def test_progress_goes_to_owner_and_watchers_and_previews_where_asked(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        async with (
            Browser(gated) as ann,
            Browser(gated) as second_tab,
            Browser(gated, BOB) as bob,
            Browser(gated, "somebody-else-entirely") as cyd,
        ):
            await ann.asked("preview", {"enabled": True})
            job = (await ann.asked("enqueue", REQUEST))["job"]
            await bob.asked("watch", {"job_id": job["id"]})
            await off_loop(gate.started.wait, 10)
            assert gate.report is not None
            gate.report(Progress(0.5, 5, 10, 1, 1, lambda: b"\xff\xd8 a small picture"))
            said = (await ann.until(lambda ann: ann.of("progress")))[0]
            assert (said["job_id"], said["fraction"], said["step"], said["steps"]) == (job["id"], 0.5, 5, 10)
            assert said["preview"] == b"\xff\xd8 a small picture"
            for other in (second_tab, bob):
                assert "preview" not in (await other.until(lambda other: other.of("progress")))[0]
            await ann.asked("preview", {"enabled": False})
            await bob.asked("unwatch", {"job_id": job["id"]})
            await asyncio.sleep(0.3)
            gate.report(Progress(0.9, 9, 10, 1, 1, lambda: b"\xff\xd8 another"))
            await ann.until(lambda ann: len(ann.of("progress")) == 2)
            await ann.quiet()
            assert "preview" not in ann.of("progress")[1]
            assert len(bob.of("progress")) == 1 and cyd.of("progress") == []
            gate.open.set()

    run(scenario())


def test_positions_are_gathered_into_one_message(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        await off_loop(enqueue, gated, BOB)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            ids = await off_loop(enqueue, gated, ANN, 50)
            await ann.quiet()
            ann.heard.clear()
            await off_loop(lambda: gated.app.store.move(ids[-1], to="front"))
            await ann.until(lambda ann: ann.of("positions"))
            await ann.quiet()
            assert len(ann.of("positions")) == 1
            told = ann.of("positions")[0]
            assert (
                sorted(told) == sorted(ids)
                and told[ids[-1]]["position"] == 1
                and told[ids[0]] == {**told[ids[0]], "position": 2, "ahead": 2}
            )

    run(scenario())


def test_positions_come_at_most_four_times_a_second_and_still_come_while_much_happens(
    gated: Served, gate: Gate
) -> None:
    async def scenario() -> None:
        await off_loop(enqueue, gated, BOB)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            ids = await off_loop(enqueue, gated, ANN, 5)
            ann.heard.clear()
            began = time.monotonic()

            def shuffle() -> None:
                while time.monotonic() - began < 1.5:
                    gated.app.store.move(random.choice(ids[1:]), to=random.choice(["front", "back"]))

            await off_loop(shuffle)
            await ann.quiet()
            # How many in all: on a busy machine two may arrive close together although they left apart.
            assert 2 <= len(ann.of("positions")) <= (time.monotonic() - began) / POSITIONS_INTERVAL + 2
            line = [row.id for row in gated.app.store.line("default")]
            last = ann.of("positions")[-1]
            assert sorted(last, key=lambda job_id: last[job_id]["position"]) == line

    run(scenario())


def test_the_count_of_waiting_jobs_is_pushed_to_all_as_it_is_asked(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        async with Browser(gated) as ann, Browser(gated, BOB) as bob:
            await off_loop(enqueue, gated, ANN, 4)
            await off_loop(gate.started.wait, 10)
            await bob.until(lambda bob: {"queue": "default", "count": 3} in bob.of("waiting_count")[-1:])
            assert (await bob.asked("waiting_count"))["count"] == 3
            await ann.quiet()
            assert ann.of("waiting_count")[-1] == {"queue": "default", "count": 3}
            counts = [data["count"] for data in bob.of("waiting_count")]
            assert all(before != after for before, after in pairwise(counts))

    run(scenario())


def test_who_comes_when_nobody_was_there_is_told_every_change_from_then_on(gated: Served, gate: Gate) -> None:
    """What happened meanwhile is not kept for anybody, nor is a count left out since somebody heard the same before."""
    namespace, store = gated.app.namespace, gated.app.store

    async def scenario() -> None:
        async with Browser(gated) as ann:
            await off_loop(enqueue, gated, ANN, 4)
            await off_loop(gate.started.wait, 10)
            await ann.until(lambda ann: {"queue": "default", "count": 3} in ann.of("waiting_count")[-1:])
        await off_loop(until, lambda: not namespace._clients)
        late = await off_loop(enqueue, gated, ANN, 2)
        await off_loop(until, lambda: namespace.mailbox.seq == store.last_seq())
        assert namespace.mailbox.take() == ([], [])
        async with Browser(gated) as ann:
            said = await ann.asked("hello")
            assert said["waiting_count"] == 5 and said["cursor"] == outward(store.last_seq(), True)
            for job_id in late:
                await ann.asked("cancel", {"job_id": job_id})
            await ann.until(lambda ann: {"queue": "default", "count": 3} in ann.of("waiting_count")[-1:])
            assert {data["id"] for data in ann.of("job")} == set(late)

    run(scenario())


def test_a_paused_lane_is_told_to_all(shared: Served) -> None:
    async def scenario() -> None:
        async with Browser(shared, BOB) as bob:
            await off_loop(lambda: shared.app.store.set_paused("default", True, "by hand"))
            assert (await bob.until(lambda bob: bob.of("queue")))[-1]["paused"] is True

    run(scenario())


# --- who hears what ----------------------------------------------------------------------------------------------------


def test_in_private_nobody_hears_of_others(private: Served, gate: Gate) -> None:
    async def scenario() -> None:
        async with Browser(private, **PROXIED) as ann, Browser(private, BOB, **PROXIED) as bob:
            job = (await ann.asked("enqueue", {**REQUEST, "name": "secret"}))["job"]
            await off_loop(gate.started.wait, 10)
            for event in ("cancel", "requeue", "skip", "watch", "unwatch"):
                assert await bob.refused(event, {"job_id": job["id"]}) == "job_not_found"
            assert await bob.refused("move", {"job_id": job["id"], "to": "front"}) == "job_not_found"
            assert await bob.refused("watch", {"queue": "default"}) == "not_allowed"
            assert gate.report is not None
            gate.report(Progress(0.5))
            gate.open.set()
            await ann.until(lambda ann: ann.of("result"))
            said = await bob.asked("hello", {"since": 0})
            await bob.quiet()
            assert said["jobs"] == [] and said["admin"] is False and said.get("replay", []) == []
            assert bob.of("job", "result", "failed", "progress") == []
            assert "secret" not in json.dumps([data for _, _, data in bob.heard], default=str)

    run(scenario())


def test_an_admin_hears_of_all_and_may_watch_a_lane(private: Served) -> None:
    async def scenario() -> None:
        async with Browser(private, "the-admin-of-this-place") as admin:
            await admin.asked("watch", {"queue": "default"})
            job_id = (await off_loop(enqueue, private, BOB))[0]
            await admin.until(
                lambda admin: (
                    [data["state"] for data in admin.of("job") if data["id"] == job_id][:2]
                    == ["enqueued", "processing"]
                )
            )
            assert all(data["mine"] is False for data in admin.of("job"))

    run(scenario())


@pytest.mark.parametrize("client_id", ["short", "x" * 129, "with a space in it yes", 5, {}])
def test_a_client_id_of_the_wrong_form_is_refused_at_the_door(shared: Served, client_id: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Browser(shared, client_id).connect()

    run(scenario())


@pytest.mark.parametrize("auth", [[1], "text"])
def test_a_handshake_of_the_wrong_shape_is_refused(shared: Served, auth: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Browser(shared).connect(auth=auth)

    run(scenario())


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_of_another_site_may_not_open_a_socket(shared: Served, origin: str, transport: str) -> None:
    async def scenario() -> None:
        with pytest.raises(
            (socketio.exceptions.ConnectionError, RuntimeError)
        ):  # aiohttp may meet the closed connection
            await Browser(shared, Origin=origin).connect([transport])
        async with Browser(shared, Origin=shared.base) as ann:
            await ann.asked("hello")

    run(scenario())


def test_a_refused_page_may_read_why_and_the_log_says_it_once(shared: Served, caplog: Any) -> None:
    for _ in range(3):
        address = f"{shared.base}/queue-ext/socket.io/?EIO=4&transport=polling"
        refused = httpx.get(address, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403 and "cors_allowed_origins" in refused.json()["detail"]
        assert refused.headers["access-control-allow-origin"] == "https://evil.example"
    assert caplog.text.count("https://evil.example") == 1


def test_a_site_the_administrator_named_may(tmp_path: Any) -> None:
    async def scenario(found: Served) -> None:
        async with Browser(found, Origin="https://shop.example") as ann:
            await ann.asked("hello")

    with served(tmp_path, cors_allowed_origins=("https://shop.example",)) as found:
        run(scenario(found))
        polling = f"{found.base}/queue-ext/socket.io/?EIO=4&transport=polling"
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        allowed = httpx.options(polling, headers=asked).headers
        assert allowed["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in allowed


@pytest.mark.parametrize(("interval_s", "told_ms"), [(25.0, 25_000), (0.5, 1_000), (2.3, 3_000), (1.0, 1_000)])
def test_a_browser_is_told_no_less_than_the_time_between_two_pings(
    tmp_path: Any, interval_s: float, told_ms: int
) -> None:
    with served(tmp_path, ping_interval_s=interval_s, ping_timeout_s=0.5) as found:
        handshake = httpx.get(f"{found.base}/queue-ext/socket.io/?EIO=4&transport=polling").text
        told = json.loads(handshake[1:])
        assert (told["pingInterval"], told["pingTimeout"]) == (told_ms, 500)


def test_a_login_is_asked_for_every_socket(tmp_path: Any) -> None:
    from queue_ext.errors import NotAuthenticated

    def login(visitor: Any) -> str:
        if visitor.headers.get("user") != "ann":
            raise NotAuthenticated(reason="log in first")
        return "ann"

    async def scenario(found: Served) -> None:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Browser(found).connect()
        async with Browser(found, user="ann") as ann:
            assert (await ann.asked("hello"))["owner"] == "ann"

    with served(tmp_path, login=(login, lambda: True)) as found:
        run(scenario(found))


# --- reconnecting ------------------------------------------------------------------------------------------------------


def expected_news(found: Served, owner: str) -> list[int]:
    """What an owner's browser should have heard of the whole log, by seq."""
    seqs = []
    for event in map(from_row, found.app.store.events_after(0, 100_000)):
        if isinstance(event, JobChanged) and event.owner == owner:
            seqs.append(outward(event.seq))
            if event.data["state"] == State.SUCCEEDED or event.data.get("error"):
                seqs.append(outward(event.seq, True))
    return seqs


def unfinished(found: Served) -> int:
    return sum(count for (_, state), count in found.app.store.counts().items() if State(state) in UNFINISHED)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_back_gets_what_was_missed_without_gap_or_repeat(tmp_path: Any, seed: int) -> None:
    chance = random.Random(seed)
    fails = iter(range(10_000))

    def script(*_args: Any) -> Any:
        if next(fails) % 7 == 3:
            raise RuntimeError("it broke")
        return pictures()

    async def session(found: Served, since: int, seconds: float) -> list[Any]:
        ann = Browser(found, since=since)
        await ann.connect()
        said = await ann.asked("hello")
        await asyncio.sleep(seconds)
        await ann.sio.disconnect()
        assert "snapshot" not in said
        return [item["data"] for item in said["replay"]] + ann.of(*NEWS)

    async def scenario(found: Served) -> None:
        heard: list[int] = []
        since = 0
        async with Browser(found) as first:
            since = (await first.asked("hello"))["cursor"]
        working = asyncio.ensure_future(off_loop(_work, found))
        while not working.done() or unfinished(found) or heard[-1:] != expected_news(found, owner_of(ANN))[-1:]:
            news = await session(found, since, chance.random() * 0.15)
            seqs = [data["seq"] for data in news]
            assert all(later > earlier for earlier, later in zip([since, *seqs], seqs, strict=False)), (since, seqs)
            heard += [data["seq"] for data in news if data.get("mine", True)]
            since = max([since, *seqs])
        assert heard == expected_news(found, owner_of(ANN))

    def _work(found: Served) -> None:
        for _ in range(40):
            enqueue(found, ANN, chance.randint(1, 2), retry={"attempts": 1, "delay_s": 0})
            enqueue(found, BOB)
            time.sleep(chance.random() * 0.03)

    with served(tmp_path, FakePipeline(script)) as found:
        run(scenario(found))


@pytest.mark.parametrize("back", [True, False])
def test_what_is_told_while_hello_is_being_answered_lies_behind_its_cursor(
    gated: Served, gate: Gate, monkeypatch: Any, back: bool
) -> None:
    """A page drops what is not above the cursor of its greeting: it would never have seen this job end."""
    namespace, asked, go_on = gated.app.namespace, threading.Event(), threading.Event()
    answer = namespace._hello

    def slowly(client: Any) -> dict[str, Any]:
        said = answer(client)
        asked.set()
        assert go_on.wait(DEADLINE)
        return said

    async def scenario() -> None:
        async with Browser(gated) as ann:
            since = (await ann.asked("hello"))["cursor"]
            job_id = (await off_loop(enqueue, gated))[0]
            await off_loop(gate.started.wait, 10)
            await ann.until(lambda ann: [job["state"] for job in ann.of("job")][-1:] == ["processing"])
        monkeypatch.setattr(namespace, "_hello", slowly)
        async with Browser(gated, since=since if back else None) as ann:
            hello = asyncio.ensure_future(ann.asked("hello"))
            await off_loop(asked.wait, 10)
            gate.open.set()
            ended = await ann.until(lambda ann: ann.of("result"))
            go_on.set()
            said = await hello
            assert said["cursor"] < ended[0]["seq"] and ended[0]["job_id"] == job_id
            told = [item["data"]["seq"] for item in said.get("replay", [])]
            assert max(told, default=said["cursor"]) <= said["cursor"] and len(told) == (2 if back else 0)

    run(scenario())


def held_tail(found: Served) -> threading.Event:
    """Events are published while it is set, as it is."""
    publish, tail = threading.Event(), found.app.tail
    at_once = tail._publish
    tail._publish = lambda rows: (publish.wait(DEADLINE), at_once(rows))[1]  # type: ignore[method-assign]
    publish.set()
    return publish


@pytest.mark.parametrize("back", [True, False])
def test_a_job_that_was_cancelled_and_removed_at_once_is_told_of(gated: Served, gate: Gate, back: bool) -> None:
    """Nothing is left of it when its news is read."""
    owner, publish = Owner(owner_of(ANN)), held_tail(gated)

    async def scenario() -> None:
        async with Browser(gated) as ann:
            await ann.asked("hello")
            _, waiting = await off_loop(enqueue, gated, ANN, 2)
            told = await ann.until(lambda ann: [job for job in ann.of("job") if job["id"] == waiting])
            publish.clear()
            for _ in range(2):
                await off_loop(gated.app.queue.cancel_or_remove, owner, waiting)
            if not back:
                publish.set()
                removed = (await ann.until(lambda ann: ann.of("removed")))[0]
        publish.set()
        if back:
            await off_loop(until, lambda: gated.app.namespace.mailbox.seq == gated.app.store.last_seq())
            async with Browser(gated) as ann:
                replay = (await ann.asked("hello", {"since": told[-1]["seq"]}))["replay"]
                removed = next(item["data"] for item in replay if item["event"] == "removed")
        assert removed["job_id"] == waiting and removed["queue"] == "default" and removed["seq"] > told[-1]["seq"]

    run(scenario())


def test_a_watcher_of_a_quiet_queue_is_told_its_line(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        await off_loop(enqueue, gated, ANN, 3)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            await ann.asked("hello")
            await ann.until(lambda ann: ann.of("positions"))
            await ann.quiet()
            await ann.asked("watch", {"queue": "default"})
            assert len((await ann.until(lambda ann: ann.of("line")))[0]["jobs"]) == 2

    run(scenario())


def test_nobody_is_told_how_many_wait_in_a_queue_that_is_no_more(gated: Served, gate: Gate) -> None:
    async def scenario() -> None:
        await off_loop(enqueue, gated)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            await ann.asked("hello")
            await off_loop(lambda: enqueue(gated, queue="old"))
            await ann.until(lambda ann: {"queue": "old", "count": 1} in ann.of("waiting_count"))
            await off_loop(gated.app.store.clear_queue, "old", "cleared")
            await off_loop(gated.app.store.delete_queue, "old")
            await ann.until(lambda ann: {"name": "old", "deleted": True} in ann.of("queue"))
            await off_loop(enqueue, gated)
            await ann.until(lambda ann: {"queue": "default", "count": 1} in ann.of("waiting_count"))
            deleted = next(n for n, (_, event, data) in enumerate(ann.heard) if event == "queue" and "deleted" in data)
            assert not [
                data for _, event, data in ann.heard[deleted:] if event == "waiting_count" and data["queue"] == "old"
            ]

    run(scenario())


def test_what_a_greeting_told_in_passing_is_told_again(gated: Served, gate: Gate) -> None:
    """It read a count and a place that had gone back to what others were told last when they were looked at again."""
    store, publish = gated.app.store, held_tail(gated)

    async def scenario() -> None:
        await off_loop(enqueue, gated)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            await ann.asked("hello")
            mine = (await off_loop(enqueue, gated))[0]
            await ann.until(lambda ann: {"queue": "default", "count": 1} in ann.of("waiting_count"))
            await ann.quiet()
            publish.clear()
            urgent = (await off_loop(lambda: enqueue(gated, BOB, priority=9)))[0]
            async with Browser(gated, CAROL) as carol, Browser(gated) as again:
                assert (await carol.asked("hello"))["waiting_count"] == 2
                greeted = {job["id"]: job["position"] for job in (await again.asked("hello"))["jobs"]}
                assert greeted[mine] == 2
                await off_loop(store.cancel, [urgent], "gone")
                publish.set()
                await carol.until(lambda carol: carol.of("waiting_count")[-1:] == [{"queue": "default", "count": 1}])
                await again.until(lambda again: [said[mine]["position"] for said in again.of("positions")][-1:] == [1])

    run(scenario())


def test_what_a_push_told_in_passing_is_told_again(gated: Served, gate: Gate) -> None:
    """A job and a queue are told with a place and a count, which may have gone back when they are looked at again."""
    store = gated.app.store

    def place(ann: Browser, job_id: str) -> Any:
        told = [data[job_id] if event == "positions" else data for _, event, data in ann.heard
                if (event == "positions" and job_id in data) or (event == "job" and data["id"] == job_id)]  # fmt: skip
        return told and told[-1]["position"]

    def count(ann: Browser) -> Any:
        told = [data.get("count", data.get("waiting_count")) for data in ann.of("waiting_count", "queue")]
        return told and told[-1]

    async def scenario() -> None:
        await off_loop(enqueue, gated, BOB)
        await off_loop(gate.started.wait, 10)
        async with Browser(gated) as ann:
            await ann.asked("hello")
            mine = (await off_loop(enqueue, gated))[0]
            await ann.until(lambda ann: [said for said in ann.of("positions") if mine in said] and count(ann) == 1)
            await ann.quiet()
            gated.app.namespace._positions_at = time.monotonic() + 2  # as just after places were sent
            urgent = (await off_loop(lambda: enqueue(gated, BOB, priority=9)))[0]
            await off_loop(store.edit, mine, True, {"name": "renamed"}, None, None, None)
            await off_loop(store.put_queue, "default", {"retry_attempts": 2})
            await ann.until(lambda ann: place(ann, mine) == 2 and count(ann) == 2)
            await off_loop(store.cancel, [urgent], "gone")
            await ann.until(lambda ann: place(ann, mine) == 1 and count(ann) == 1)

    run(scenario())


def test_half_an_event_that_the_log_has_forgotten_is_told_by_a_snapshot(shared: Served) -> None:
    """The connection broke between a job's end and its pictures."""

    async def scenario() -> None:
        async with Browser(shared) as ann:
            await ann.asked("hello")
            await off_loop(enqueue, shared)
            end = await ann.until(lambda ann: [job for job in ann.of("job") if job["state"] == "succeeded"])
        await off_loop(shared.app.store.trim, time.time() + 3 * 86400)
        async with Browser(shared) as ann:
            assert (await ann.asked("hello", {"since": end[0]["seq"]}))["snapshot"] is True

    run(scenario())


def test_who_was_away_too_long_or_comes_from_elsewhere_gets_a_snapshot(shared: Served) -> None:
    async def scenario() -> None:
        job_id = (await off_loop(enqueue, shared))[0]
        await off_loop(until, lambda: shared.app.store.job(job_id)["state"] == "succeeded")
        async with Browser(shared) as first:
            await first.quiet()
        async with Browser(shared) as ann:
            assert len((await ann.asked("hello", {"since": 0}))["replay"]) == 4
            await off_loop(shared.app.store.trim, time.time() + 3 * 86400)
            for since in (0, 1, 10**30, -5):
                said = await ann.asked("hello", {"since": since})
                assert said["snapshot"] is True and "replay" not in said, since
            cursor = said["cursor"]
            assert (await ann.asked("hello", {"since": cursor}))["replay"] == []

    run(scenario())


def test_many_who_come_and_go_leave_nothing_behind(shared: Served) -> None:
    async def scenario() -> None:
        for _ in range(5):
            browsers = [Browser(shared, f"client-number-{number:04d}") for number in range(8)]
            await asyncio.gather(*(browser.connect() for browser in browsers))
            await asyncio.gather(*(browser.asked("hello") for browser in browsers))
            await asyncio.gather(*(browser.sio.disconnect() for browser in browsers))
        namespace = shared.app.namespace
        end = time.monotonic() + 10
        while namespace._clients and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert namespace._clients == {} and namespace._sent_positions == {}

    run(scenario())


# --- garbage -----------------------------------------------------------------------------------------------------------

FRAMES: list[Any] = [
    "", "zzz", "4", "40", "40/queue", "40/queue,[", "42[", "42/queue,", '42/queue,["hello"', "42/queue,5[]", "42/queue,[5]", '42/queue,[{"a":1}]',  # noqa: E501
    "42/queue,0[null]", '45-1/queue,["x",{"_placeholder":true,"num":0}]', '451-/queue,["x",{"_placeholder":true,"num":9}]', "6", "2probe", "3", "9",  # noqa: E501
    b"", b"\0\xff\xfe", b"4" * 1000, "42/queue,1" + "[" * 50_000, '42/queue,2["hello",' + "[" * 3000 + "]" * 3000 + "]", "42/other,[]",
    '42/queue,3["\ud7ff"]', "42/queue," + "9" * 300 + '["hello"]', "41/queue", "44/queue,{}", "43/queue,1[]", "43/queue,x[]", "1",
]  # fmt: skip


def test_garbage_frames_disturb_nobody_else(shared: Served) -> None:
    import websockets

    url = f"ws://127.0.0.1:{shared.port}/queue-ext/socket.io/?EIO=4&transport=websocket"

    async def garble(frame: Any) -> None:
        with contextlib.suppress(Exception):
            async with websockets.connect(url) as raw:
                await raw.recv()
                await raw.send("40/queue," + json.dumps({"client_id": BOB}))
                await asyncio.wait_for(raw.recv(), 5)
                await raw.send(frame)
                await asyncio.wait_for(raw.recv(), 0.1)

    async def scenario() -> None:
        async with Browser(shared) as ann:
            for start in range(0, len(FRAMES), 8):
                await asyncio.gather(*(garble(frame) for frame in FRAMES[start : start + 8]))
            async with httpx.AsyncClient() as http:
                for query in (
                    "",
                    "?EIO=9",
                    "?EIO=4&transport=pigeon",
                    "?EIO=4&transport=polling&sid=nobody",
                    "?EIO=4&transport=polling&j=x",
                ):
                    for method in ("GET", "POST", "PUT"):
                        answer = await http.request(
                            method, f"{shared.base}/queue-ext/socket.io/{query}", content=b"garbage", timeout=5
                        )
                        assert answer.status_code < 500
            job = (await ann.asked("enqueue", REQUEST))["job"]
            await ann.until(lambda ann: any(data["job_id"] == job["id"] for data in ann.of("result")))

    run(scenario())


def test_a_browser_that_never_reads_holds_up_nobody(shared: Served) -> None:
    async def scenario() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
        writer.write(
            b"GET /queue-ext/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readline()
        async with Browser(shared) as ann:
            for _ in range(5):
                await ann.asked("enqueue", REQUEST)
            await ann.until(lambda ann: len(ann.of("result")) == 5)
        writer.close()

    run(scenario())


def test_the_emitter_ends_when_it_is_cancelled_at_the_moment_news_come() -> None:
    """Before Python 3.12 ``asyncio.wait_for`` swallows that cancellation, and a stop would wait for ever."""

    async def scenario() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(_filled(event, 60))
        await asyncio.sleep(0)
        event.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        event.clear()
        await _filled(event, 0.001)
        assert event.is_set()

    asyncio.run(asyncio.wait_for(scenario(), 30))
