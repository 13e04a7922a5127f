"""What every route needs: the queue, who is asking, and a thread to work in."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ..errors import InvalidRequest, QueueExtError, invalid
from ..identity import COOKIE, Owner, Visitor, new_client_id
from ..queue import JobQueue
from ..texts import language

T = TypeVar("T")
COOKIE_AGE = 400 * 86400  # seconds; browsers allow no more


class Caller:
    """The sender of one request."""

    def __init__(self, queue: JobQueue, request: Request) -> None:
        self.queue = queue
        self.request = request
        self.lang = language(request.headers.get("accept-language"))
        self.visitor = Visitor(
            headers=request.headers,
            cookies=request.cookies,
            address=request.client.host if request.client else None,
        )
        self.owner: Owner = queue.identity.owner(self.visitor)
        queue.signer.prefix = request.scope.get("root_path", "") or "/queue-ext"

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
        """JSON; a browser without a name gets one with it."""
        response = JSONResponse(content, status, headers)
        self.greet(response)
        return response

    def greet(self, response: Response) -> None:
        if not self.owner.known:
            name_browser(response, self.request)


def name_browser(response: Response, request: Request) -> None:
    """Set the cookie by which a browser is known from now on."""
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, new_client_id(), max_age=COOKIE_AGE, httponly=True, samesite="lax", secure=secure, path="/"
    )


async def caller(request: Request) -> Caller:
    """Who is asking. Raises NotAuthenticated."""
    return Caller(request.app.state.queue, request)


async def json_body(request: Request) -> Any:
    """The body as JSON. Raises InvalidRequest, also for what is nested deeper than Python goes."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise invalid("body", msg="must be JSON") from None


async def known_query(request: Request) -> None:
    """Who mistypes a filter would be given everything, and who means to try something would have done it.

    Where nothing can be chosen and nothing is changed, whatever a monitor or a cache adds is let be.
    Raises InvalidRequest.
    """
    known = sorted(field.alias for field in request.scope["route"].dependant.query_params)
    unknown = sorted(set(request.query_params) - set(known))
    if unknown and (known or request.method != "GET"):
        msg = f"is not a known parameter; {'known are ' + ', '.join(known) if known else 'there are none here'}"
        raise InvalidRequest([{"loc": [name], "msg": msg} for name in unknown])


async def work(action: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run what waits for the database in a thread."""
    return await run_in_threadpool(action, *args, **kwargs)


__all__ = ["Caller", "QueueExtError", "caller", "json_body", "known_query", "work"]
