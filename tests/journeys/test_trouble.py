"""Disks, databases and clients misbehave: who asks is told why, accepted jobs stay, and the queue goes on by itself."""

import asyncio
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, text

from .browser import Browser, off
from .checks import check_counters, check_history, store_in
from .conftest import Launch, Shared
from .server import Server, tiny, until

ANN = "ann-has-a-secret-1"
SMALL = 6_000_000  # bytes of a disk that is soon full


def refused(server: Server, reason: str, deadline: float = 8.0) -> requests.Response:
    """A job is not accepted, with a 503 that says why."""
    began = time.monotonic()
    answer = server.call("POST", "/v1/jobs", json=tiny())
    assert answer.status_code == 503, answer.text
    said = answer.json()
    assert reason in said["detail"] and said["code"] == "storage_unavailable"
    assert answer.headers["retry-after"] and time.monotonic() - began < deadline
    return answer


def accepted_again(server: Server, ids: list[str]) -> None:
    """New jobs are taken, and they and the old ones run."""

    def taken() -> "str | None":
        answer = server.call("POST", "/v1/jobs", json=tiny())
        return answer.json()["id"] if answer.status_code == 201 else None

    ids = [*ids, until(taken, "jobs are accepted again")]
    for job_id in ids:
        check_history(server.wait_state(job_id, "succeeded"))
    assert server.states()["succeeded"] == len(ids)
    until(lambda: server.get("/v1/health")["worker"] == "running", "the worker is well again")


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of the test's own, with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Use up all room."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return ballast


