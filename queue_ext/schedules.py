"""Recurring jobs: keeping their definitions, and firing them when their time has come."""

import json
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .cron import Cron
from .errors import FilterFailed, InvalidRequest, LimitReached, ScheduleNotFound, below, invalid
from .identity import Owner
from .media import inline
from .queue import JobQueue
from .sentences import translated
from .shapes import ScheduleChanges, ScheduleRequest, from_epoch, to_epoch
from .store import Firing, NewJob
from .views import Row

log = logging.getLogger(__name__)

MISSED_LIMIT = 100  # runs that "all" catches up on at most
ON_TIME = 60.0  # seconds a run may be late and still not count as missed
NEXT_SHOWN = 5
BATCH = 50  # schedules fired in one transaction: whoever wants to write waits for no more than that
PLACEHOLDER = re.compile(r"\{(date|run|random:([^{}]*))\}")
FILLED = ("prompt", "negative_prompt")


class Schedules:
    """The verbs of recurring jobs. Holds no state: the rows are the truth."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._store = queue.store

    def put(self, owner: Owner, request: ScheduleRequest, schedule_id: str | None = None) -> tuple[str, bool]:
        """Make a schedule or replace one (by name, or by id); its id, and whether it is new.

        Raises InvalidRequest, also for a template that would not be accepted now; ScheduleNotFound.
        """
        holder = Owner(self._seen(owner, schedule_id)["owner"]) if schedule_id else owner
        cron = Cron(request.cron, request.timezone)
        end_at, following = to_epoch(request.end_at) if request.end_at else None, cron.next(time.time())
        if request.enabled and end_at is not None and _within(following, end_at) is None:
            raise invalid("end_at", msg=f"leaves no run: the next would be at {from_epoch(following)}")
        values = {
            "name": request.name, "cron": request.cron, "timezone": request.timezone, "enabled": request.enabled,
            "template": json.dumps(self._checked(holder, request.template), ensure_ascii=False), "reason": None,
            "misfire": request.misfire, "overlap": request.overlap, "seed": request.seed, "jitter_s": float(request.jitter_s),
            "end_at": end_at, "max_runs": request.max_runs, "next_run_at": _within(following, end_at),
        }  # fmt: skip
        return self._store.put_schedule(holder.id, values, schedule_id)

    def patch(self, owner: Owner, schedule_id: str, changes: ScheduleChanges, given: Mapping[str, Any]) -> None:
        """Change some fields. Raises ScheduleNotFound, InvalidRequest."""
        row = self._seen(owner, schedule_id)
        now = _request_of(row)
        self.put(owner, ScheduleRequest(**{**now, **{name: getattr(changes, name) for name in given}}), schedule_id)

    def _checked(self, owner: Owner, template: dict[str, Any]) -> dict[str, Any]:
        """A template that makes a job today, with its pictures in it: uploads expire, schedules do not."""
        for name in ("run_at", "delay_s", "after", "after_on", "idempotency_key"):
            if name in template:
                raise invalid("template", name, msg="has no meaning in a schedule")
        with below("template"):
            job = self._queue.prepare(owner, _filled(template, 1, datetime.now(), random.Random(0)))
        kept = json.loads(job.payload)
        texts = {name: template["payload"][name] for name in FILLED if name in template["payload"]}
        return {**template, "payload": {**inline(kept, self._queue.media.read), **texts}}

    def delete(self, owner: Owner, schedule_id: str) -> None:
        """Raises ScheduleNotFound."""
        self._seen(owner, schedule_id)
        self._store.delete_schedule(schedule_id)

    def trigger(self, owner: Owner, schedule_id: str) -> str:
        """Run it now, besides its slots; the job's id. Raises ScheduleNotFound, InvalidRequest, LimitReached."""
        row = self._seen(owner, schedule_id)
        return self._store.trigger(
            row, self._job(row, row["runs"] + 1, None), self._queue.limits, self._queue.settings.fair_share
        )

    def show(self, owner: Owner, schedule_id: str, lang: str = "en") -> dict[str, Any]:
        """One schedule as JSON, with its last job. Raises ScheduleNotFound."""
        row = self._seen(owner, schedule_id)
        last = self._store.last_job_of(schedule_id)
        shown = self._queue.show(owner, [last], lang) if last else []
        return {**self._json(owner, row, lang), "last_job": shown[0] if shown else None}

    def all(self, owner: Owner, lang: str = "en") -> list[dict[str, Any]]:
        return [self._json(owner, row, lang) for row in self._store.schedules(self._queue.identity.viewer(owner))]

    def preview(self, expression: str, zone: str, lang: str = "en") -> dict[str, Any]:
        """An expression in words, and when it comes next. Raises InvalidRequest."""
        cron = Cron(expression, zone)
        return {
            "description": cron.describe(lang),
            "next_runs": [from_epoch(at) for at in cron.following(time.time(), NEXT_SHOWN)],
        }

    def _json(self, owner: Owner, row: Row, lang: str) -> dict[str, Any]:
        cron = Cron(row["cron"], row["timezone"])
        return {
            "id": row["id"], **_request_of(row), **_hidden_secret(row, owner),
            "owner": row["owner"], "mine": row["owner"] == owner.id, "reason": translated(lang, row["reason"] or "") or None,
            "description": cron.describe(lang), "runs": row["runs"], "next_runs": [from_epoch(at) for at in _next_runs(cron, row)],
            "last_run_at": from_epoch(row["last_run_at"]), "created_at": from_epoch(row["created_at"]),
            "updated_at": from_epoch(row["updated_at"]),
        }  # fmt: skip

    def _seen(self, owner: Owner, schedule_id: str) -> Row:
        row = self._store.schedule(schedule_id)
        if not self._queue.identity.sees(owner, row):
            raise ScheduleNotFound(schedule_id=schedule_id)
        return row

    # --- firing ----------------------------------------------------------------------------------------------------

    def fire_due(self, now: float | None = None) -> int:
        """Fire what is due, up to BATCH schedules in one transaction; how many were looked at (call again while it is
        that many)."""
        moment = now or time.time()
        due = [self._firing(row, moment) for row in self._store.due_schedules(moment, BATCH)]
        if due:
            self._fire(due)
        return len(due)

    def _fire(self, due: Sequence[Firing]) -> None:
        """All at once, or one by one where one of them may not."""
        try:
            self._store.fire(due, self._queue.limits, self._queue.settings.fair_share)
        except (LimitReached, FilterFailed) as error:
            if len(due) > 1:
                for firing in due:
                    self._fire([firing])
                return
            firing = due[0]
            log.warning("schedule %s made no job: %s", firing.row["name"], error)
            values = {**(firing.without or firing.values), "reason": error.detail[:1000]}
            self._store.fire([Firing(firing.row, values)], self._queue.limits, True)

    def _firing(self, row: Row, now: float) -> Firing:
        """What is to become of a schedule that is due."""
        cron = Cron(row["cron"], row["timezone"])
        slots = [row["next_run_at"], *cron.between(row["next_run_at"], now, MISSED_LIMIT)]
        values = {"last_run_at": now, **_moved_on(row, cron.next(max(now, slots[-1])))}
        wanted, why = self._wanted(row, slots, now)
        try:
            jobs = [self._job(row, row["runs"] + number + 1, slot) for number, slot in enumerate(wanted)]
        except InvalidRequest as error:
            log.warning("schedule %s is switched off: %s", row["name"], error)
            return Firing(row, {**values, "enabled": False, "reason": error.detail[:1000]})
        except FilterFailed as error:
            log.warning("schedule %s made no job: %s", row["name"], error)
            return Firing(row, {**values, "reason": error.detail[:1000]})
        return Firing(row, {**values, "reason": why, **_used_up(row, len(jobs))}, jobs, values)

    def _wanted(self, row: Row, slots: list[float], now: float) -> tuple[list[float], str | None]:
        """The slots that make a job, and why others do not."""
        chosen = {
            "once": slots[-1:],
            "all": slots[:MISSED_LIMIT],
            "skip": [slot for slot in slots if now - slot <= ON_TIME],
        }[row["misfire"]]
        if row["max_runs"] is not None:
            chosen = chosen[: max(0, row["max_runs"] - row["runs"])]
        if row["overlap"] == "skip" and self._store.still_runs(row["id"]):
            return [], "a run was left out: the one before it had not ended"
        if len(chosen) < len(slots):
            return chosen, f"{len(slots) - len(chosen)} of {len(slots)} runs that were missed were left out"
        return chosen, None

    def _job(self, row: Row, run: int, slot: float | None) -> NewJob:
        moment = datetime.fromtimestamp(slot or time.time(), Cron(row["cron"], row["timezone"]).zone)
        template = _seeded(_filled(json.loads(row["template"]), run, moment, random.Random()), row["seed"], run)
        if row["overlap"] == "queue":
            template.setdefault("concurrency_key", f"schedule:{row['id']}")
        later = random.uniform(0, row["jitter_s"]) if row["jitter_s"] else 0.0
        return self._queue.prepare(Owner(row["owner"]), template, schedule_id=row["id"], slot=slot, later=later)


