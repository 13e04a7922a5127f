"""The routes as OpenAPI: FastAPI's own description, with the shapes of the answers added, and refusals as ours are."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..compat import json_schemas
from ..rest.examples import PROBLEM
from ..wire import ANSWERS, Job, Lane, Schedule

PLACE = "#/components/schemas/{model}"
FASTAPIS = ("HTTPValidationError", "ValidationError")
SHOWN = {**ANSWERS, "Job": Job, "Lane": Lane, "Schedule": Schedule}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document for an application with all routes. ``servers`` is filled in when it is served."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    _, definitions = json_schemas(SHOWN, PLACE)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in definitions:
        schemas.setdefault(name, definitions[name])
    _refuse_as_we_do(document)
    return document


def _refuse_as_we_do(document: dict[str, Any]) -> None:
    """FastAPI says of every route with parameters that it answers 422 as FastAPI would."""
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        refused = operation["responses"].get("422", {})
        if "application/json" in refused.get("content", {}):
            operation["responses"]["422"] = PROBLEM
    for name in FASTAPIS:
        document["components"]["schemas"].pop(name, None)
