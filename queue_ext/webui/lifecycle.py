"""From the WebUI's start to its end: builds the queue beside the page, hangs it into the host, and takes it out again.

The queue's parts take longer to import than a WebUI should wait (SQLAlchemy, Alembic, Socket.IO), so they are imported
and started in a thread of their own while the page is served already. ``Doorway`` keeps the first requests until then.
"""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import InvalidSetting, QueueExtError, StorageUnavailable
from ..pipelines import Request
from ..settings import Settings
from . import host, settings_page
from .login import Login
from .pipeline import WebUIPipeline

if TYPE_CHECKING:
    from ..app import QueueApp
    from ..worker import Worker

log = logging.getLogger(__name__)

PREFIX = "/queue-ext"
LAST_ANSWERS = 5.0  # seconds the page's server has to end its answers at "Reload UI"
START_WAIT = 60.0  # seconds a request waits for the queue to start
AGAIN = 10.0  # seconds until a database that was not there is tried again


class NotRunning(QueueExtError, RuntimeError):
    """The queue does not run: {reason}"""

    status = 503


class Doorway:
    """Where requests wait until the queue has started; afterwards they pass through."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._inner: ASGIApp | None = None
        self._reason = "it is still starting"

    def open(self, inner: ASGIApp) -> None:
        self._inner = inner
        self._opened.set()

    def close(self, reason: str) -> None:
        """Whoever waits is told why it is in vain."""
        self._inner, self._reason = None, reason
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._opened.is_set():
            await asyncio.get_running_loop().run_in_executor(None, self._opened.wait, START_WAIT)
        if self._inner is not None:
            await self._inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013})
        elif scope["type"] == "http":
            await _refuse(self._reason, send)


async def _refuse(reason: str, send: Send) -> None:
    error = NotRunning(reason=reason)
    body = {"type": "https://queue-ext.invalid/problems/not-running", "title": error.title, "status": 503}
    body.update(detail=error.detail, code=error.code, errors=[])
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"5")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Extension:
    """The queue of one page of the WebUI: from ``on_app_started`` until it is unloaded."""

    def __init__(self, application: Any) -> None:
        self.application = application  # the host's FastAPI
        self.login = Login(application)
        self.pipeline = WebUIPipeline(application, self._pause)
        self._app: QueueApp | None = None
        self._saved: set[str] = set()  # settings that were saved before it ran
        self._doorway = Doorway()
        self._route = Mount(PREFIX, app=self._doorway, name="queue-ext")
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._start, name="queue-ext start", daemon=True)

    def start(self) -> None:
        """Hang the doorway into the host and begin to build what is behind it; returns at once."""
        self.application.router.routes.insert(0, self._route)
        self._thread.start()

    def _start(self) -> None:
        try:
            self._build()
        except QueueExtError as error:
            self._fail(error.detail)
        except Exception as error:  # a WebUI without a queue is better than none
            log.exception("the queue could not be started")
            self._fail(f"{type(error).__name__}: {error}")

    def _build(self) -> None:
        from ..app import QueueApp

        chosen = settings_page.read(Settings(data_dir=host.data_path() / "queue"))
        app = QueueApp(chosen, self.pipeline, self.login.user, self.login.required)
        while not self._stopping.is_set():
            try:
                app.start()
                break
            except StorageUnavailable as error:
                self._fail(error.detail)
                self._stopping.wait(AGAIN)
        with self._lock:
            if self._stopping.is_set():
                app.stop()
                return
            self._app = app
            for name in self._saved:  # while we were starting
                with contextlib.suppress(InvalidSetting):
                    settings_page.apply(name, app.settings)
        self._doorway.open(app.asgi)
        self._ready.set()

    def _fail(self, reason: str) -> None:
        print(f"queue extension: the queue does not run: {reason}", flush=True)
        self._doorway.close(reason)

    def queue_app(self, timeout: float = START_WAIT) -> "QueueApp":
        """The running queue; waits until it has started. Raises NotRunning."""
        if not self._ready.wait(timeout) or self._app is None:
            raise NotRunning(reason=self._doorway._reason)
        return self._app

    @property
    def running(self) -> "QueueApp | None":
        return self._app

    @property
    def _worker(self) -> "Worker | None":
        app = self._app
        return app.worker if app is not None else None

    def halt(self) -> None:
        """The host is about to interrupt everything, to restart: the running job is to know why."""
        with self._lock:
            self._stopping.set()
            worker = self._worker
        if worker is not None:
            worker.halt()

    def leave(self, patience: float) -> None:
        """The process is about to end without a word: the running job goes back, within so many seconds."""
        self.halt()
        if (worker := self._worker) is not None:
            worker.stop(patience)

    def stop(self) -> None:
        """Take everything out of the host again. The running job is next when the queue starts again."""
        self.halt()
        with contextlib.suppress(ValueError):
            self.application.router.routes.remove(self._route)
        self._doorway.close("the WebUI is restarting")
        if self._thread is not threading.current_thread():
            self._thread.join()
        app, self._app = self._app, None
        self._ready.clear()
        if app is not None:
            app.stop()

    def apply(self, name: str) -> None:
        """A setting was saved on the WebUI's page. Raises InvalidSetting."""
        with self._lock:
            app = self._app
            if app is None:
                self._saved.add(name)
        settings_page.apply(name, app.settings if app is not None else Settings())

    def _pause(self, request: Request) -> None:
        app = self._app
        if app is None or not app.settings.pause_on_oom:
            return
        lane = app.store.job(request.job_id)["queue"]
        app.store.set_paused(
            lane, True, f"job {request.job_id} ran out of memory twice; resume when there is room again"
        )


def on_restart(halt: Callable[[], None]) -> Callable[[], None]:
    """Hear of "Reload UI" before the host interrupts the running job for it; the answer undoes this.

    ``request_restart`` sets the same flag as the Interrupt button, and the command it leaves is taken away at once:
    afterwards nobody can tell the two apart.
    """
    state = host.state()
    original = getattr(state, "request_restart", None)
    if original is None:
        return lambda: None

    def request_restart() -> None:
        halt()
        host.let_go_of_pages(LAST_ANSWERS)
        original()

    def undo() -> None:
        if state.__dict__.get("request_restart") is request_restart:
            del state.__dict__["request_restart"]

    state.request_restart = request_restart
    return undo