def _within(moment: float | None, end_at: float | None) -> float | None:
    return None if moment is None or (end_at is not None and moment > end_at) else moment


def _moved_on(row: Row, following: float | None) -> dict[str, Any]:
    following = _within(following, row["end_at"])
    return {"next_run_at": following, **({"enabled": False} if following is None else {})}


def _used_up(row: Row, jobs: int) -> dict[str, Any]:
    if row["max_runs"] is not None and row["runs"] + jobs >= row["max_runs"]:
        return {"enabled": False, "next_run_at": None, "reason": f"it has run {row['max_runs']} times, as it was to"}
    return {}


def _next_runs(cron: Cron, row: Row) -> list[float]:
    if not row["enabled"] or row["next_run_at"] is None:
        return []
    runs = [row["next_run_at"], *cron.following(row["next_run_at"], NEXT_SHOWN - 1)]
    return [at for at in runs if row["end_at"] is None or at <= row["end_at"]]


def _request_of(row: Row) -> dict[str, Any]:
    """The row as the request that would make it."""
    return {
        "name": row["name"], "cron": row["cron"], "timezone": row["timezone"], "template": json.loads(row["template"]),
        "enabled": bool(row["enabled"]), "misfire": row["misfire"], "overlap": row["overlap"], "seed": row["seed"],
        "jitter_s": row["jitter_s"], "end_at": from_epoch(row["end_at"]), "max_runs": row["max_runs"],
    }  # fmt: skip


