"""The contract as it is served: OpenAPI, AsyncAPI and a page that shows both without anything from the internet."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from .page import page

FOLDER = Path(__file__).parent
router = APIRouter(include_in_schema=False)
DEFAULT_PREFIX = "/queue-ext"


@lru_cache
def document(name: str) -> dict[str, Any]:
    """``openapi`` or ``asyncapi`` as it was made; not to be changed."""
    made: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return made


def _prefix(request: Request) -> str:
    return request.scope.get("root_path", "") or DEFAULT_PREFIX


@router.get("/v1/openapi.json")
async def show_openapi(request: Request) -> JSONResponse:
    return JSONResponse({**document("openapi"), "servers": [{"url": _prefix(request)}]})


@router.get("/v1/asyncapi.json")
async def show_asyncapi(request: Request) -> JSONResponse:
    made = document("asyncapi")
    here = {
        **made["servers"]["queue"],
        "host": request.url.netloc,
        "pathname": f"{_prefix(request)}/socket.io",
        "protocol": "wss" if request.url.scheme == "https" else "ws",
    }
    return JSONResponse({**made, "servers": {"queue": here}})


@router.get("/docs")
@router.get("/v1/docs")
async def show_page(request: Request) -> HTMLResponse:
    return HTMLResponse(
        _page(_prefix(request)), headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    )


@lru_cache(8)
def _page(prefix: str) -> str:
    return page(document("openapi"), document("asyncapi"), prefix)
