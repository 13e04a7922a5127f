"""The extension's own FastAPI application, mounted whole: its errors and origins are nobody else's business."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI

from .. import __version__
from ..queue import JobQueue
from . import contract, jobs, pictures, problems, queues, schedules, sdapi, system
from .doors import known_query
from .tabfiles import TabFiles

STATIC = Path(__file__).parent.parent / "tab" / "static"


def create(queue: JobQueue, worker: Callable[[], Any]) -> FastAPI:
    """REST, the drop-in API and the tab's files, all below where it is mounted."""
    app = described()
    app.state.queue = queue
    app.state.worker = worker
    problems.install(app)
    if STATIC.is_dir():
        app.mount("/tab", TabFiles(STATIC), name="tab")
    app.add_middleware(problems.BodyLimit, limit=int(queue.settings.max_payload_mb * 1_000_000))
    return app


def described() -> FastAPI:
    """The routes alone, for whoever serves or describes them. The document is made beforehand (``contract``)."""
    app = FastAPI(title="Queue", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    # /jobs/batch and /jobs/actions are no job ids: they come first.
    app.include_router(jobs.router, prefix="/v1", dependencies=[Depends(known_query)])
    app.include_router(pictures.router, prefix="/v1")
    for module in (queues, schedules, system):
        app.include_router(module.router, prefix="/v1", dependencies=[Depends(known_query)])
    app.include_router(sdapi.router, prefix="/sdapi/v1")
    app.include_router(contract.router)
    return app