def test_a_full_disk_refuses_jobs_and_loses_none(prepare: Launch, small_disk: Path, tmp_path: Path) -> None:
    server = prepare(folder=small_disk / "data", env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    server.log = tmp_path / "server.log"
    server.start()
    ids = [server.add(steps=20, width=256, height=256)["id"], server.add()["id"]]
    server.wait_state(ids[0], "processing")
    ballast = fill(small_disk)
    refused(server, "the disk is full")
    until(lambda: "disk is full" in server.get("/v1/health")["worker"], "health says why nothing goes on")
    assert server.job(ids[0])["state"] == "processing" and server.get("/v1/jobs")["total"] == 2, "reading goes on"
    answer = server.call("POST", "/v1/uploads", data=_png())
    assert answer.status_code == 503 and "disk is full" in answer.json()["detail"]
    ballast.unlink()
    accepted_again(server, ids)
    assert server.job(ids[0])["attempt"] == 1, "the picture was kept until it could be stored"
    server.kill()
    check_counters(store_in(server.folder))


def test_a_process_killed_on_a_full_disk_goes_on_when_there_is_room(
    prepare: Launch, small_disk: Path, tmp_path: Path
) -> None:
    server = prepare(folder=small_disk / "data")
    server.log = tmp_path / "server.log"
    server.start()
    server.post("/v1/queues/default/pause")
    ids = server.add_many(5)
    ballast = fill(small_disk)
    server.kill()
    ballast.unlink()
    server.start()
    server.post("/v1/queues/default/resume")
    accepted_again(server, ids)


def _png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(out, "PNG")
    return out.getvalue()


# --- the SQLite file --------------------------------------------------------------------------------------------------


def test_a_locked_database_refuses_everybody_in_time_and_goes_on(launch: Launch) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    ids = [server.add(steps=30)["id"], server.add()["id"]]
    server.wait_state(ids[0], "processing")
    other = sqlite3.connect(server.folder / "queue.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: requests.post(f"{server.url}/v1/jobs", json=tiny()), range(12)))
        assert time.monotonic() - began < 15, "the last one is not told after a minute"
    assert {answer.status_code for answer in answers} == {503}
    assert all("database is locked" in answer.json()["detail"] for answer in answers)
    assert server.get("/v1/jobs")["total"] == 2, "reading goes on"
    until(lambda: "locked" in server.get("/v1/health")["worker"], "health says why nothing goes on")
    other.execute("ROLLBACK")
    other.close()
    accepted_again(server, ids)
    assert server.job(ids[0])["attempt"] == 1


def test_a_short_lock_is_waited_for(launch: Launch) -> None:
    server = launch()
    other = sqlite3.connect(server.folder / "queue.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(requests.post, f"{server.url}/v1/jobs", json=tiny()) for _ in range(4)]
        assert not [answer for answer in answers if answer.done()]
        other.execute("ROLLBACK")
        assert [answer.result().status_code for answer in answers] == [201] * 4
    other.close()


def test_a_read_only_database_refuses_changes_and_shows_what_is_there(launch: Launch, tmp_path: Path) -> None:
    switch = tmp_path / "read-only"
    server = launch(
        entry="tests.journeys.entries:read_only", env={"SWITCH": str(switch), "QUEUE_EXT_DEMO_STEP_S": "0.05"}
    )
    ids = [server.add(steps=20)["id"], server.add()["id"]]
    server.wait_state(ids[0], "processing")
    switch.touch()
    refused(server, "a readonly database")
    assert server.call("DELETE", f"/v1/jobs/{ids[1]}").status_code == 503
    assert server.job(ids[1])["state"] == "enqueued"
    until(lambda: "readonly" in server.get("/v1/health")["worker"], "health says why nothing goes on")
    switch.unlink()
    accepted_again(server, ids)


def test_a_missing_data_folder_refuses_jobs_until_it_is_back(launch: Launch, tmp_path: Path) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    ids = [server.add(steps=20)["id"], server.add()["id"]]
    server.wait_state(ids[0], "processing")
    elsewhere = tmp_path / "elsewhere"
    server.folder.rename(elsewhere)
    refused(server, "the database file is missing")
    answer = server.call("POST", "/v1/uploads", data=_png())
    assert answer.status_code == 503
    until(lambda: "missing" in server.get("/v1/health")["worker"], "health says why nothing goes on")
    assert not server.folder.exists(), "nothing is made in its place"
    elsewhere.rename(server.folder)
    accepted_again(server, ids)


def test_a_job_whose_pictures_are_out_of_reach_waits_for_them(
    launch: Launch, shared_sqlite: str, tmp_path: Path
) -> None:
    """The database is elsewhere and goes on; the folder for pictures is away."""
    folder = tmp_path / "pictures"
    server = launch("--database-url", shared_sqlite, folder=folder)
    server.post("/v1/queues/default/pause")
    upload = server.call("POST", "/v1/uploads", data=_png()).json()["id"]
    body = {"task": "img2img", "payload": {**tiny()["payload"], "init_images": [upload]}}
    job_id = server.post("/v1/jobs", body, 201)["id"]
    folder.rename(tmp_path / "away")
    server.post("/v1/queues/default/resume")
    until(lambda: "missing" in server.get("/v1/health")["worker"], "health says what is missing")
    (tmp_path / "away").rename(folder)
    job = server.wait_state(job_id, "succeeded")
    assert job["attempt"] == 1 and check_history(job)


def test_a_claim_that_was_committed_unheard_is_given_back(launch: Launch) -> None:
    server = launch(entry="tests.journeys.entries:doubtful")
    job = server.wait_state(server.add()["id"], "succeeded", deadline=10)
    assert job["attempt"] == 1
    assert sum(check_history(job).values()) == 1


def test_a_start_without_a_place_to_store_says_so(prepare: Launch, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("in the way")
    for arguments, said in (
        (["--data-dir", str(tmp_path / "a-file" / "data")], "the folder for pictures is missing or cannot be written"),
        (
            ["--database-url", f"sqlite:///{(tmp_path / 'nowhere' / 'q.sqlite3').as_posix()}"],
            "unable to open database file",
        ),
        (["--database-url", "postgresql://nobody@127.0.0.1:1/none"], "the database is not reachable"),
    ):
        server = prepare(*arguments).start(ready=False)
        assert server.process.wait() == 2
        assert said in server.said and "Traceback" not in server.said


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["postgresql"], indirect=True)
def test_cut_connections_lose_no_job_and_no_news(prepare: Launch, shared: Shared) -> None:
    name = f"cut-{shared.prefix}"
    url = f"{shared.url}{'&' if '?' in shared.url else '?'}application_name={name}"
    server = prepare("--database-url", url, "--table-prefix", shared.prefix).start()
    admin = create_engine(shared.url, isolation_level="AUTOCOMMIT")
    ids: list[str] = []

    def cut() -> None:
        with admin.connect() as conn:
            conn.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"),
                {"name": name},
            )

    async def journey() -> None:
        async with Browser(server, ANN) as ann:
            for number in range(40):
                if number % 8 == 0:
                    await off(cut)
                answer = await off(
                    server.call, "POST", "/v1/jobs", json=tiny(seed=number), headers={"X-Queue-Client": ANN}
                )
                assert answer.status_code in (201, 503), answer.text
                if answer.status_code == 201:
                    ids.append(answer.json()["id"])
            await off(server.wait_drained, 60)
            await ann.until(lambda: set(ids) <= set(ann.results()), "all results are heard")
            assert len(ann.results()) == len(set(ann.results())), "none twice"

    asyncio.run(journey())
    assert len(ids) >= 25
    for job_id in ids:
        job = server.job(job_id)
        check_history(job)
        assert job["attempt"] == 1 and len(job["result"]["images"]) == 1
    store = shared.store()
    check_counters(store)
    store.db.close()
    admin.dispose()


# --- clients ----------------------------------------------------------------------------------------------------------


def test_clients_that_send_garbage_or_vanish_disturb_nobody(launch: Launch) -> None:
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.02"})
    job_id = server.add(steps=100)["id"]

    def send(data: bytes, listen: bool = True) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(data)
            if not listen:
                return b""
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                return connection.recv(4096)
        return b""

    def request(path: str, body: bytes, length: "int | None" = None, kind: str = "application/json") -> bytes:
        size = len(body) if length is None else length
        head = f"POST /queue-ext{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
        return head.encode() + b"\r\n" + body

    assert b"400" in send(b"\x00\xff\x16\x03\x01 garbage\r\n\r\n")
    assert b"422" in send(request("/v1/jobs", b"{not json"))
    assert b" 422 " in send(request("/v1/jobs", b"\xff\xfe\x00"))
    assert b" 4" in send(request("/v1/jobs", b"[" * 100_000))
    assert b"413" in send(request("/v1/jobs", b"{", length=10**12), listen=True)
    for path, kind in (
        ("/v1/jobs", "application/json"), ("/v1/uploads", "image/png"), ("/v1/import", "application/json"),
        ("/v1/uploads", "multipart/form-data; boundary=x"), ("/sdapi/v1/txt2img", "application/json"),
    ):  # fmt: skip
        send(request(path, b'{"task": "txt2img", "payl', length=1_000_000, kind=kind), listen=False)
    whole = request("/v1/jobs", b"{}", kind="application/json").replace(
        b"Content-Length: 2", b"Transfer-Encoding: chunked"
    )
    send(whole.replace(b"{}", b"ffffffff\r\n{"), listen=False)
    send(b"GET /queue-ext/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
    for query in ("EIO=3&transport=polling", "EIO=4&transport=carrier-pigeon", "EIO=4&transport=polling&sid=none", ""):
        assert b"400" in send(
            f"GET /queue-ext/socket.io/?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
    asyncio.run(_garbage_in_sockets(server))

    assert server.wait_state(job_id, "succeeded")["attempt"] == 1
    assert server.get("/v1/jobs")["total"] == 1
    assert "Traceback" not in server.said and "defect" not in server.said, server.said


async def _garbage_in_sockets(server: Server) -> None:
    import aiohttp

    address = server.root + "/queue-ext/socket.io/?EIO=4&transport=websocket"
    frames: list[Any] = [
        "garbage",
        "4garbage",
        "42",
        '42["x',
        "40/queue,{",
        '42/queue,["hello"]',
        "40/nowhere,",
        "6",
        b"\x00\x01\x02",
        '451-/queue,["enqueue",{"_placeholder":true,"num":0}]',
    ]
    async with aiohttp.ClientSession() as session:
        for frame in frames:
            async with session.ws_connect(address) as ws:
                await ws.receive(timeout=10)
                await ws.send_str("40/queue,{}")
                await (ws.send_bytes(frame) if isinstance(frame, bytes) else ws.send_str(frame))
    async with Browser(server, ANN) as ann:
        for event, data in (
            ("no-such-event", {}), ("enqueue", None), ("enqueue", "text"), ("enqueue", [1, 2]),
            ("enqueue", {"task": 1}), ("cancel", {"job_id": 7}), ("cancel", {"job_id": "x" * 10_000}),
            ("watch", {"queue": "\0"}), ("watch", {}), ("move", {"job_id": "x", "to": "nowhere"}),
            ("preview", {"enabled": "yes"}), ("hello", {"since": "x"}), ("hello", {"since": 10**30}),
            ("hello", {"since": -5}), ("skip", {"job_id": None}), ("waiting_count", {"queue": []}),
        ):  # fmt: skip
            answer = await ann.say(event, data)
            assert answer["ok"] is (event == "hello" and isinstance(data["since"], int)), (event, data, answer)
            assert answer["ok"] or answer["error"]["code"] not in ("defect", ""), (event, data, answer)
        assert ann.client.connected
