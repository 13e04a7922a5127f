"""Webhooks: told at least once, signed, later again, by nobody the pipeline waits for, and nowhere they must not go."""

import contextlib
import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from queue_ext import filters
from queue_ext.addresses import AddressRefused, Connection, Deadline, Target, is_public, resolve, target
from queue_ext.filters import Application, hookimpl
from queue_ext.store import Store

from .conftest import require
from .support import FakePipeline, add, claim, finish, pictures, served, until

SECRET = "the secret of a receiver"
DOCS = (Path(__file__).parent.parent / "docs" / "webhooks.md").read_text(encoding="utf-8")
NAMES: dict[str, Any] = {}
exec(re.search(r"<!-- example: receiver -->\n\n```python\n(.*?)```", DOCS, re.DOTALL)[1], NAMES)  # type: ignore[index]


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is told; ``answers`` are the status codes to come, then 204."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.lets_go = threading.Event()
        self.hangs = False
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _path, _headers, body in self.heard]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, dict(self.headers), body))
        if self.server.hangs:
            self.server.lets_go.wait(30)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", f"http://{self.server.host}/elsewhere")
        self.end_headers()

    def log_message(self, *_args: Any) -> None: ...


@contextlib.contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    receiver = Receiver(*answers)
    try:
        yield receiver
    finally:
        receiver.lets_go.set()
        receiver.shutdown()
        receiver.server_close()


def allowing(receiver: Receiver) -> dict[str, Any]:
    return {"webhook_hosts": (receiver.host,), "webhook_private": True, "webhook_retry_delay_s": 0.05}


def asking(receiver: Receiver, **more: Any) -> dict[str, Any]:
    webhook = {"url": f"http://{receiver.host}/hook?of=mine", "secret": SECRET}
    return {"task": "txt2img", "payload": {"prompt": "x"}, "webhook": webhook, **more}


