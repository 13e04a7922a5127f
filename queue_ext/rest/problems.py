"""Errors as RFC 9457 problems, and the limit on what a body may weigh."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..compat import faults
from ..errors import (
    InvalidRequest,
    LimitReached,
    MethodNotAllowed,
    QueueExtError,
    RouteNotFound,
    StorageUnavailable,
    TooLarge,
    invalid,
)
from ..sentences import told
from ..texts import language
from ..tokens import TokenRefused

log = logging.getLogger(__name__)

JSON = "application/problem+json"
GONE = 499  # the client closed the connection; nginx's number for it
PARTS = ("body", "query", "path", "header")  # of a request, as FastAPI names them before the place in them
RETRY_STORAGE = 5  # seconds after which a full disk or an absent database is worth another try


def problem(error: QueueExtError, lang: str = "en") -> dict[str, Any]:
    """The body of contract, section 4."""
    detail, faults = told(lang, error)
    return {
        "type": f"https://queue-ext.invalid/problems/{error.code.replace('_', '-')}",
        "title": error.title,
        "status": error.status,
        "detail": detail,
        "code": error.code,
        "errors": faults,
    }


def answer(error: QueueExtError, lang: str = "en") -> Response:
    """The response that says what was wrong."""
    headers = {}
    if isinstance(error, LimitReached):
        headers["Retry-After"] = str(error.values["retry_after"])
    if isinstance(error, StorageUnavailable):
        headers["Retry-After"] = str(RETRY_STORAGE)
    if error.status == 401:
        # A browser asks its user for a password when it reads Basic; for a token the page has to get another.
        headers["WWW-Authenticate"] = (
            'Bearer error="invalid_token"' if isinstance(error, TokenRefused) else 'Basic realm="queue"'
        )
    # In ASCII: what is repeated from a bad request may hold half a surrogate pair, which UTF-8 does not know.
    return Response(json.dumps(problem(error, lang)), error.status, headers, media_type=JSON)


class HttpProblem(QueueExtError):
    """{detail}"""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail=detail)
        self.status = status


def install(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""

    @app.exception_handler(QueueExtError)
    async def on_error(request: Request, error: QueueExtError) -> Response:
        return answer(error, _language(request))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        asked = getattr(getattr(request.scope.get("route"), "body_field", None), "type_", None)
        found = [_without_place(fault) for fault in faults(error.errors(), shape=asked)]
        if [fault["loc"] for fault in found] == [["body"]] and "json" not in request.headers.get("content-type", ""):
            found[0]["msg"] = 'must be JSON, sent with the header "Content-Type: application/json"'
        return answer(InvalidRequest(found), _language(request))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return answer(not_found(request), _language(request))
        if error.status_code == 400:  # what is not even text, or nested deeper than Python goes
            return answer(invalid("body", msg="must be JSON"), _language(request))
        if error.status_code == 405:
            return _not_allowed(request)
        return answer(HttpProblem(error.status_code, str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def on_gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)  # which nobody reads any more

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(HttpProblem(500, "the queue has a defect here; its log says more"), _language(request))


def _language(request: Request) -> str:
    return language(request.headers.get("accept-language"))


def not_found(request: Request) -> RouteNotFound:
    """For whoever asks for what is not there: where to read what is."""
    return RouteNotFound(path=request.url.path, docs=f"{request.scope.get('root_path', '')}/docs")


def _not_allowed(request: Request) -> Response:
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    allowed = ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))
    response = answer(MethodNotAllowed(method=request.method, allowed=allowed), _language(request))
    response.headers["Allow"] = allowed
    return response


def _without_place(fault: dict[str, Any]) -> dict[str, Any]:
    """``("body", "width")`` is ``("width",)``: only what a person wrote."""
    place = fault["loc"][1:] if len(fault["loc"]) > 1 and fault["loc"][0] in PARTS else fault["loc"]
    if fault["loc"][0] == "body" and any(isinstance(part, int) for part in fault["loc"]) and "JSON" in fault["msg"]:
        place = ["body"]
    return {**fault, "loc": list(place)}


class BodyLimit:
    """ASGI middleware: a body above ``limit`` bytes is a 413, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.limit:
            return await self._refuse(scope, receive, send)
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, exceeded, started = 0, False, False

        async def counting() -> Message:
            nonlocal seen, exceeded
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                exceeded = True
                return {"type": "http.disconnect"}
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            if not exceeded:
                started = True
                await send(message)

        try:
            await self.app(scope, counting, sending)
        except Exception:
            if not exceeded:
                raise
        if exceeded and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        lang = language(Headers(scope=scope).get("accept-language"))
        await answer(TooLarge(limit_mb=f"{self.limit / 1e6:g}"), lang)(scope, receive, send)
