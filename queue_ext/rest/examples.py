"""Examples for the OpenAPI page."""

from typing import Any

EXAMPLE_JOB: dict[str, Any] = {
    "id": "0g1q2mzv5p3k7w9x4c8n6b2h5t", "queue": "default", "task": "txt2img", "name": None,
    "prompt": "a lighthouse at dusk",
    "state": "enqueued", "reason": None, "priority": 0, "labels": [],
    "summary": {"width": 512, "height": 512, "steps": 20, "images": 1, "checkpoint": None, "inputs": 0},
    "position": 3, "ahead": 3, "eta_s": 40.2, "duration_estimate_s": 13.4, "owner": "client-5e2f0c", "mine": True,
    "created_at": "2026-11-22T09:30:00.000Z", "run_at": None, "started_at": None, "finished_at": None,
    "expires_at": None, "attempt": 0, "max_attempts": 4, "after": [], "schedule_id": None, "bookmarked": False,
    "progress": None, "result": None, "error": None, "message": "Submitted. 3 jobs are ahead of yours.",
}  # fmt: skip
EXAMPLE_PROBLEM = {
    "type": "https://queue-ext.invalid/problems/invalid-request", "title": "Invalid request", "status": 422,
    "detail": "payload.width: must be an integer from 16 to 8192, not 0", "code": "invalid_request",
    "errors": [{"loc": ["payload", "width"], "msg": "must be an integer from 16 to 8192, not 0"}],
}  # fmt: skip


def _json(description: str, example: Any, kind: str = "application/json", shape: str | None = None) -> dict[str, Any]:
    """``shape``: the name of one in ``wire``."""
    schema = {"schema": {"$ref": f"#/components/schemas/{shape}"}} if shape else {}
    return {"description": description, "content": {kind: {**schema, "example": example}}}


CREATED = _json("The job as it was accepted.", EXAMPLE_JOB, shape="Job")
JOB = _json("The job.", EXAMPLE_JOB, shape="Job")
LIST = _json("A page of jobs.", {"jobs": [EXAMPLE_JOB], "next_cursor": None, "total": 1}, shape="JobList")
PROBLEM = _json("What was wrong, and what is allowed.", EXAMPLE_PROBLEM, "application/problem+json", "Problem")
LANES = _json("The lanes.", {"queues": [{
    "name": "default", "paused": False, "pause_reason": None, "retry_attempts": None, "retry_delay_s": None,
    "retry_delay_max_s": None, "timeout_s": None, "waiting_count": 3,
    "counts": {"scheduled": 0, "awaiting": 0, "enqueued": 3, "processing": 1, "succeeded": 40, "failed": 0, "deleted": 2},
}]}, shape="LaneList")  # fmt: skip
SCHEDULES = _json("The schedules.", {"schedules": [{
    "id": "0g1q2mzv5p3k7w9x4c8n6b2h5t", "name": "every morning", "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin",
    "enabled": True, "description": "at 09:00, Monday to Friday", "next_runs": ["2026-11-23T08:00:00.000Z"],
}]}, shape="ScheduleList")  # fmt: skip
ME = _json("Who asks.", {
    "owner": "client-5e2f0c", "admin": False, "visibility": "shared", "waiting": 1, "pipeline": "demo", "version": "0.1.0",
    "quota": {"limit": 100, "used": 7, "remaining": 93, "resets_at": "2026-11-23T00:00:00.000Z"},
    "limits": {"max_waiting": 10000, "max_waiting_per_owner": None, "max_payload_mb": 32.0},
}, shape="Me")  # fmt: skip
TOKEN = _json("The token, to be kept secret.", {
    "token": "WyJhbm4iLHRydWUsMTc5NTM0ODgwMF0.5f1e…", "owner": "ann", "expires_at": "2026-11-22T21:30:00.000Z",
}, shape="Token")  # fmt: skip
WORKERS = _json("The workers.", {"workers": [{
    "id": "0g1q2mzv5p3k7w9x4c8n6b2h5t", "host": "gpu", "pid": 4711, "pipeline": "demo", "queues": [],
    "started_at": "2026-11-22T09:00:00.000Z", "heartbeat_at": "2026-11-22T09:30:00.000Z", "alive": True, "busy": True,
    "job_id": "0g1q2mzv5p3k7w9x4c8n6b2h5t",
}]})  # fmt: skip
STATS = _json("The statistics.", {
    "counts": {"default": {"enqueued": 3, "processing": 1, "succeeded": 40, "failed": 0}},
    "per_hour": [{"from": "2026-11-22T09:00:00.000Z", "succeeded": 12, "failed": 0, "deleted": 1}], "per_day": [],
    "wait_s": {"median": 8.2, "p95": 41.0}, "duration_s": {"median": 13.4, "p95": 20.1},
    "kinds": [{"checkpoint": None, "width": 512, "height": 512, "count": 12, "median": 13.4, "p95": 20.1}],
    "failures": [
        {
            "type": "OutOfMemoryError",
            "message": "CUDA out of memory. Tried to allocate 2.00 GiB",
            "count": 2,
            "last_at": "2026-11-22T12:00:00Z",
            "job_ids": ["job-1", "job-2"],
        }
    ],
})  # fmt: skip
METRICS = _json("Prometheus text.", 'queue_jobs{queue="default",state="enqueued"} 3.0', "text/plain")
EXPORT = _json("The waiting jobs, pictures and all.", {
    "version": 1, "jobs": [{"task": "txt2img", "payload": {"prompt": "a lighthouse at dusk"}, "queue": "default", "priority": 0}],
})  # fmt: skip
STEERED = _json("Done, or there was nothing to do.", {})
PROGRESS = _json("As the WebUI's own.", {
    "progress": 0.4, "eta_relative": 8.1, "state": {"sampling_step": 8, "sampling_steps": 20}, "current_image": None, "textinfo": None,
})  # fmt: skip
