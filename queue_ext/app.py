"""The composition root: build, start, mount, stop. Nothing happens before ``start``; ``stop`` gives everything back."""

import asyncio
import contextlib
import logging
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import socketio
import starlette
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from .backplane import Backplane
from .clock import Clock
from .empty import WhenEmpty, wanted
from .errors import StorageUnavailable
from .events import Bus, Tail
from .identity import Authenticator, Identity
from .media import Media
from .media import storage_errors as media_errors
from .migrations import prepare
from .namespace import NAMESPACE, QueueNamespace
from .pipelines import Pipeline
from .queue import JobQueue
from .rest import create
from .rest.origins import Origins, is_preflight
from .rest.sdapi import Waiters
from .schedules import Schedules
from .settings import Settings
from .store import DEFAULT_QUEUE, Database, Store
from .tokens import Tokens
from .views import Signer
from .webhooks import Deliverer
from .worker import Worker

log = logging.getLogger(__name__)

PREFIX = "/queue-ext"
STARLETTE = tuple(int(part) for part in starlette.__version__.split(".")[:2])
DAY = 86400.0
STOP_TIMEOUT = 10.0  # seconds the event loop gets to end our task


class QueueApp:
    """One queue in one process. ``start`` and ``stop`` may be called any number of times, in turns."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        authenticate: Authenticator | None = None,
        login: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self.pipeline = pipeline
        self.identity = Identity(settings, authenticate, login)
        self._mounted: list[tuple[FastAPI, Mount]] = []
        self._started = False

    def start(self) -> None:
        """Open the database, make the tables, start worker and clock. Raises QueueExtError, and then nothing runs."""
        if self._started:
            return
        self.open()
        self.clock.recover()
        for part in self._parts:
            part.start()
        self.namespace.mailbox.begin(self.tail.first)
        self._started = True

    def open(self) -> None:
        """Open the database and make the tables, but run nothing: enough to add and to look at jobs."""
        settings = self.settings
        with media_errors():
            Media(settings.media_dir).lay_out()
        self.db = Database(settings.url, settings.table_prefix)
        try:
            self._build()
        except BaseException:
            self.db.close()
            raise

    def _build(self) -> None:
        settings = self.settings
        prepare(self.db, settings.prepare_schema)
        self.store = Store(self.db, settings.retention_days * DAY)
        self.store.filters.load(Path(settings.data_dir))
        self.store.put_queue(DEFAULT_QUEUE, {})
        self.identity.tokens = Tokens(self.store.secret("tokens"))
        self.queue = JobQueue(
            settings,
            self.store,
            Media(settings.media_dir),
            self.pipeline,
            self.identity,
            Signer(self.store.secret("pictures")),
        )
        self.bus = Bus()
        self.tail = Tail(self.store, self.bus, settings.poll_interval_s)
        self.store.on_commit = self.tail.hand
        self.waiters = Waiters()
        self.namespace = QueueNamespace(self.queue, self.waiters.finished, self.waiters.any)
        self.bus.subscribe(self.namespace.mailbox.put_events)
        self.worker = (
            Worker(self.queue, self.bus, self.pipeline, self.namespace.put_progress, self.namespace.wants_preview)
            if settings.worker
            else None
        )
        self.schedules = Schedules(self.queue)
        self.clock = Clock(self.queue, self.schedules, self.bus, lambda: self.worker.id if self.worker else None)
        self.backplane = (
            Backplane(settings.redis_url, settings.table_prefix, self.tail.wake, self.bus)
            if settings.redis_url
            else None
        )
        self.deliverer = Deliverer(self.queue, self.bus) if settings.webhook_hosts else None
        self.when_empty = WhenEmpty(self.queue, self.bus) if wanted(settings) else None
        self._parts: list[Any] = [
            part
            for part in (self.tail, self.backplane, self.deliverer, self.when_empty, self.worker, self.clock)
            if part is not None
        ]
        self.asgi: ASGIApp = self._doors()

    def _doors(self) -> ASGIApp:
        settings = self.settings
        self.sio = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=socketio.AsyncRedisManager(settings.redis_url, channel=f"{settings.table_prefix}socketio")
            if settings.redis_url
            else None,
            namespaces=[NAMESPACE],
            cors_allowed_origins=[],
            ping_interval=(settings.ping_interval_s, _grace(settings.ping_interval_s)),
            ping_timeout=settings.ping_timeout_s,
            max_http_buffer_size=int(settings.max_payload_mb * 1_000_000),
            logger=logging.getLogger("queue_ext.socketio"),
            engineio_logger=_terse(logging.getLogger("queue_ext.engineio")),
        )
        self.sio.register_namespace(self.namespace)
        self._pings = _collected_pings(self.sio)
        rest = create(self.queue, lambda: self.worker)
        rest.state.waiters = self.waiters
        rest.state.schedules = self.schedules
        return Doors(rest, socketio.ASGIApp(self.sio), self.namespace, settings.cors_allowed_origins)

    def mount(self, host: FastAPI) -> None:
        """Hang everything below ``/queue-ext`` of an application, also one whose server runs already."""
        route = Mount(PREFIX, app=self.asgi, name="queue-ext")
        host.router.routes.insert(0, route)
        self._mounted.append((host, route))

    def stop(self) -> None:
        """Give back every thread, task, connection and file. The running job is next when the queue starts again."""
        if not self._started:
            return
        self._started = False
        for host, route in self._mounted:
            with contextlib.suppress(ValueError):
                host.router.routes.remove(route)
        self._mounted.clear()
        for part in reversed(self._parts):
            try:
                part.stop()
            except StorageUnavailable as error:
                log.warning("%s did not stop cleanly: %s", type(part).__name__, error)
        self._stop_loop_side()
        self.pipeline.close()
        self.db.close()

    def _stop_loop_side(self) -> None:
        """End the emitter and the sockets in the loop they live in, from whatever thread this is."""
        loop = self.namespace.loop
        if loop is None or loop.is_closed() or not loop.is_running():
            return
        if _runs_here(loop):
            self._closing = loop.create_task(self._close_sockets())
            return
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close_sockets(), loop).result(STOP_TIMEOUT)

    async def aclose(self) -> None:
        """As ``stop``, for callers in the event loop: everything has ended when it returns."""
        await self.close_sockets()
        await asyncio.get_running_loop().run_in_executor(None, self.stop)

    async def close_sockets(self) -> None:
        if self._started:
            await self._close_sockets()

    async def _close_sockets(self) -> None:
        await self.namespace.stop()
        await self.sio.shutdown()
        for ping in list(self._pings):
            ping.cancel()
        listener = getattr(self.sio.manager, "thread", None)
        if isinstance(listener, asyncio.Task):
            listener.cancel()


def _grace(interval_s: float) -> float:
    """Seconds browsers are told beyond the time between two pings, which makes a whole number: of the sum Engine.IO tells
    the whole seconds alone, and a browser that was told 0 for 0.5 hangs up while the ping is on its way."""
    return math.ceil(interval_s) - interval_s + 0.001


def _collected_pings(sio: Any) -> "weakref.WeakSet[asyncio.Task[None]]":
    """The tasks of Engine.IO that sleep until the next ping, also that of a connection which has ended meanwhile."""
    begin = sio.eio.start_background_task
    pings: weakref.WeakSet[asyncio.Task[None]] = weakref.WeakSet()

    def begin_and_tell(target: Any, *args: Any, **kwargs: Any) -> Any:
        task = begin(target, *args, **kwargs)
        if getattr(target, "__name__", "") == "_send_ping":
            pings.add(task)
        return task

    sio.eio.start_background_task = begin_and_tell
    return pings


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class _Terse(logging.Filter):
    """A frame that cannot be read is worth a line of the log, not a page."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args = "%s: %r", (record.getMessage(), record.exc_info[1])
            record.exc_info = None
        return True


