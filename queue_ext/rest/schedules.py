"""Recurring jobs: list, make, change, switch, run now, preview."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from ..compat import given
from ..schedules import Schedules
from ..shapes import ScheduleChanges, SchedulePreview, ScheduleRequest
from .doors import Caller, caller, work
from .examples import PROBLEM, SCHEDULES

router = APIRouter(tags=["schedules"])


def _schedules(who: Caller) -> Schedules:
    return who.request.app.state.schedules


async def _shown(who: Caller, schedule_id: str) -> dict[str, Any]:
    return await work(_schedules(who).show, who.owner, schedule_id, who.lang)


@router.get("/schedules", summary="All schedules", responses={200: SCHEDULES})
async def list_schedules(who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer({"schedules": await work(_schedules(who).all, who.owner, who.lang)})


@router.post(
    "/schedules",
    status_code=201,
    summary="Make a schedule, or replace yours of the same name",
    responses={422: PROBLEM},
)
async def put_schedule(body: ScheduleRequest, who: Caller = Depends(caller)) -> JSONResponse:
    schedule_id, new = await work(_schedules(who).put, who.owner, body)
    headers = {"Location": f"{who.queue.signer.prefix}/v1/schedules/{schedule_id}"}
    return who.answer(await _shown(who, schedule_id), 201 if new else 200, headers)


@router.post("/schedules/preview", summary="An expression in words, and its next five runs", responses={422: PROBLEM})
async def preview_schedule(body: SchedulePreview, who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer(await work(_schedules(who).preview, body.cron, body.timezone, who.lang))


@router.get("/schedules/{schedule_id}", summary="One schedule with its last job", responses={404: PROBLEM})
async def show_schedule(schedule_id: str, who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer(await _shown(who, schedule_id))


@router.put("/schedules/{schedule_id}", summary="Replace a schedule", responses={404: PROBLEM, 422: PROBLEM})
async def replace_schedule(schedule_id: str, body: ScheduleRequest, who: Caller = Depends(caller)) -> JSONResponse:
    await work(_schedules(who).put, who.owner, body, schedule_id)
    return who.answer(await _shown(who, schedule_id))


@router.patch(
    "/schedules/{schedule_id}",
    summary="Change a schedule, or switch it on or off",
    responses={404: PROBLEM, 422: PROBLEM},
)
async def change_schedule(schedule_id: str, body: ScheduleChanges, who: Caller = Depends(caller)) -> JSONResponse:
    await work(_schedules(who).patch, who.owner, schedule_id, body, given(body))
    return who.answer(await _shown(who, schedule_id))


@router.delete(
    "/schedules/{schedule_id}", status_code=204, summary="Delete a schedule; its jobs stay", responses={404: PROBLEM}
)
async def delete_schedule(schedule_id: str, who: Caller = Depends(caller)) -> Response:
    await work(_schedules(who).delete, who.owner, schedule_id)
    return Response(status_code=204)


@router.post(
    "/schedules/{schedule_id}/trigger",
    status_code=201,
    summary="Run it now, besides its times",
    responses={404: PROBLEM},
)
async def trigger_schedule(schedule_id: str, who: Caller = Depends(caller)) -> JSONResponse:
    job_id = await work(_schedules(who).trigger, who.owner, schedule_id)
    return who.answer((await work(who.queue.show, who.owner, [job_id], who.lang))[0], 201)
