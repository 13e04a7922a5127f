"""The routes as OpenAPI: FastAPI's own description, with the shapes of the answers added."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..compat import json_schemas
from ..wire import ANSWERS, Job, Lane, Schedule

PLACE = "#/components/schemas/{model}"
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
    return document
