"""The front-ends of ``examples/``: built once, served from an origin of their own, driven in Chromium."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from ..conftest import require
from .server import ROOT, Server

DEADLINE = 20_000  # ms for anything to appear
NPM_TIMEOUT = 300  # seconds
LIVE = '.state[data-state="live"]'


class Built:
    """A copy of ``examples/`` with its packages installed from the lock file and the Vue example built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "examples"
        ignored = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(ROOT / "examples", self.folder, ignore=ignored)
        self.npm("ci", "--prefer-offline")
        self.npm("run", "build")

    def npm(self, *arguments: str, **environ: str) -> str:
        """What ``npm`` says; fails with it."""
        npm = shutil.which("npm")
        if npm is None:
            require("npm is not installed")
        done = subprocess.run(
            [str(npm), *arguments], cwd=self.folder, env={**os.environ, "NO_COLOR": "1", **environ},
            capture_output=True, text=True, timeout=NPM_TIMEOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def site(self) -> Path:
        return self.folder / "vue" / "dist"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """The address of a web server that serves a folder: another origin than the queue's."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def asleep(browser: Any) -> Iterator[None]:
    """No page of the browser runs meanwhile, nor answers; what Chromium calls frozen still ran timers and sockets."""
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [psutil.Process(each["id"]) for each in told if each["type"] == "renderer"]
    assert pages
    for page in pages:
        page.suspend()
    try:
        yield
    finally:
        for page in pages:
            page.resume()


class LateHello:
    """Stands between the sockets of a browser's pages and their server, from the next load of a page on."""

    def __init__(self, context: Any) -> None:
        self.held: list[Callable[[], None]] = []
        self._holding = ""  # the greeting or its answer
        self._told: list[str] = []  # frames of the present connection
        self._asked = ""  # what the answer to its greeting begins with
        self._open: Any = None
        context.route_web_socket(re.compile("socket[.]io"), self._between)

    def _between(self, page: Any) -> None:
        server = page.connect_to_server()
        self._open, self._told = page, []

        def send(frame: Any) -> None:
            if greeting := re.match(r'42/queue,(\d+)\["hello"', str(frame)):
                self._asked = f"43/queue,{greeting[1]}["
            if greeting and self._holding == "greeting":
                self.held.append(lambda: server.send(frame))
            else:
                server.send(frame)

        def hear(frame: Any) -> None:
            if self._holding == "answer" and str(frame).startswith(self._asked):
                self.held.append(lambda: page.send(frame))
            else:
                self._told.append(str(frame))
                page.send(frame)

        page.on_message(send)
        server.on_message(hear)

    def hold(self, what: str = "greeting") -> None:
        """The connection is lost, and the ``greeting`` of the next one, or the ``answer`` to it, arrives late."""
        self._holding = what
        self._open.close()

    def told(self, text: str) -> bool:
        """Whether the server has told of such a thing since the page came back."""
        return any(text in frame for frame in self._told)

    def let_go(self) -> None:
        for send in self.held:
            send()
        self._over()

    def refuse(self) -> None:
        """Answer the greeting as the server does when its database is away."""
        error = {"code": "storage_unavailable", "detail": "The queue cannot store this now.", "errors": []}
        self._open.send(f"{self._asked}{json.dumps({'ok': False, 'error': error})}]")
        self._over()

    def hang_up(self) -> None:
        """The server ends the connection, as it does when it stops and when a token ends."""
        self._open.send("41/queue,")

    def _over(self) -> None:
        self.held.clear()
        self._holding = ""


class Visitor:
    """Somebody with a browser of their own who uses the Vue example."""

    def __init__(self, browser: Any, site: str, server: Server, **options: Any) -> None:
        self.site, self.server = site, server
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.context.set_default_timeout(DEADLINE)
        self.errors: list[str] = []  # of our own code
        self.console: list[str] = []
        self.page = self.tab()

    def tab(self) -> Any:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.console.append(message.text))
        page.goto(f"{self.site}/?server={self.server.root}")
        return page

    def enter(self) -> "Visitor":
        self.page.locator(".guest").click()
        self.page.locator(LIVE).wait_for()
        return self

    @property
    def secret(self) -> str:
        return str(self.page.evaluate("localStorage.getItem('queue-client-id')"))

    def submit(self, prompt: str, steps: int = 5) -> str:
        """Write a prompt and press the button; the job's id."""
        self.page.locator("[name=prompt]").fill(prompt)
        self.page.locator("[name=steps]").fill(str(steps))
        with self.page.expect_response(lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 201) as told:
            self.page.locator("button.main").click()
        return str(told.value.json()["id"])

    def row(self, job_id: str, page: Any = None) -> Any:
        return (page or self.page).locator(f".line .job[data-id='{job_id}']")

    def tile(self, job_id: str, page: Any = None) -> Any:
        return (page or self.page).locator(f".tile[data-id='{job_id}'] img")

    def online(self) -> None:
        """The network is back, and the browser says so."""
        self.context.set_offline(False)
        self.page.evaluate("dispatchEvent(new Event('online'))")
        self.page.locator(LIVE).wait_for()

    def close(self) -> None:
        self.context.close()
        assert not self.errors
