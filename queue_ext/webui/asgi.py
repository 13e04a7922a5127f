"""Asks an application of this process, without a socket."""

import asyncio
from collections.abc import Mapping
from typing import Any

PASSED_ON = ("authorization", "content-type", "cookie", "accept")


async def ask(
    app: Any, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "server": ("127.0.0.1", 0),
        "client": ("127.0.0.1", 0), "headers": _raw(headers, len(body)),
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    status, kind, parts = 500, "application/json", []

    async def receive() -> dict[str, Any]:
        if not waiting:
            await (
                asyncio.Event().wait()
            )  # we stay until the answer is there; whoever listens for our leaving is cancelled then
        return waiting.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, kind
        if message["type"] == "http.response.start":
            status = message["status"]
            kind = dict(message["headers"]).get(b"content-type", kind.encode()).decode("latin-1")
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, kind, b"".join(parts)


def _raw(headers: Mapping[str, str], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name.lower().encode(), headers[name].encode("latin-1")) for name in headers if name.lower() in PASSED_ON]
    return [(b"host", b"127.0.0.1"), (b"content-length", str(length).encode()), *kept]
