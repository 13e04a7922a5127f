"""Pages of other sites: which may use the queue, and what the others are told."""

import logging

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import QueueExtError
from .problems import answer

log = logging.getLogger(__name__)

TOLD_LIMIT = 100  # origins the log is told of, once each


class OriginRefused(QueueExtError, PermissionError):
    """Pages of {origin} may not use this queue; its administrator can allow them with the setting cors_allowed_origins."""

    status = 403


class Origins:
    """Those the administrator named, besides the queue's own pages."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._told: set[str] = set()

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application that tells browsers which pages may read its answers; cookies are for its own pages alone."""
        if not self._allowed:
            return app
        return CORSMiddleware(
            app,
            allow_origins=list(self._allowed),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "ETag"],
            max_age=7200,
        )

    def welcome(self, scope: Scope) -> bool:
        """Whether a browser's page may speak with us: one of ours, or one the administrator named."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        own = {headers.get("host"), headers.get("x-forwarded-host", "").split(",")[0].strip()}
        place = origin.partition("://")[2]  # nothing in "null", which is what a page in a sandbox calls itself
        return bool(place) and place in own

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so to the browser, and once for each origin to the log.

        The refused page may read the reason, and nothing but the reason: it is what its console and its user need.
        """
        origin = dict(scope["headers"]).get(b"origin", b"").decode("latin-1")
        self._tell(origin)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403})
            return
        response = answer(OriginRefused(origin=origin))
        if scope["method"] != "OPTIONS":
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
        await response(scope, receive, send)

    def _tell(self, origin: str) -> None:
        if origin not in self._told and len(self._told) < TOLD_LIMIT:
            self._told.add(origin)
            log.warning("a page of %s was refused; allow it with the setting cors_allowed_origins", origin)


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if a page of another site may send a request."""
    names = {name for name, _ in scope["headers"]}
    return scope.get("method") == "OPTIONS" and b"access-control-request-method" in names
