"""The drop-in for today's clients: the WebUI's own API, waiting in the queue."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from ..errors import JobFailed, NotAllowed, QueueExtError, UnexpectedState, invalid, placed
from ..models import FINISHED, State
from ..store import Filter
from ..views import Row
from .doors import Caller, caller, json_body, work
from .examples import PROBLEM, PROGRESS, STEERED
from .problems import not_found

router = APIRouter(tags=["drop-in"])
LOOK = 0.5  # seconds between two looks at the job, should nobody tell of its end
TASKS = {"txt2img": "txt2img", "img2img": "img2img", "extra-single-image": "extras"}
HARMLESS = ("png-info", "interrogate")  # posted, and yet nothing is changed by it
STEERING = ("send_images", "save_images")  # how to answer, not what to make


async def _body(request: Request) -> dict[str, Any]:
    body = await json_body(request)
    if not isinstance(body, dict):
        raise invalid("body", msg="must be an object")
    return body


@router.post("/txt2img", summary="As the WebUI's own, through the queue", responses={422: PROBLEM})
async def txt2img(request: Request, detach: bool = False, who: Caller = Depends(caller)) -> Response:
    return await _generate(request, "txt2img", detach, who)


@router.post("/img2img", summary="As the WebUI's own, through the queue", responses={422: PROBLEM})
async def img2img(request: Request, detach: bool = False, who: Caller = Depends(caller)) -> Response:
    return await _generate(request, "img2img", detach, who)


@router.post("/extra-single-image", summary="As the WebUI's own, through the queue", responses={422: PROBLEM})
async def extra_single_image(request: Request, detach: bool = False, who: Caller = Depends(caller)) -> Response:
    return await _generate(request, "extra-single-image", detach, who)


def _in_body(loc: list[Any]) -> list[Any]:
    return loc[1:] if len(loc) > 1 and loc[0] == "payload" else loc


async def _generate(request: Request, path: str, detach: bool, who: Caller) -> Response:
    body = await _body(request)
    with placed(_in_body):  # who knows only the WebUI's API has never heard of a payload
        job_id = (await work(who.queue.enqueue, who.owner, [{"task": TASKS[path], "payload": body}]))[0]
    row = await _wait(request, who, job_id, detach)
    if row is None:
        return Response(status_code=499)
    if row["state"] != State.SUCCEEDED and not await work(_interrupted, who, row):
        raise JobFailed(job_id=job_id, state=row["state"], reason=row["reason"] or "no reason was given")
    return JSONResponse(await work(_answer, who, row, path, body))


def _interrupted(who: Caller, row: Row) -> bool:
    """Whether the job was stopped while it ran: the WebUI answers then with the pictures made so far."""
    return row["state"] == State.DELETED and who.queue.store.body(row["id"])["result"] is not None


async def _wait(request: Request, who: Caller, job_id: str, detach: bool) -> Row | None:
    """The finished job; None when the client went away first, in which case the job is cancelled unless detached."""
    waiter: Waiters = request.app.state.waiters
    finished = waiter.expect(job_id)
    gone = asyncio.ensure_future(_left(request))
    try:
        while True:
            row = await work(who.queue.store.job, job_id)
            if row["state"] in FINISHED:
                return row
            if gone.done():
                await _abandon(who, job_id, detach)
                return None
            await _either(finished, gone)
    finally:
        gone.cancel()
        waiter.forget(job_id)


async def _left(request: Request) -> None:
    """Return when the client has gone. ``is_disconnected`` never says so behind the middleware of AUTOMATIC1111."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _either(finished: asyncio.Event, gone: "asyncio.Future[None]") -> None:
    """Until one of the two has come about, or it is time to look again."""
    told = asyncio.ensure_future(finished.wait())
    both: set[asyncio.Future[Any]] = {told, gone}
    try:
        await asyncio.wait(both, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


async def _abandon(who: Caller, job_id: str, detach: bool) -> None:
    if detach:
        return
    try:
        await work(who.queue.store.cancel, [job_id], "its client closed the connection")
    except (UnexpectedState, QueueExtError):
        return


class Waiters:
    """Requests that wait for their job, told by the event loop's one crossing (``namespace``)."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def expect(self, job_id: str) -> asyncio.Event:
        return self._events.setdefault(job_id, asyncio.Event())

    def forget(self, job_id: str) -> None:
        self._events.pop(job_id, None)

    def any(self) -> bool:
        """Whether a request waits; asked by any thread."""
        return bool(self._events)

    def finished(self, job_id: str) -> None:
        """Called in the event loop."""
        if job_id in self._events:
            self._events[job_id].set()


def _answer(who: Caller, row: Row, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the WebUI would have answered."""
    queue = who.queue
    stored = json.loads(queue.store.body(row["id"])["result"] or "{}")
    files = queue.store.files([row["id"]]).get(row["id"], ())
    images = [base64.b64encode(queue.media.read(file["sha256"])).decode() for file in files]
    if path == "extra-single-image":
        return {"html_info": stored.get("info", {}).get("html_info", ""), "image": images[0] if images else ""}
    if body.get("send_images") is False:
        images = []
    return {
        "images": images,
        "parameters": stored.get("parameters") or body,
        "info": json.dumps(stored.get("info", {})),
    }


@router.post(
    "/interrupt", summary="Stop the running job, if it may be managed by whoever asks", responses={200: STEERED}
)
async def interrupt(request: Request, who: Caller = Depends(caller)) -> Response:
    return await _steer(request, "interrupt", who, who.queue.cancel)


@router.post(
    "/skip", summary="Leave the current picture of the running job, if whoever asks may", responses={200: STEERED}
)
async def skip(request: Request, who: Caller = Depends(caller)) -> Response:
    return await _steer(request, "skip", who, who.queue.skip)


async def _steer(request: Request, path: str, who: Caller, action: Callable[..., Any]) -> Response:
    """Interrupting is for one's own jobs; the pipeline is asked only while none runs: a Generate click may hold it."""
    running = await work(who.queue.store.ids, Filter(states=(State.PROCESSING,)))
    mine = await work(who.queue.store.ids, Filter(states=(State.PROCESSING,), viewer=_viewer(who)))
    if running and not mine:
        raise NotAllowed(action="Stopping somebody else's job", who="admins")
    if not running:
        return await other(request, path, who)
    with contextlib.suppress(UnexpectedState):  # it has just ended
        await work(action, who.owner, mine[0])
    return JSONResponse({} if path == "interrupt" else None)


@router.get(
    "/progress", summary="How far the running job is; where jobs are private, one's own", responses={200: PROGRESS}
)
async def progress(request: Request, who: Caller = Depends(caller)) -> Response:
    if _viewer(who) is None:
        return await other(request, "progress", who)
    return JSONResponse(await work(_own_progress, who))


def _own_progress(who: Caller) -> dict[str, Any]:
    mine = who.queue.store.ids(Filter(states=(State.PROCESSING,), viewer=_viewer(who)))
    at: dict[str, Any] = next((job["progress"] for job in who.queue.show(who.owner, mine[:1]) if job["progress"]), {})
    state = {
        "skipped": False, "interrupted": False, "job": mine[0] if mine else "", "job_count": at.get("images", len(mine)),
        "job_timestamp": "0", "job_no": at.get("image", 1) - 1, "sampling_step": at.get("step", 0),
        "sampling_steps": at.get("steps", 0),
    }  # fmt: skip
    return {
        "progress": at.get("fraction", 0.0), "eta_relative": at.get("eta_s") or 0.0, "state": state, "current_image": None,
        "textinfo": None,
    }  # fmt: skip


def _viewer(who: Caller) -> str | None:
    return who.queue.identity.viewer(who.owner)


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"], include_in_schema=False)
async def other(request: Request, path: str, who: Caller = Depends(caller)) -> Response:
    """Everything else is answered as the pipeline's own API answers it."""
    pipeline = who.queue.pipeline
    forward: Callable[..., Any] | None = getattr(pipeline, "forward", None)
    if forward is None:
        raise not_found(request)
    if request.method != "GET" and path not in HARMLESS and getattr(pipeline, "operated_by_admins", False):
        who.queue.identity.require_admin(who.owner, "Operating the WebUI behind this queue")
    data = await request.body()
    status, kind, content = await work(forward, request.method, path, str(request.url.query), data, request.headers)
    return Response(content, status, media_type=kind)