def post(client: httpx.Client, **request: Any) -> str:
    answer = client.post("/jobs", json=request)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def deliveries(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    return client.get(f"/jobs/{job_id}").json()["deliveries"]


# --- telling -----------------------------------------------------------------------------------------------------------


def test_success_failure_and_deletion_are_told_and_signed(tmp_path: Path) -> None:
    def script(request: Any, *_: Any) -> Any:
        if request.payload["prompt"] == "fail":
            raise RuntimeError("no luck")
        return pictures()

    with (
        receiving() as receiver,
        served(tmp_path, FakePipeline(script), **allowing(receiver)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        good = post(client, **asking(receiver))
        bad = post(client, **asking(receiver, payload={"prompt": "fail"}, retry={"attempts": 1, "delay_s": 0}))
        gone = post(client, **asking(receiver, delay_s=600))
        client.delete(f"/jobs/{gone}")
        until(lambda: len(receiver.heard) == 3)
        told = {body["job_id"]: body for body in receiver.bodies}
        assert {job_id: body["event"] for job_id, body in told.items()} == {
            good: "job.succeeded", bad: "job.failed", gone: "job.deleted"
        }  # fmt: skip
        assert told[bad]["reason"] == "no luck" and told[bad]["job"]["error"]["attempt"] == 2
        assert told[good]["job"]["state"] == "succeeded"
        assert client.get(server.base + told[good]["job"]["result"]["images"][0]["url"]).status_code == 200
        for path, headers, body in receiver.heard:
            assert path == "/hook?of=mine" and headers["Content-Type"] == "application/json"
            assert headers["Host"] == receiver.host and headers["X-Queue-Event"] == json.loads(body)["event"]
            assert NAMES["genuine"](headers, body, SECRET)
            assert not NAMES["genuine"](headers, body + b" ", SECRET) and not NAMES["genuine"](headers, body, "another")
            assert not NAMES["genuine"]({**headers, "X-Queue-Timestamp": "1795370400"}, body, SECRET)
        until(lambda: deliveries(client, good)[0]["delivered_at"])
        shown = client.get(f"/jobs/{good}").text
        assert SECRET not in shown and "of=mine" not in shown


def test_what_does_not_arrive_is_tried_again_with_the_same_id(tmp_path: Path) -> None:
    with (
        receiving(500, 404) as receiver,
        served(tmp_path, **allowing(receiver)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        job_id = post(client, **asking(receiver))
        until(lambda: deliveries(client, job_id) and deliveries(client, job_id)[0]["delivered_at"])
        [told] = deliveries(client, job_id)
    assert (told["tries"], told["next_try_at"], told["error"]) == (3, None, None)
    assert len({headers["X-Queue-Delivery"] for _path, headers, _body in receiver.heard}) == 1


def test_tries_get_rarer_and_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_ext.webhooks.TRIES", 3)
    with (
        receiving(*[503] * 9) as receiver,
        served(tmp_path, **allowing(receiver)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        job_id = post(client, **asking(receiver))
        until(lambda: deliveries(client, job_id) and deliveries(client, job_id)[0]["next_try_at"] is None)
        [told] = deliveries(client, job_id)
        assert (told["tries"], told["delivered_at"], told["error"]) == (3, None, "it answered 503")
        assert server.app.store.next_delivery() is None


def test_a_webhook_survives_a_restart(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.hangs = True
        with served(tmp_path, **allowing(receiver)) as server, httpx.Client(base_url=server.url) as client:
            job_id = post(client, **asking(receiver))
            until(lambda: receiver.heard)
        receiver.hangs = False
        with served(tmp_path, **allowing(receiver)) as server, httpx.Client(base_url=server.url) as client:
            until(lambda: deliveries(client, job_id)[0]["delivered_at"])
        assert [body["job_id"] for body in receiver.bodies] == [job_id] * 2


def test_receivers_that_hang_hold_up_neither_jobs_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_ext.webhooks.TIMEOUT", 3600.0)  # whoever waited for that would never come to an end
    with receiving() as receiver:
        receiver.hangs = True
        with served(tmp_path, **allowing(receiver)) as server, httpx.Client(base_url=server.url) as client:
            for _ in range(6):
                post(client, **asking(receiver))
            until(lambda: len(receiver.heard) >= 4)
            last = post(client, **asking(receiver))
            until(lambda: client.get(f"/jobs/{last}").json()["state"] == "succeeded")
        assert not receiver.lets_go.is_set()


def test_a_delivery_is_written_with_the_state_or_not_at_all(store: Store) -> None:
    class Last:
        @hookimpl
        def state_applied(self, application: Application) -> None:
            raise RuntimeError("after all")

    webhook = json.dumps({"webhook": {"url": "http://x/", "secret": SECRET}})
    job_id, other = add(store, parameters=webhook), add(store, parameters=webhook)
    filters.register(Last(), "last", order=2000)
    try:
        with pytest.raises(filters.FilterFailed):
            store.cancel([job_id], "cancelled")
        assert store.deliveries(job_id) == [] and store.job(job_id)["state"] == "enqueued"
    finally:
        filters.unregister("last")
    store.cancel([job_id], "cancelled")
    finish(store, claim(store))
    found = [store.deliveries(each)[0] for each in (job_id, other)]
    assert [(row["event"], row["reason"]) for row in found] == [("job.deleted", "cancelled"), ("job.succeeded", None)]


def test_one_delivery_is_taken_by_one_of_many(store: Store) -> None:
    webhook = json.dumps({"webhook": {"url": "http://x/", "secret": SECRET}})
    ids = [add(store, parameters=webhook) for _ in range(5)]
    store.cancel(ids, "cancelled")
    taken: list[Any] = []

    def take() -> None:
        while (row := store.take_delivery(time.time() + 1, 60.0)) is not None:
            taken.append(row)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    until(lambda: take() or len(taken) == 5)
    assert sorted(row["job_id"] for row in taken) == sorted(ids) and {row["tries"] for row in taken} == {1}
    store.end_delivery({**taken[0], "tries": 7}, due_at=None)
    assert store.deliveries(taken[0]["job_id"])[0]["due_at"] is not None, "a late word changes nothing"
    store.end_delivery(taken[0], due_at=None, delivered_at=time.time())
    store.forget_deliveries(time.time())
    assert all(len(store.deliveries(job_id)) == 1 for job_id in ids)
    store.forget_deliveries(time.time() + 8 * 86400)
    assert not any(store.deliveries(job_id) for job_id in ids) and store.next_delivery() is None


def test_the_secret_of_a_schedule_is_its_owners(tmp_path: Path) -> None:
    template = {"task": "txt2img", "payload": {}, "webhook": {"url": "https://hooks.example.com/", "secret": SECRET}}
    with served(tmp_path, webhook_hosts=("hooks.example.com",)) as server, httpx.Client(base_url=server.url) as client:
        ann, bob = ({"X-Queue-Client": name * 20} for name in ("ann", "bob"))
        made = client.post("/schedules", json={"name": "n", "cron": "@yearly", "template": template}, headers=ann)
        assert made.status_code == 201 and made.json()["template"] == template
        seen = client.get("/schedules", headers=bob)
        assert seen.json()["schedules"][0]["template"]["payload"] == {} and "hooks" not in seen.text


# --- where it may go ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhook", "field", "what"),
    [
        ({"url": "https://evil.example/", "secret": SECRET}, "url", "webhook_hosts"),
        ({"url": "https://hooks.example.com:8443/", "secret": SECRET}, "url", "webhook_hosts"),
        ({"url": "https://hooks.example.com.evil.example/", "secret": SECRET}, "url", "webhook_hosts"),
        ({"url": "https://hooks.example.com@evil.example/", "secret": SECRET}, "url", "user name"),
        ({"url": "ftp://hooks.example.com/", "secret": SECRET}, "url", "https"),
        ({"url": "https://hooks.example.com:x/", "secret": SECRET}, "url", "such as"),
        ({"url": "https:///path", "secret": SECRET}, "url", "host"),
        ({"url": "https://hooks.example.com/a b", "secret": SECRET}, "url", "ASCII"),
        ({"url": "https://hooks.example.com/\r\nX: y", "secret": SECRET}, "url", "ASCII"),
        ({"url": "http://127.0.0.1/", "secret": SECRET}, "url", "private"),
        ({"url": "http://[::ffff:127.0.0.1]/", "secret": SECRET}, "url", "private"),
        ({"url": "https://hooks.example.com/", "secret": "short"}, "secret", "8 to 200"),
        ({"url": "https://hooks.example.com/"}, "secret", "required"),
        ({"secret": SECRET}, "url", "required"),
        ({"url": "https://hooks.example.com/", "secret": SECRET, "x": 1}, "x", "known"),
    ],
)
def test_a_bad_webhook_is_refused_at_the_door(webhook: Any, field: str, what: str, door: httpx.Client) -> None:
    answer = door.post("/jobs", json={"task": "txt2img", "payload": {}, "webhook": webhook})
    assert answer.status_code == 422, answer.text
    [fault] = answer.json()["errors"]
    assert fault["loc"] == ["webhook", field] and what in fault["msg"]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    hosts = ("hooks.example.com", "127.0.0.1", "[::ffff:127.0.0.1]")
    with (
        served(tmp_path_factory.mktemp("door"), webhook_hosts=hosts) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("url", "hosts", "fits"),
    [
        ("https://a.example/x?y=1", ["a.example"], True),
        ("HTTPS://A.Example./", ["a.example"], True),
        ("http://a.example:80/", ["a.example"], True),
        ("http://a.example:8080/", ["a.example:8080"], True),
        ("http://a.example/", ["a.example:8080"], False),
        ("https://b.a.example/", ["*.a.example"], True),
        ("https://a.example/", ["*.a.example"], False),
        ("https://xa.example/", ["*.a.example"], False),
        ("http://[2606:4700::1111]/", ["[2606:4700::1111]"], True),
        ("http://[2606:4700::1111]:81/", ["[2606:4700::1111]:81"], True),
        ("https://a.example/", [], False),
    ],
)
def test_hosts_are_allowed_by_name_and_port(url: str, hosts: list[str], fits: bool) -> None:
    if fits:
        assert target(url, hosts, False).host
    else:
        with pytest.raises(ValueError, match="webhook_hosts"):
            target(url, hosts, False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1", "2002:7f00:0001::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_of_the_inner_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_of_the_open_internet_are(address: str) -> None:
    assert is_public(address)


class Names:
    """What names mean, one answer after the other; the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if not str(host).endswith(".test"):
            return self._real(host, port, *args, **kwargs)
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"]])
def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> None:
    Names(monkeypatch, answers)
    with pytest.raises(AddressRefused, match="private"):
        resolve(Target("https", "hooks.test", 443, "/"), False)


def test_a_name_that_leads_inside_is_not_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        port = receiver.server_address[1]
        Names(monkeypatch, ["127.0.0.1"])
        settings = {**allowing(receiver), "webhook_hosts": (f"hooks.test:{port}",), "webhook_private": False}
        with served(tmp_path, **settings) as server, httpx.Client(base_url=server.url) as client:
            job_id = post(client, **asking(receiver, webhook={"url": f"http://hooks.test:{port}/", "secret": SECRET}))
            until(lambda: deliveries(client, job_id) and deliveries(client, job_id)[0]["error"])
            assert "private" in deliveries(client, job_id)[0]["error"]
        assert receiver.heard == []


def test_a_name_cannot_change_between_the_check_and_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        port = receiver.server_address[1]
        names = Names(monkeypatch, ["127.0.0.1"], ["127.0.0.77"])
        connection = Connection(Target("http", "rebinding.test", port, "/"), True, 5.0)
        connection.request("POST", "/", b"{}", {"Host": "rebinding.test"})
        assert connection.sock.getpeername()[0] == "127.0.0.1" and names.asked == 1
        connection.close()


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with (
        receiving(302, 307) as receiver,
        served(tmp_path, **allowing(receiver)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        job_id = post(client, **asking(receiver))
        until(lambda: len(receiver.heard) == 3)
        until(lambda: deliveries(client, job_id)[0]["delivered_at"])
    assert {path for path, _headers, _body in receiver.heard} == {"/hook?of=mine"}


def test_an_answer_that_trickles_is_cut_off() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ended = threading.Event()

        def trickle() -> None:
            peer, _address = listening.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.02):
                    peer.sendall(b"X: y\r\n")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        connection = Connection(Target("http", "127.0.0.1", listening.getsockname()[1], "/"), True, 5.0)
        with pytest.raises((OSError, http.client.HTTPException)), Deadline(connection, 0.2):
            connection.request("POST", "/", b"{}")
            connection.getresponse()
        ended.set()
        thread.join(10)


def test_certificates_are_verified_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        require("no openssl makes a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks.test",
         "-addext", "subjectAltName=DNS:hooks.test", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    Names(monkeypatch, ["127.0.0.1"])
    with receiving() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        port = receiver.server_address[1]
        connection = Connection(Target("https", "hooks.test", port, "/"), True, 5.0)
        connection.request("POST", "/", b"{}")
        assert connection.getresponse().status == 204
        connection.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            Connection(Target("https", "other.test", port, "/"), True, 5.0).request("POST", "/", b"{}")
