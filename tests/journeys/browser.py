"""A real Socket.IO client that remembers everything it is told."""

import asyncio
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import socketio

from .server import DEADLINE, LOOK, PREFIX, Server

NAMESPACE = "/queue"
NEWS = ("job", "result", "failed")


class Browser:
    """One connection. ``heard`` holds (event, data) in the order of arrival, over reconnections too."""

    def __init__(self, server: Server, client_id: str | None = None, transport: str = "websocket") -> None:
        self.server = server
        self.client_id = client_id
        self.transport = transport
        self.heard: list[tuple[str, Any]] = []
        self.live_from = 0  # where in ``heard`` the present connection begins
        self.client: Any = None

    async def open(self, since: int | None = None, hello: bool = True, **headers: str) -> Any:
        """Connect and say hello; its answer."""
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self._note, namespace=NAMESPACE)
        self.live_from = len(self.heard)
        auth = {
            **({"client_id": self.client_id} if self.client_id else {}),
            **({"since": since} if since is not None else {}),
        }
        await self.client.connect(
            self.server.root, headers=headers, auth=auth, transports=[self.transport], namespaces=[NAMESPACE],
            socketio_path=f"{PREFIX}/socket.io", wait_timeout=DEADLINE,
        )  # fmt: skip
        return await self.ask("hello") if hello else None

    async def _note(self, event: str, *data: Any) -> None:
        self.heard.append((event, data[0] if data else None))

    async def say(self, event: str, data: Any = None) -> Any:
        return await self.client.call(event, data, namespace=NAMESPACE, timeout=DEADLINE)

    async def ask(self, event: str, data: Any = None) -> Any:
        """The acknowledgement of an event that is expected to go well."""
        answer = await self.say(event, data)
        assert answer["ok"], answer
        return answer

    async def close(self) -> None:
        if self.client is not None and self.client.connected:
            await self.client.disconnect()

    async def cut(self) -> None:
        """Lose the connection without a word, as a phone in a tunnel does."""
        await self.client.eio._abort() if hasattr(self.client.eio, "_abort") else await self.client.eio.disconnect(
            abort=True
        )
        if self.client.eio.http is not None and not self.client.eio.http.closed:
            await self.client.eio.http.close()

    async def __aenter__(self) -> "Browser":
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- what was heard --------------------------------------------------------------------------------------------

    def of(self, *events: str) -> list[Any]:
        return [data for event, data in self.heard if event in events]

    def states(self, job_id: str) -> list[str]:
        """The states a job was told to be in, without repetition."""
        found: list[str] = []
        for data in self.of("job"):
            if data["id"] == job_id and (not found or found[-1] != data["state"]):
                found.append(data["state"])
        return found

    def results(self) -> list[str]:
        return [data["job_id"] for data in self.of("result")]

    def news(self) -> Iterator[tuple[str, Any]]:
        return ((event, data) for event, data in self.heard if event in NEWS)

    async def until(self, condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
        """The first true value of ``condition`` while listening."""
        return await until(condition, what, deadline)


async def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """As ``server.until``, for those who listen meanwhile; ``condition`` may be a coroutine function."""
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {deadline:g} s"
        await asyncio.sleep(LOOK)


async def off(action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run what blocks in a thread, while the browsers listen."""
    return await asyncio.to_thread(action, *args, **kwargs)
