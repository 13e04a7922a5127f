"""Around the queue: who am I, workers, statistics, health, metrics, export and import."""

import json
import re
import statistics
import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from .. import __version__
from ..models import WAITING, State
from ..shapes import from_epoch
from ..store import Filter
from .doors import Caller, caller, json_body, work
from .examples import EXPORT, ME, METRICS, PROBLEM, STATS, TOKEN, WORKERS

router = APIRouter(tags=["system"])
HOUR = 3600
DAY = 86400
KINDS = 20  # checkpoints and sizes that are told apart
EXAMPLES = 5  # jobs named with each group of failures
VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\d+(?:\.\d+)?")  # what tells one failure from its like


@router.get("/me", summary="Who I am to the queue, and my limits", responses={200: ME})
async def show_me(who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer(await work(_me, who))


def _me(who: Caller) -> dict[str, Any]:
    settings, owner = who.queue.settings, who.owner
    waiting = len(who.queue.store.ids(Filter(states=WAITING, viewer=owner.id)))
    return {
        "owner": owner.id,
        "admin": owner.admin,
        "visibility": "shared" if who.queue.identity.shared else "private",
        "quota": _quota(who),
        "limits": {
            "max_waiting": settings.max_waiting,
            "max_waiting_per_owner": settings.max_waiting_per_owner,
            "max_payload_mb": settings.max_payload_mb,
        },
        "waiting": waiting,
        "pipeline": who.queue.pipeline.name,
        "version": __version__,
    }


def _quota(who: Caller) -> dict[str, Any]:
    """How many jobs of today's (UTC) are used and left."""
    limit, day = who.queue.settings.quota_per_day, int(time.time() // DAY)
    used = who.queue.store.used(who.owner.id, f"day:{day}")
    left = None if limit is None else max(0, limit - used)
    return {
        "limit": limit,
        "used": used,
        "remaining": left,
        "resets_at": from_epoch((day + 1) * DAY) if limit else None,
    }


@router.post(
    "/tokens",
    status_code=201,
    summary="A token that stands for me for a while, where cookies do not reach",
    responses={201: TOKEN, 401: PROBLEM},
)
async def make_token(who: Caller = Depends(caller)) -> JSONResponse:
    """Ask with the login (HTTP Basic, or the WebUI's cookie) or with ``X-Queue-Client``; then send the token as
    ``Authorization: Bearer …``, or as ``auth.token`` of the socket."""
    token, owner, expires_at = await work(who.queue.identity.token, who.visitor)
    return JSONResponse({"token": token, "owner": owner.id, "expires_at": from_epoch(expires_at)}, 201)


@router.get("/workers", summary="The processes that run jobs", responses={200: WORKERS})
async def list_workers(who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer({"workers": await work(_workers, who)})


def _workers(who: Caller) -> list[dict[str, Any]]:
    rows = who.queue.store.workers()
    visible = {
        row["id"]
        for row in who.queue.store.jobs([row["job_id"] for row in rows if row["job_id"]])
        if who.queue.identity.sees(who.owner, row)
    }
    return [
        {
            "id": row["id"], "host": row["host"], "pid": row["pid"], "pipeline": row["pipeline"],
            "queues": json.loads(row["queues"]), "started_at": from_epoch(row["started_at"]),
            "heartbeat_at": from_epoch(row["heartbeat_at"]),
            "alive": time.time() - row["heartbeat_at"] <= row["lease_s"],
            "busy": row["job_id"] is not None, "job_id": row["job_id"] if row["job_id"] in visible else None,
        }
        for row in rows
    ]  # fmt: skip


@router.get("/stats", summary="Counts, endings per hour and day, waits, durations, failures", responses={200: STATS})
async def show_stats(who: Caller = Depends(caller)) -> JSONResponse:
    return who.answer(await work(_stats, who))


def _stats(who: Caller) -> dict[str, Any]:
    store, now = who.queue.store, time.time()
    times = [row for row in store.recent_times() if row["started_at"]]
    return {
        "counts": _counts(store.counts()),
        "per_hour": _endings(store.endings("hour", int(now // HOUR - 23) * HOUR)),
        "per_day": _endings(store.endings("day", int(now // DAY - 29) * DAY)),
        "wait_s": _spread([row["started_at"] - row["created_at"] for row in times]),
        "duration_s": _spread([row["finished_at"] - row["started_at"] for row in times]),
        "kinds": _kinds(times),
        "failures": _failures(store.failures(who.queue.identity.viewer(who.owner))),
    }


def _counts(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    lanes: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(counts.items()):
        lanes.setdefault(queue, {each.value: 0 for each in State})[state] = count
    return lanes


def _endings(rows: list[Any]) -> list[dict[str, Any]]:
    buckets: dict[int, dict[str, Any]] = {}
    for row in rows:
        bucket = buckets.setdefault(
            row["bucket"], {"from": from_epoch(row["bucket"]), "succeeded": 0, "failed": 0, "deleted": 0}
        )
        bucket[row["kind"].partition("_")[2]] += row["value"]
    return [buckets[start] for start in sorted(buckets)]


def _spread(seconds: list[float]) -> dict[str, Any]:
    """Median and 95th percentile of the latest jobs, seconds."""
    if not seconds:
        return {"median": None, "p95": None}
    ordered = sorted(seconds)
    return {"median": round(statistics.median(ordered), 3), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3)}


def _kinds(times: list[Any]) -> list[dict[str, Any]]:
    """Durations of the latest jobs by checkpoint and size, the most frequent first."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in times:
        facts = json.loads(row["summary"])
        kind = (facts.get("checkpoint"), facts.get("width"), facts.get("height"))
        groups.setdefault(kind, []).append(row["finished_at"] - row["started_at"])
    most = sorted(groups.items(), key=lambda group: -len(group[1]))[:KINDS]
    return [
        {"checkpoint": kind[0], "width": kind[1], "height": kind[2], "count": len(seconds), **_spread(seconds)}
        for kind, seconds in most
    ]


def _failures(rows: list[Any]) -> list[dict[str, Any]]:
    """Failed jobs, newest first, as groups of one error, the largest first. Errors that differ in numbers, addresses
    and names in quotes are one; its newest message stands for it."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        error = json.loads(row["error"] or '{"type": "unknown", "message": ""}')
        kind, message = error["type"], error["message"]
        alike = (kind, VARYING.sub("…", message))
        group = groups.setdefault(
            alike,
            {"type": kind, "message": message, "count": 0, "last_at": from_epoch(row["finished_at"]), "job_ids": []},
        )
        group["count"] += 1
        if len(group["job_ids"]) < EXAMPLES:
            group["job_ids"].append(row["id"])
    return sorted(groups.values(), key=lambda group: -group["count"])


@router.get("/health", summary="Whether the queue works; 503 when it does not", responses={503: PROBLEM})
async def check_health(request: Request) -> JSONResponse:
    await work(request.app.state.queue.store.ping)
    worker = request.app.state.worker()
    trouble = worker.trouble if worker else None
    return JSONResponse(
        {
            "status": "ok" if not trouble else "waiting",
            "database": "ok",
            "worker": trouble or ("running" if worker else "off"),
        }
    )


@router.get("/metrics", summary="Prometheus text", responses={200: METRICS})
async def show_metrics(request: Request) -> Response:
    # Imported here: it costs a WebUI's start time that most never use.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

    def collect() -> bytes:
        registry = CollectorRegistry()
        jobs = Gauge("queue_jobs", "Jobs by queue and state", ["queue", "state"], registry=registry)
        for (queue, state), count in request.app.state.queue.store.counts().items():
            jobs.labels(queue, state).set(count)
        Gauge("queue_workers", "Workers that are signed on", registry=registry).set(
            len(request.app.state.queue.store.workers())
        )
        return generate_latest(registry)

    return Response(await work(collect), media_type=CONTENT_TYPE_LATEST)


@router.get("/export", summary="Waiting jobs as one JSON document", responses={200: EXPORT, 422: PROBLEM})
async def export_jobs(who: Caller = Depends(caller), queue: str | None = None) -> JSONResponse:
    return who.answer(await work(who.queue.export, who.owner, queue))


@router.post(
    "/import",
    status_code=201,
    summary="Accept an exported document; nothing in it is executed",
    responses={422: PROBLEM},
)
async def import_jobs(request: Request, who: Caller = Depends(caller)) -> JSONResponse:
    ids = await work(who.queue.import_, who.owner, await json_body(request))
    return who.answer({"imported": len(ids), "ids": ids}, 201)
