"""Lanes: list, make, change, pause, clear, delete."""

import re
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from ..compat import given
from ..errors import invalid
from ..models import State
from ..shapes import QueueChanges
from ..views import Row
from .doors import Caller, caller, work
from .examples import LANES, PROBLEM

router = APIRouter(tags=["queues"])


def lane_json(row: Row, counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    """A lane as it is shown; null leaves a value to the settings."""
    return {
        "name": row["name"],
        "paused": bool(row["paused"]),
        "pause_reason": row["pause_reason"],
        "retry_attempts": row["retry_attempts"],
        "retry_delay_s": row["retry_delay_s"],
        "retry_delay_max_s": row["retry_delay_max_s"],
        "timeout_s": row["timeout_s"],
        "counts": {state.value: counts.get((row["name"], state.value), 0) for state in State},
        "waiting_count": counts.get((row["name"], State.ENQUEUED.value), 0),
    }


def _all(who: Caller) -> list[dict[str, Any]]:
    counts = who.queue.store.counts()
    return [lane_json(row, counts) for row in who.queue.store.queues()]


def _one(who: Caller, name: str) -> dict[str, Any]:
    return lane_json(who.queue.store.queue(name), who.queue.store.counts())


@router.get("/queues", summary="All lanes", responses={200: LANES})
async def list_queues(who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer({"queues": await work(_all, who)})


@router.put("/queues/{name}", summary="Make a lane, or change what it says", responses={403: PROBLEM, 422: PROBLEM})
async def put_queue(name: str, who: Caller = Depends(caller), body: QueueChanges | None = None) -> JSONResponse:
    who.queue.identity.require_admin(who.owner, "Changing a queue")
    if not re.fullmatch(r"[a-z0-9_-]{1,32}", name):
        raise invalid("name", msg="must be 1 to 32 characters a-z, 0-9, _ or -")
    values = given(body) if body else {}
    if values.get("paused", True) is None:
        raise invalid("paused", msg="must not be null")
    await work(who.queue.store.put_queue, name, values)
    who.queue.forget_lanes()
    return who.answer(await work(_one, who, name))


@router.delete(
    "/queues/{name}", status_code=204, summary="Delete an empty lane", responses={404: PROBLEM, 409: PROBLEM}
)
async def delete_queue(name: str, who: Caller = Depends(caller)) -> Response:
    who.queue.identity.require_admin(who.owner, "Deleting a queue")
    await work(who.queue.store.delete_queue, name)
    return Response(status_code=204)


@router.post(
    "/queues/{name}/pause", summary="Start no more jobs of a lane; the running one goes on", responses={404: PROBLEM}
)
async def pause_queue(name: str, who: Caller = Depends(caller)) -> JSONResponse:
    who.queue.identity.require_admin(who.owner, "Pausing a queue")
    await work(who.queue.store.set_paused, name, True, "paused by hand")
    return who.answer(await work(_one, who, name))


@router.post("/queues/{name}/resume", summary="Let a paused lane go on", responses={404: PROBLEM})
async def resume_queue(name: str, who: Caller = Depends(caller)) -> JSONResponse:
    who.queue.identity.require_admin(who.owner, "Resuming a queue")
    await work(who.queue.store.set_paused, name, False, None)
    return who.answer(await work(_one, who, name))


@router.post("/queues/{name}/clear", summary="Cancel everything that waits in a lane", responses={404: PROBLEM})
async def clear_queue(name: str, who: Caller = Depends(caller)) -> JSONResponse:
    who.queue.identity.require_admin(who.owner, "Clearing a queue")
    await work(who.queue.store.queue, name)
    return who.answer({"changed": await work(who.queue.store.clear_queue, name, "the queue was cleared")})
