"""A server in a process of its own: start it, speak HTTP to it, kill it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
PREFIX = "/queue-ext"
START_TIMEOUT = 60.0  # seconds a server may take to answer: CI machines are slow
DEADLINE = 30.0  # seconds anything else may take before a test gives up
LOOK = 0.02  # seconds between two looks
MAIN = "queue_ext.__main__:main"
CAN_FORK = hasattr(os, "fork")
FAST = {  # the times that only slow a test down
    "QUEUE_EXT_POLL_INTERVAL_S": "0.2",
    "QUEUE_EXT_DEMO_STEP_S": "0.005",
}
TINY = {"prompt": "a lighthouse", "width": 64, "height": 64, "steps": 2, "seed": 1}


def tiny(**fields: Any) -> dict[str, Any]:
    """The body of a request for the smallest picture."""
    return {"task": "txt2img", "payload": {**TINY, **fields}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """The first true value of ``condition``; fails naming ``what`` did not come about."""
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {deadline:g} s"
        time.sleep(LOOK)


class Forge:
    """The process that servers are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journeys.forge"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()

    def ask(self, **order: Any) -> Any:
        with self._lock:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer["ok"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(DEADLINE)


class Forked:
    """A child of the forge, with the part of ``subprocess.Popen`` that is needed here."""

    def __init__(self, forge: Forge, pid: int) -> None:
        self._forge = forge
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._forge.ask(do="poll", pid=self.pid)
        return self.returncode

    def wait(self, timeout: float = DEADLINE) -> int:
        until(lambda: self.poll() is not None, f"process {self.pid} ends", timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


class Server:
    """One ``python -m queue_ext serve``. ``real`` starts it by that very command, else it is forked from the forge."""

    def __init__(
        self, forge: Forge | None, folder: Path, *arguments: str, env: "dict[str, str] | None" = None, entry: str = MAIN
    ) -> None:
        self._forge = forge
        self.folder = folder
        self.arguments = arguments
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("QUEUE_EXT_")}, **FAST, **(env or {})}
        self.entry = entry
        self.port = free_port()
        self.log = folder.parent / f"{folder.name}-{self.port}.log"
        self.process: Any = None
        self.http = requests.Session()
        self.http.trust_env = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What it wrote to its log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def argv(self) -> list[str]:
        return ["serve", "--no-page", "--port", str(self.port), "--data-dir", str(self.folder), *self.arguments]

    def start(self, real: bool = False, ready: bool = True) -> "Server":
        assert self.process is None or self.process.poll() is not None
        if self._forge is None or real:
            self.process = self._spawn()
        else:
            order = {"argv": self.argv, "env": self.env, "log": str(self.log), "cwd": str(ROOT), "entry": self.entry}
            self.process = Forked(self._forge, self._forge.ask(do="fork", **order))
        return self.wait_ready() if ready else self

    def _spawn(self) -> "subprocess.Popen[bytes]":
        module, _, function = self.entry.partition(":")
        code = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
        program = ["-m", "queue_ext"] if self.entry == MAIN else ["-c", code]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *program, *self.argv], env=self.env, stdout=log, stderr=log, cwd=ROOT
            )

    def wait_ready(self) -> "Server":
        def answers() -> bool:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.said}"
            return self.reachable()

        until(answers, f"{self.url} answers", START_TIMEOUT)
        return self

    def reachable(self) -> bool:
        try:
            return self.http.get(f"{self.url}/v1/health", timeout=5).status_code in (200, 503)
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        self.process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        self.process.wait(DEADLINE)

    def terminate(self) -> int:
        """As systemd and docker stop do it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.http.close()

    # --- HTTP ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.url + path, **{"timeout": DEADLINE, **options})

    def get(self, path: str, **options: Any) -> Any:
        answer = self.call("GET", path, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def post(self, path: str, body: Any = None, expected: int = 200, **options: Any) -> Any:
        answer = self.call("POST", path, json=body, **options)
        assert answer.status_code == expected, (answer.status_code, answer.text)
        return answer.json()

    def add(self, client: str | None = None, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """Submit a tiny job, with other ``fields`` of its payload; the job."""
        headers = {**({"X-Queue-Client": client} if client else {}), **({"Idempotency-Key": key} if key else {})}
        return self.post("/v1/jobs", tiny(**fields), 201, headers=headers)

    def add_many(self, count: int, client: str | None = None, **fields: Any) -> list[str]:
        headers = {"X-Queue-Client": client} if client else {}
        jobs = [tiny(**{"seed": seed, **fields}) for seed in range(count)]
        return [job["id"] for job in self.post("/v1/jobs/batch", {"jobs": jobs}, 201, headers=headers)["jobs"]]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{job_id}")

    def states(self) -> dict[str, int]:
        """How many jobs are in each state, as the counters say."""
        found: dict[str, int] = {}
        for lane in self.get("/v1/stats")["counts"].values():
            for state, count in lane.items():
                found[state] = found.get(state, 0) + count
        return {state: count for state, count in found.items() if count}

    def wait_state(self, job_id: str, *states: str, deadline: float = DEADLINE) -> dict[str, Any]:
        def there() -> "dict[str, Any] | None":
            job = self.job(job_id)
            return job if job["state"] in states else None

        return until(there, f"job {job_id} is {' or '.join(states)}", deadline)

    def wait_drained(self, deadline: float = DEADLINE) -> dict[str, int]:
        """Until nothing waits and nothing runs; the counts by state."""
        busy = {"scheduled", "awaiting", "enqueued", "processing"}
        until(lambda: not busy & set(self.states()), "the queue is empty", deadline)
        return self.states()


@contextlib.contextmanager
def closing(*servers: Server) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            server.close()