def _terse(logger: logging.Logger) -> logging.Logger:
    if not any(isinstance(each, _Terse) for each in logger.filters):
        logger.addFilter(_Terse())
    return logger


class Doors:
    """Sends sockets to Socket.IO and the rest to REST, whatever the path was cut to on the way here."""

    def __init__(self, rest: ASGIApp, sockets: ASGIApp, namespace: QueueNamespace, origins: tuple[str, ...]) -> None:
        self._origins = Origins(origins)
        self._rest = self._origins.around(rest)
        self._sockets = self._origins.around(sockets)
        self._namespace = namespace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        self._namespace.ensure_running()
        path = _below(scope)
        is_socket = path.startswith("/socket.io")
        # Of REST only the question is refused: whoever is not a browser may say any origin.
        if (is_socket or is_preflight(scope)) and not self._origins.welcome(scope):
            return await self._origins.refuse(scope, receive, send)
        if not is_socket:
            return await self._rest(_whole(scope, path), receive, send)
        inner = {**scope, "path": "/socket.io/", "root_path": "", "queue_ext.prefix": scope.get("root_path")}
        try:
            await self._sockets(inner, receive, send)
        except Exception as error:
            if scope["type"] != "websocket":
                raise
            log.warning("a socket is closed over what it sent: %r", error)


def _below(scope: Scope) -> str:
    """The path below ``/queue-ext``. A proxy may have cut off the root path, and an old Starlette what was mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and path.startswith(root + "/"):
        return path[len(root) :]
    return path.removeprefix(PREFIX) if root else path


def _whole(scope: Scope, below: str) -> Scope:
    """The scope as this Starlette's routing wants it: from 0.33 on with the root path before the path."""
    root = scope.get("root_path", "") if STARLETTE >= (0, 33) else ""
    return {**scope, "path": root + below, "raw_path": (root + below).encode()}


__all__ = ["PREFIX", "QueueApp"]
