"""Jobs: accept, list, show, change, cancel, move, copy."""

import base64
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse, Response

from ..compat import parse
from ..errors import InvalidRequest, JobNotFound, below, invalid
from ..models import State
from ..shapes import Action, ActionFilter, Batch, Clone, JobRequest, Move, Patch, queue_name, task_name, to_epoch
from ..store import Filter
from .doors import Caller, caller, work
from .examples import CREATED, JOB, LIST, PROBLEM

T = TypeVar("T")
router = APIRouter(tags=["jobs"])
PAGE = 50  # jobs in a list when nobody says otherwise
PAGE_LIMIT = 200
ORDERS = ("newest", "oldest", "line")
NEEDS = {"prioritise": "priority", "label": "labels", "unlabel": "labels", "move": "place"}


def _accept(who: Caller, requests: list[Any], batch: bool) -> list[dict[str, Any]]:
    ids = who.queue.enqueue(who.owner, requests, batch)
    return who.queue.show(who.owner, ids, who.lang)


def _shown(who: Caller, job_id: str) -> dict[str, Any]:
    found = who.queue.show(who.owner, [job_id], who.lang)
    if not found:
        raise JobNotFound(job_id=job_id)
    return found[0]


@router.post("/jobs", status_code=201, summary="Accept a job", responses={201: CREATED, 422: PROBLEM, 429: PROBLEM})
async def create_job(
    body: JobRequest, who: Caller = Depends(caller), idempotency_key: str | None = Header(None, max_length=200)
) -> JSONResponse:
    if idempotency_key and body.idempotency_key is None:
        body.idempotency_key = idempotency_key
    job = (await work(_accept, who, [body], False))[0]
    return who.answer(job, 201, {"Location": f"{who.queue.signer.prefix}/v1/jobs/{job['id']}"})


@router.post("/jobs/batch", status_code=201, summary="Accept up to 1,000 jobs, all or none", responses={422: PROBLEM})
async def create_jobs(body: Batch, who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer({"jobs": await work(_accept, who, body.jobs, True)}, 201)


@router.get("/jobs", summary="List jobs", responses={200: LIST, 422: PROBLEM})
async def list_jobs(
    who: Caller = Depends(caller),
    state: list[str] | None = Query(None, description="One or more states, repeated or separated by commas."),
    queue: str | None = None,
    task: str | None = None,
    owner: str | None = None,
    schedule_id: str | None = None,
    label: str | None = None,
    q: str | None = Query(None, max_length=500, description="What the prompt or the name contains."),
    bookmarked: bool | None = None,
    checkpoint: str | None = None,
    since: str | None = Query(None, description="ISO 8601 with offset: submitted then or later."),
    order: str = Query("newest", description="newest, oldest, or line: enqueued jobs in the order they will run."),
    limit: int = Query(PAGE, ge=1, le=PAGE_LIMIT),
    cursor: str | None = None,
) -> JSONResponse:
    if order not in ORDERS:
        raise invalid("order", msg=f"must be {' or '.join(ORDERS)}")
    which = Filter(
        states=_states(state),
        queue=_named("queue", queue_name, queue),
        task=_named("task", task_name, task),
        owner=owner,
        label=label,
        q=q,
        bookmarked=bookmarked,
        schedule_id=schedule_id,
        checkpoint=checkpoint,
        since=_named("since", to_epoch, since),
    )
    return who.answer(await work(_list, who, which, order, limit, _read(cursor, order)))


def _list(who: Caller, which: Filter, order: str, limit: int, after: Any) -> dict[str, Any]:
    queue = who.queue
    if order == "line":
        # Whoever may not see all sees others as places; looking for more than a lane finds only one's own.
        viewer = None if which == Filter(states=which.states, queue=which.queue) else queue.identity.viewer(who.owner)
        which = Filter(**{**which.__dict__, "states": (State.ENQUEUED,), "viewer": viewer})
        rows = queue.store.line_page(which, after, limit + 1)
        cursors = [[row["queue"], row["order_key"]] for row in rows]
    else:
        which = Filter(**{**which.__dict__, "viewer": queue.identity.viewer(who.owner)})
        rows = queue.store.page(which, order == "newest", after, limit + 1)
        cursors = [row["id"] for row in rows]
    return {
        "jobs": queue.present(who.owner, rows[:limit], who.lang),
        "next_cursor": _cursor(cursors[limit - 1], order) if len(rows) > limit else None,
        "total": queue.store.total(which),
    }


def _states(given: list[str] | None) -> tuple[State, ...]:
    names = [name.strip() for part in given or () for name in part.split(",") if name.strip()]
    try:
        return tuple(dict.fromkeys(State(name) for name in names))
    except ValueError:
        raise invalid("state", msg=f"must be one of {', '.join(state.value for state in State)}") from None


def _named(name: str, check: Callable[[str], T], given: str | None) -> T | None:
    """A parameter as ``check`` reads it: who mistypes one would take an empty list for the truth."""
    try:
        return None if given is None else check(given)
    except ValueError as error:
        raise invalid(name, msg=str(error)) from None


def _cursor(place: Any, order: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, place]).encode()).decode().rstrip("=")


