"""A server in a process of its own, for as long as a block lasts."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 60.0  # seconds a server may take to start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(arguments: list[str], port: int, answers_at: str, **environ: str) -> Iterator[str]:
    """Run ``python <arguments>`` until the block ends; gives its address once ``answers_at`` answers at all."""
    process = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environ})
    base = f"http://127.0.0.1:{port}"
    try:
        _wait(base + answers_at, process)
        yield base
    finally:
        process.terminate()
        process.wait(30)


def posting(url: str, body: str) -> Iterator[tuple[float, float]]:
    """One POST after the other, on one connection, for as long as it is iterated: when each was sent, seconds since the
    epoch, and its milliseconds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80)
    headers = {"Content-Type": "application/json", "X-Queue-Client": "bench-client-0001"}
    try:
        while True:
            at, began = time.time(), time.perf_counter()
            connection.request("POST", parts.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"{url} answered {answer.status}")
            yield at, (time.perf_counter() - began) * 1000
    finally:
        connection.close()


def _wait(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {url}")


@contextmanager
def queue_server(*arguments: str, **environ: str) -> Iterator[str]:
    """Our server without its page."""
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = ["-m", "queue_ext", "serve", "--no-page", "--port", str(port), "--data-dir", folder, *arguments]
        with running(command, port, "/queue-ext/v1/health", **environ) as base:
            yield base


@contextmanager
def bare_server() -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = (Path(folder) / "bare.sqlite3").as_posix()
        with running(["-m", "bench.bare", file, str(port)], port, "/", **{}) as base:
            yield base
