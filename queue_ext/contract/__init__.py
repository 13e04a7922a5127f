"""The contract as documents: OpenAPI, AsyncAPI 3 and TypeScript, made of the server's own models by one command.

The first two are kept beside the routes that serve them, so that every host serves the same ones whatever versions of
FastAPI and pydantic it has; the types are the composable's. ``python -m queue_ext contract`` brings them up to date.
"""

import json
from collections.abc import Callable
from pathlib import Path

from ..rest.application import described
from ..rest.contract import FOLDER
from .asyncapi import asyncapi
from .openapi import openapi
from .typescript import typescript

ROOT = Path(__file__).parent.parent.parent


def _json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


DOCUMENTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "openapi": (FOLDER / "openapi.json", lambda: _json(openapi(described()))),
    "asyncapi": (FOLDER / "asyncapi.json", lambda: _json(asyncapi())),
    "types": (ROOT / "examples" / "use-queue" / "src" / "contract.ts", typescript),
}


def outdated() -> list[str]:
    """The documents that do not say what the models say; one whose folder is not here (no checkout) is left out."""
    return [
        name
        for name, (file, make) in DOCUMENTS.items()
        if file.parent.is_dir() and not (file.is_file() and file.read_text(encoding="utf-8") == make())
    ]


def refresh() -> list[Path]:
    """Write what is outdated; the files that were written."""
    changed = [DOCUMENTS[name] for name in outdated()]
    for file, make in changed:
        file.write_text(make(), encoding="utf-8", newline="\n")
    return [file for file, _ in changed]


__all__ = ["DOCUMENTS", "outdated", "refresh"]