def _read(cursor: str | None, order: str) -> Any:
    if cursor is None:
        return None
    try:
        made_for, place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        parts = place if order == "line" else [place]
        if (
            made_for != order
            or not isinstance(parts, list)
            or [type(part) for part in parts] != [str] * (2 if order == "line" else 1)
        ):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise invalid("cursor", msg="must be the next_cursor of a list in the same order") from None
    return tuple(place) if order == "line" else place


@router.get("/jobs/{job_id}", summary="One job with payload and history", responses={200: JOB, 404: PROBLEM})
async def show_job(job_id: str, who: Caller = Depends(caller)) -> JSONResponse:
    job = await work(who.queue.details, who.owner, job_id, who.lang)
    return who.answer(job)


@router.patch("/jobs/{job_id}", summary="Change a job", responses={200: JOB, 404: PROBLEM, 409: PROBLEM, 422: PROBLEM})
async def change_job(job_id: str, body: Patch, who: Caller = Depends(caller)) -> JSONResponse:
    await work(who.queue.edit, who.owner, job_id, body)
    return who.answer(await work(_shown, who, job_id))


@router.delete(
    "/jobs/{job_id}", summary="Cancel a waiting or running job; forget a finished one", responses={404: PROBLEM}
)
async def delete_job(job_id: str, who: Caller = Depends(caller)) -> Response:
    if await work(who.queue.cancel_or_remove, who.owner, job_id):
        return who.answer(await work(_shown, who, job_id))
    return Response(status_code=204)


@router.post(
    "/jobs/{job_id}/requeue", summary="Let a failed or deleted job wait again", responses={404: PROBLEM, 409: PROBLEM}
)
async def requeue_job(job_id: str, who: Caller = Depends(caller)) -> JSONResponse:
    await work(who.queue.requeue, who.owner, job_id)
    return who.answer(await work(_shown, who, job_id))


@router.post(
    "/jobs/{job_id}/clone", status_code=201, summary="A new job from this one", responses={404: PROBLEM, 422: PROBLEM}
)
async def clone_job(job_id: str, who: Caller = Depends(caller), body: Clone | None = None) -> JSONResponse:
    new_id = await work(who.queue.clone, who.owner, job_id, body or parse(Clone, {}))
    return who.answer(await work(_shown, who, new_id), 201, {"Location": f"{who.queue.signer.prefix}/v1/jobs/{new_id}"})


@router.post(
    "/jobs/{job_id}/move",
    summary="Give a waiting job another place",
    responses={404: PROBLEM, 409: PROBLEM, 422: PROBLEM},
)
async def move_job(job_id: str, body: Move, who: Caller = Depends(caller)) -> JSONResponse:
    await work(who.queue.move, who.owner, job_id, body.place())
    return who.answer(await work(_shown, who, job_id))


@router.post(
    "/jobs/{job_id}/skip", summary="Leave the current picture of a running job", responses={404: PROBLEM, 409: PROBLEM}
)
async def skip_picture(job_id: str, who: Caller = Depends(caller)) -> JSONResponse:
    await work(who.queue.skip, who.owner, job_id)
    return who.answer(await work(_shown, who, job_id))


@router.post("/jobs/actions", summary="Do one thing to many jobs", responses={422: PROBLEM})
async def act_on_jobs(body: Action, who: Caller = Depends(caller)) -> JSONResponse:
    if (body.ids is None) == (body.filter is None):
        raise InvalidRequest([{"loc": ["ids"], "msg": 'give either "ids" or "filter"'}])
    with below("filter"):
        which = _action_filter(body.filter, who) if body.filter else None
    with below("place"):
        place = body.place.place() if body.place else None
    missing = NEEDS.get(body.action)
    if missing and getattr(body, missing) is None:
        raise invalid(missing, msg=f"is needed to {body.action}")
    return who.answer({"changed": await work(who.queue.act, who.owner, body, which, place)})


def _action_filter(given: ActionFilter, who: Caller) -> Filter:
    return Filter(
        states=_states(given.state), queue=given.queue, task=given.task, label=given.label, q=given.q,
        bookmarked=given.bookmarked, viewer=who.queue.identity.viewer(who.owner),
    )  # fmt: skip