def _hidden_secret(row: Row, viewer: Owner) -> dict[str, Any]:
    """The template for others than its owner: what signs its webhooks is nobody else's business."""
    template = json.loads(row["template"])
    if row["owner"] == viewer.id or "webhook" not in template:
        return {}
    return {"template": {**template, "webhook": "***"}}


def _filled(template: Mapping[str, Any], run: int, moment: datetime, chance: random.Random) -> dict[str, Any]:
    """``{date}``, ``{run}`` and ``{random:a|b|c}`` of the prompts replaced; other braces belong to somebody else."""

    def replacement(found: "re.Match[str]") -> str:
        if found[1] == "date":
            return moment.date().isoformat()
        return str(run) if found[1] == "run" else chance.choice(found[2].split("|"))

    payload = template.get("payload")
    if not isinstance(payload, dict):
        return dict(template)
    texts = {name: PLACEHOLDER.sub(replacement, payload[name]) for name in FILLED if isinstance(payload.get(name), str)}
    return {**template, "payload": {**payload, **texts}}


def _seeded(template: dict[str, Any], how: str, run: int) -> dict[str, Any]:
    """The seed of this run: the template's own, a new one, or counting up from it."""
    payload = template["payload"]
    if how == "random":
        return {**template, "payload": {**payload, "seed": -1}}
    if how == "counting":
        return {**template, "payload": {**payload, "seed": max(0, payload.get("seed") or 0) + run - 1}}
    return template
