"""``pytest tests/hosts --webui-dir PATH`` starts the WebUI found there with this checkout linked in as an extension.

``--webui-command`` gives the command that starts it, run in that folder with the flags of the test behind it; by
default the folder's own ``venv/bin/python launch.py``. The WebUI keeps its config, outputs and queue in a folder of the
test.
"""

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .page import ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
BOOM = Path(__file__).resolve().parent / "boom"
READY = "Startup time"
UNVERIFIED = ssl._create_unverified_context()  # the certificate of a test is its own
START_LIMIT = 400.0  # seconds
FLAGS = [
    "--skip-prepare-environment",
    "--disable-nan-check",
    "--skip-version-check",
    "--skip-python-version-check",
    "--no-download-sd-model",
]
CPU = {"forge": ["--always-cpu"], "a1111": ["--no-half", "--use-cpu", "all"]}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--webui-dir", help="a checkout of AUTOMATIC1111 or Forge to run tests/hosts in")
    parser.addoption("--webui-command", help="how to start it, such as '../a1111-venv/bin/python launch.py'")
    parser.addoption("--webui-models", help="a folder with at least two checkpoints; default: its own")


class WebUI:
    """A running WebUI."""

    def __init__(self, folder: Path, command: list[str], data: Path, models: str, flags: list[str]) -> None:
        self.folder, self.data = folder, data
        self.is_forge = (folder / "modules_forge").is_dir()
        self.port = _free_port()
        self.log = data / "webui.log"
        self.scheme = "https" if "--tls-certfile" in flags else "http"
        own = [*FLAGS, *CPU["forge" if self.is_forge else "a1111"], "--port", str(self.port), "--data-dir", str(data)]
        self.command = [*command, *own, "--ckpt-dir", models, *flags]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "COMMANDLINE_ARGS": "", "SD_WEBUI_RESTARTING": "1",
            "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # else every start compiles all of gradio
        }  # fmt: skip
        with self.log.open("ab") as log:
            before = self.starts()
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.wait_for_start(before)

    def starts(self) -> int:
        return self.log.read_text(errors="replace").count(READY) if self.log.exists() else 0

    def wait_for_start(self, before: int) -> None:
        """By the log: a request that comes too early ends AUTOMATIC1111's start."""
        end = time.monotonic() + START_LIMIT
        while self.starts() <= before:
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail("the WebUI did not start:\n" + self.log.read_text(errors="replace")[-3000:])
            time.sleep(0.2)
        time.sleep(1.0)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is None:
            return
        os.killpg(self.process.pid, how)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def reload(self) -> None:
        """Press "Reload UI"."""
        config = self.get("/config")
        deps = config["dependencies"]
        number = next(n for n, item in enumerate(deps) if item.get("js") == "restart_reload")
        body = {"fn_index": deps[number].get("id", number), "data": [], "session_hash": "reload"}
        before = self.starts()
        self.ask("POST", "/run/predict" if config["version"].startswith("3") else "/queue/join", body)
        self.wait_for_start(before)

    def threads(self) -> list[str]:
        """Names of the kernel's threads of the process are useless: their number is what can be compared."""
        assert self.process is not None
        return os.listdir(f"/proc/{self.process.pid}/task") if sys.platform == "linux" else []

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 120
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        address = f"{self.scheme}://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(
            address, data, {"Content-Type": "application/json", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=UNVERIFIED) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def get(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, body
        return body

    def enqueue(self, payload: dict[str, Any], task: str = "txt2img", **fields: Any) -> str:
        status, job = self.ask("POST", "/queue-ext/v1/jobs", {"task": task, "payload": payload, **fields})
        assert status == 201, job
        return str(job["id"])

    def job(self, job_id: str) -> Any:
        return self.get(f"/queue-ext/v1/jobs/{job_id}")

    def wait(self, job_id: str, *states: str, seconds: float = 120) -> Any:
        """The job as soon as it is in one of the states; by default, as soon as it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.job(job_id)
            if job["state"] in (states or ("succeeded", "failed", "deleted")):
                return job
            time.sleep(0.05)
        pytest.fail(f"{job_id} is {job['state']} after {seconds} s: {job['reason']}")

    def begun(self, job_id: str) -> Any:
        """The job as soon as the sampler is at work on it."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            job = self.job(job_id)
            if job["state"] == "processing" and job["progress"] and job["progress"]["step"]:
                return job
            assert job["state"] in ("enqueued", "processing"), job
            time.sleep(0.05)
        pytest.fail(f"{job_id} did not begin")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def webui(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """The real host; a module's ``FLAGS`` are its command-line options, or make them of a folder. Skipped without ``--webui-dir``."""
    given = request.config.getoption("--webui-dir", None)
    if not given:
        pytest.skip("needs --webui-dir PATH, a checkout of a WebUI")
    folder = Path(given).resolve()
    command = request.config.getoption("--webui-command", None) or f"{folder / 'venv/bin/python'} launch.py"
    models = request.config.getoption("--webui-models", None) or str(folder / "models/Stable-diffusion")
    data = tmp_path_factory.mktemp("webui")
    (data / "extensions").mkdir()
    (data / "extensions/queue-ext").symlink_to(ROOT)
    (data / "extensions/queue-ext-boom").symlink_to(BOOM)
    flags = getattr(request.module, "FLAGS", ["--api"])
    found = WebUI(folder, shlex.split(command), data, models, list(flags(data) if callable(flags) else flags))
    try:
        found.start()
        yield found
    finally:
        found.stop()


# --- hosts of test_host.py: stand-ins, or the checkout ---------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        from .environments import FLAVOURS

        real = metafunc.config.getoption("--webui-dir", None)
        metafunc.parametrize("place", ["real"] if real else FLAVOURS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest) -> Any:
    from .environments import Environments

    assert request.config.cache is not None
    return Environments(Path(request.config.cache.mkdir("hosts")))


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where the host of these tests is."""
    from . import hosts

    if request.param == hosts.REAL:
        return hosts.real(request.config)
    python = request.getfixturevalue("environments").python(request.param)
    return hosts.stand_in(request.param, python, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def host(place: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A WebUI with its page and its API."""
    yield from _started(place, tmp_path_factory.mktemp("host"), ["--api"])


@pytest.fixture
def bare_host(place: Any, tmp_path: Path) -> Iterator[Any]:
    """A WebUI without a page."""
    yield from _started(place, tmp_path, ["--nowebui"])


def _started(place: Any, data: Path, flags: list[str]) -> Iterator[Any]:
    from .hosts import Host

    made = Host(place, data, flags)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def browser_arguments() -> list[str]:
    """Of a Chromium that asks nobody but this machine."""
    return ARGUMENTS


@pytest.fixture
def root(webui: WebUI) -> str:
    """The address of the real host's page."""
    return f"http://127.0.0.1:{webui.port}"
