"""The page of ``python -m queue_ext serve``: the tab with its form, at the server's root."""

import inspect
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..identity import COOKIE
from ..rest.doors import name_browser
from . import Host, build_tab, vendor


def mount_page(server: Any, app: Host) -> Any:
    """Mount the page on a FastAPI application, which is the answer.

    Call it last: what is mounted at the root answers everything that nobody before it did.
    """
    import gradio

    vendor.ensure()
    blocks = build_tab(app, form=True)
    # Gradio 3.41 knows neither of them and takes the root from each request.
    options = {"max_file_size": f"{app.settings.max_payload_mb:g}mb", "root_path": server.root_path or None}
    known = inspect.signature(gradio.mount_gradio_app).parameters
    server.add_middleware(Greeting)
    gradio.mount_gradio_app(server, blocks, path="/", **{key: value for key, value in options.items() if key in known})
    return server


class Greeting:
    """Gives a browser its name with the page itself: what somebody queues before any other answer is theirs as well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "")
        if scope["type"] != "http" or scope["path"] not in ("/", root, f"{root}/") or COOKIE in Request(scope).cookies:
            return await self._app(scope, receive, send)

        async def greeting(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = Response()
                name_browser(named, Request(scope))
                MutableHeaders(scope=message).append("set-cookie", named.headers["set-cookie"])
            await send(message)

        await self._app(scope, receive, greeting)
