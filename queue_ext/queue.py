"""JobQueue: the verbs of the field. Every door and the worker speak to the queue through it, synchronously."""

import contextlib
import copy
import hashlib
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from . import media as files
from .addresses import target
from .compat import given, parse
from .errors import FilterFailed, InvalidRequest, JobNotFound, RequestRefused, UnexpectedState, invalid
from .estimates import Estimates
from .filters import Creation
from .identity import Identity, Owner
from .ids import new_id
from .line import Line
from .media import BadPicture, Intake, Media
from .models import FINISHED, WAITING, State
from .pipelines import Picture, Pipeline, Result
from .pipelines.payloads import check_payload, effort, summary
from .retries import Retries, first_given
from .settings import Settings
from .shapes import LABELS_LIMIT, Action, Clone, JobRequest, Patch, Webhook, from_epoch, to_epoch
from .store import DEFAULT_QUEUE, WEBHOOK, FileRef, Filter, Limits, Measured, NewJob, Store, machine
from .views import Row, Signer, delivery_json, hidden_json, history_json, job_json, picture_json

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

LIVE_LIMIT = 1000  # unfinished jobs that a browser is told of at once
EXPORT_VERSION = 1
UPLOAD_AGE = 86400.0  # seconds an upload is kept when no job refers to it


class JobQueue:
    """Holds no state of its own: the store is the truth."""

    def __init__(
        self, settings: Settings, store: Store, media: Media, pipeline: Pipeline, identity: Identity, signer: Signer
    ) -> None:
        self.settings = settings
        self.store = store
        self.media = media
        self.pipeline = pipeline
        self.identity = identity
        self.signer = signer
        self.estimates = Estimates(store)
        self.line = Line(store, settings.lease_s, self.estimates)
        self.line.held = pipeline.busy
        self.live: dict[str, dict[str, Any]] = {}  # progress of the job this process runs, fresher than the store's
        self.line.progress = self.live.get
        self.retries = Retries(settings, self._lane)
        store.filters.add(self.retries, order=20)
        self._lanes_cache: dict[str, Row] = {}
        self._lanes_until = 0.0

    # --- accepting -------------------------------------------------------------------------------------------------

    def enqueue(self, owner: Owner, requests: Sequence[Any], batch: bool = False, front: bool = False) -> list[str]:
        """Accept requests (parsed JSON), all or none; the ids in order. ``front``: before all that wait.

        Raises InvalidRequest naming every field at fault, LimitReached, IdempotencyKeyReused, StorageUnavailable.
        """
        faults: list[dict[str, Any]] = []
        jobs: list[NewJob] = []
        for number, request in enumerate(requests):
            try:
                jobs.append(self.prepare(owner, request, jobs if batch and not faults else ()))
            except InvalidRequest as error:
                faults += [_of_batch(number, fault) for fault in error.errors] if batch else error.errors
        if faults:
            raise InvalidRequest(faults)
        self._require_sight_of_parents(owner, jobs)
        return self.store.add_jobs(jobs, self.limits, self.settings.fair_share, front)

    @property
    def limits(self) -> Limits:
        settings = self.settings
        return Limits(
            settings.max_waiting, settings.max_waiting_per_owner, settings.quota_per_day, settings.rate_per_minute
        )

    def _require_sight_of_parents(self, owner: Owner, jobs: Sequence[NewJob]) -> None:
        """A job may wait only for jobs its owner may see. Raises InvalidRequest."""
        own = {job.id for job in jobs}
        named = list(dict.fromkeys(parent for job in jobs for parent in job.after if parent not in own))
        seen = {row["id"] for row in self.store.jobs(named) if self.identity.sees(owner, row)}
        missing = [parent for parent in named if parent not in seen]
        if missing:
            raise invalid("after", msg=f"job {missing[0]} does not exist")

    def prepare(
        self, owner: Owner, data: Any, batch: Sequence[NewJob] = (), schedule_id: str | None = None,
        slot: float | None = None, later: float = 0.0,
    ) -> NewJob:  # fmt: skip
        """A request checked and ready to be stored; its pictures are files already. ``batch``: the requests before it.

        Raises InvalidRequest, StorageUnavailable.
        """
        asked = data if isinstance(data, JobRequest) else parse(JobRequest, data)
        request, parameters = self._filtered(owner, asked)
        if request.webhook:
            parameters = self._with_webhook(parameters, request.webhook)
        if len([value for value in (request.run_at, request.delay_s, request.after) if value is not None]) > 1:
            raise invalid("run_at", msg="give only one of run_at, delay_s and after")
        after = _parents(request, batch)
        payload, inputs = self._take(owner, request.task, request.payload, len(after))
        text = json.dumps(payload, ensure_ascii=False)
        facts, needs = summary(request.task, payload), effort(request.task, payload)
        return NewJob(
            id=new_id(), owner=owner.id, queue=request.queue or DEFAULT_QUEUE, task=request.task, payload=text,
            prompt=str(facts.get("prompt") or ""), name=request.name, priority=request.priority or 0,
            labels=tuple(request.labels or ()), summary={**_facts(facts), "inputs": len(inputs)},
            work=self.estimates.seconds(needs), effort=json.dumps(needs), run_at=time.time() + later if later else _run_at(request),
            retry_attempts=request.retry.attempts if request.retry else None,
            retry_delay_s=request.retry.delay_s if request.retry else None, timeout_s=request.timeout_s, inputs=inputs,
            idempotency_key=request.idempotency_key, after=after,
            digest=_digest(asked, payload if request is asked else asked.payload) if request.idempotency_key else "",
            parameters=parameters,
            after_on=request.after_on or "succeeded", ttl_s=first_given(request.ttl_s, self.settings.job_ttl_s),
            concurrency_key=request.concurrency_key, schedule_id=schedule_id, slot=slot,
        )  # fmt: skip

    def _filtered(self, owner: Owner, request: JobRequest, job: Row | None = None) -> tuple[JobRequest, str | None]:
        """A request as filters want it, and what they keep with the job; ``job``: the one whose payload it is to replace.

        Raises InvalidRequest, FilterFailed.
        """
        filters = self.store.filters
        if not filters.look_at_requests:
            return request, None
        creation = Creation(owner.id, copy.deepcopy(given(request)), job)
        parameters = filters.create(creation)
        return parse(JobRequest, creation.request), parameters

    def _with_webhook(self, parameters: str | None, webhook: Webhook) -> str:
        """The parameters of a job that tells of its end. Raises InvalidRequest."""
        try:
            target(webhook.url, self.settings.webhook_hosts, self.settings.webhook_private)
        except ValueError as error:
            raise invalid("webhook", "url", msg=str(error)) from None
        return json.dumps({**json.loads(parameters or "{}"), WEBHOOK: {"url": webhook.url, "secret": webhook.secret}})

    def _take(
        self, owner: Owner, task: str, payload: dict[str, Any], parents: int = 0
    ) -> tuple[dict[str, Any], tuple[FileRef, ...]]:
        """Check a payload and take its pictures out of it; ``parents``: how many jobs it may take pictures from."""
        if not _supports(self.pipeline, task):
            raise invalid(
                "task", msg=f"{self.pipeline.name} cannot run {task}; it runs {', '.join(self.pipeline.tasks)}"
            )
        checked = check_payload(task, files.name_parents(payload, parents))
        self.pipeline.check(task, checked)
        intake = Intake(self.media, lambda sha256: self._brought(owner, sha256), parents)
        return intake.take(checked), tuple(intake.files.values())

    def _brought(self, owner: Owner, sha256: str) -> FileRef | None:
        """A picture the owner brought, or that a job they may see was given: then as if they had brought it just now."""
        found = self.store.upload(owner.id, sha256)
        if found is None and (found := self.store.input(self.identity.viewer(owner), sha256)) is not None:
            self.store.add_upload(owner.id, found, time.time())
        return found

    def upload(self, owner: Owner, data: bytes) -> dict[str, Any]:
        """Keep a picture for a payload to refer to; it stays for a day, and as long as a job needs it.

        Raises InvalidRequest, StorageUnavailable.
        """
        try:
            ref = self.media.add(data)
        except BadPicture as error:
            raise invalid("body", msg=str(error)) from None
        self.store.add_upload(owner.id, ref, time.time())
        return {
            "id": files.UPLOAD + ref.sha256,
            "mime": ref.mime,
            "size": ref.size,
            "width": ref.width,
            "height": ref.height,
        }

    # --- looking ---------------------------------------------------------------------------------------------------

    def show(self, owner: Owner, ids: Sequence[str], lang: str = "en") -> list[dict[str, Any]]:
        """Jobs as JSON, in the order asked for; those that do not exist are left out."""
        return self.present(owner, self.store.jobs(ids), lang)

    def present(self, owner: Owner, rows: Sequence[Row], lang: str = "en") -> list[dict[str, Any]]:
        """Rows as JSON; of what somebody may not see only the place in line."""
        places = self.line.places(rows)
        finished = [row["id"] for row in rows if row["state"] in FINISHED and self.identity.sees(owner, row)]
        pictures = self.store.files(finished)
        progress = self._progress() if any(row["state"] == State.PROCESSING for row in rows) else {}
        parents = self.store.parents([row["id"] for row in rows if row["after_on"]])
        shown: list[Any] = [
            job_json(
                row,
                mine=row["owner"] == owner.id,
                place=places[row["id"]],
                signer=self.signer,
                max_attempts=self.max_attempts(row),
                estimate=self.line.estimate(row),
                files=pictures.get(row["id"], ()),
                after=parents.get(row["id"], ()),
                progress=progress.get(row["id"]),
                lang=lang,
            )
            if self.identity.sees(owner, row)
            else hidden_json(row, places[row["id"]])
            for row in rows
        ]
        return shown

    def _progress(self) -> dict[str, Any]:
        """What the workers last said of their jobs."""
        told = {
            row["job_id"]: json.loads(row["progress"])
            for row in self.store.workers()
            if row["job_id"] and row["progress"]
        }
        return {**told, **self.live}

    def job(self, owner: Owner, job_id: str) -> Row:
        """The row of a job this owner may see. Raises JobNotFound."""
        row = self.store.job(job_id)
        self.identity.require_sight(owner, row)
        return row

    def details(self, owner: Owner, job_id: str, lang: str = "en") -> dict[str, Any]:
        """One job with payload, result and history. Raises JobNotFound."""
        row = self.job(owner, job_id)
        shown = self.present(owner, [row], lang)[0]
        body = self.store.body(job_id)
        if shown["result"] is not None and body["result"]:
            shown["result"].update(json.loads(body["result"]))
        shown["payload"] = files.show_parents(json.loads(body["payload"]))
        shown["history"] = [history_json(row, lang) for row in self.store.history(job_id)]
        shown["deliveries"] = [delivery_json(row) for row in self.store.deliveries(job_id)]
        return shown

    def pictures(self, job_id: str) -> list[Any]:
        """The pictures of a job as JSON."""
        return [picture_json(file, self.signer) for file in self.store.files([job_id]).get(job_id, ())]

    # --- acting on jobs --------------------------------------------------------------------------------------------

    def cancel(self, owner: Owner, job_id: str) -> None:
        """Cancel a waiting or running job. Raises JobNotFound, UnexpectedState."""
        row = self.job(owner, job_id)
        if not self.store.cancel([job_id], _cancelled_by(owner, row)):
            raise UnexpectedState(job_id=job_id, state=self.store.job(job_id)["state"], expected="waiting or running")

    def cancel_or_remove(self, owner: Owner, job_id: str) -> bool:
        """What DELETE does: cancel what is unfinished, forget what is finished; true where the job still exists."""
        row = self.job(owner, job_id)
        if self.store.cancel([job_id], _cancelled_by(owner, row)):
            return True
        self.store.remove([job_id])
        return False

    def requeue(self, owner: Owner, job_id: str) -> None:
        """Raises JobNotFound, UnexpectedState."""
        self.job(owner, job_id)
        self.store.requeue([job_id], self.settings.fair_share, strict=True)

    def skip(self, owner: Owner, job_id: str) -> None:
        """Raises JobNotFound, UnexpectedState."""
        self.job(owner, job_id)
        self.store.request_skip(job_id)

    def move(self, owner: Owner, job_id: str, place: Mapping[str, str]) -> None:
        """Move a waiting job. Ahead of other people's jobs only whoever may manage these.

        Raises JobNotFound, UnexpectedState, NotAllowed.
        """
        self.job(owner, job_id)
        self.identity.require_admin(owner, "Moving a job in a line it shares with others")
        if other := place.get("before") or place.get("after"):
            self.job(owner, other)
        self.store.move(job_id, **place)

    def edit(self, owner: Owner, job_id: str, patch: Patch) -> None:
        """Change a job. Raises JobNotFound, UnexpectedState, InvalidRequest, NotAllowed."""
        row = self.job(owner, job_id)
        fields = given(patch)
        payload, inputs = None, None
        for name in ("queue", "priority", "bookmarked", "payload"):
            if name in fields and fields[name] is None:
                raise invalid(name, msg="must not be null")
        if "payload" in fields:
            changed = parse(JobRequest, {"task": row["task"], "payload": fields.pop("payload")})
            wanted, parameters = self._filtered(owner, changed, row)
            parents = len(self.store.parents([job_id]).get(job_id, ()))
            kept, inputs = self._take(owner, row["task"], wanted.payload, parents)
            if parameters is not None:
                fields["parameters"] = parameters
            payload = json.dumps(kept, ensure_ascii=False)
            facts, needs = summary(row["task"], kept), effort(row["task"], kept)
            fields.update(
                prompt=str(facts.get("prompt") or "")[:2000], work=self.estimates.seconds(needs), effort=json.dumps(needs),
                summary=json.dumps({**_facts(facts), "inputs": len(inputs)}),
            )  # fmt: skip
        if "run_at" in fields:
            fields["run_at"] = to_epoch(fields["run_at"]) if fields["run_at"] else None
        labels = fields.pop("labels", None)
        self.store.edit(job_id, self.settings.fair_share, fields, labels, payload, inputs)

    def clone(self, owner: Owner, job_id: str, changes: Clone) -> str:
        """A new job from an old one with other fields; its id. Raises JobNotFound, InvalidRequest, LimitReached."""
        row = self.job(owner, job_id)
        stored = self.store.body(job_id)
        body = self.payload({**row, **stored}) if row["after_on"] else json.loads(stored["payload"])
        fields = given(changes)
        fields["payload"] = {**body, **(fields.get("payload") or {})}
        base = {
            "task": row["task"],
            "queue": row["queue"],
            "priority": row["priority"],
            "name": row["name"],
            "labels": json.loads(row["labels"]),
            "timeout_s": row["timeout_s"],
            "retry": {"attempts": row["retry_attempts"], "delay_s": row["retry_delay_s"]},
        }
        return self.enqueue(owner, [{**base, **fields}])[0]

    def act(self, owner: Owner, said: Action, which: Filter | None, place: Mapping[str, str] | None = None) -> int:
        """Do one thing to many jobs; how many changed. Ids that do not exist or belong to others count as none, and so
        does what a job's state does not allow. Raises InvalidRequest, NotAllowed.
        """
        rows = [] if said.ids is None else self._reachable(owner, said.ids)
        found = self.store.ids(which or Filter()) if said.ids is None else [row["id"] for row in rows]
        if said.action == "cancel":
            by_admin = owner.admin and not (rows and all(row["owner"] == owner.id for row in rows))
            return len(self.store.cancel(found, "cancelled by an admin" if by_admin else "cancelled by its owner"))
        if said.action == "requeue":
            return len(self.store.requeue(found, self.settings.fair_share))
        if said.action == "delete":
            return self.store.remove(found)
        if said.action == "bookmark":
            return self.store.bookmark(found)
        if said.action == "move" and place is not None:
            return self._move_all(owner, found, place)
        return sum(self._allowed(self._change_one, job_id, said) for job_id in found)

    def _move_all(self, owner: Owner, ids: Sequence[str], place: Mapping[str, str]) -> int:
        """Move jobs to one place and keep their order among themselves."""
        self.identity.require_admin(owner, "Moving a job in a line it shares with others")
        last_first = place.get("to") == "front" or "after" in place
        ids = [job_id for job_id in ids if job_id not in place.values()]
        moved = [self._allowed(self.move, owner, job_id, place) for job_id in (reversed(ids) if last_first else ids)]
        return sum(moved)

    def _change_one(self, job_id: str, said: Action) -> None:
        fields: dict[str, Any] = {}
        labels = None
        if said.action == "prioritise":
            fields["priority"] = said.priority
        elif said.action == "unbookmark":
            fields["bookmarked"] = False
        else:
            labels = _relabelled(json.loads(self.store.job(job_id)["labels"]), said)
        self.store.edit(job_id, self.settings.fair_share, fields, labels, None, None)

    @staticmethod
    def _allowed(action: Callable[..., None], *args: Any) -> bool:
        """Whether it could be done to this job."""
        try:
            action(*args)
        except (JobNotFound, UnexpectedState):
            return False
        return True

    def _reachable(self, owner: Owner, ids: Sequence[str]) -> list[Row]:
        return [row for row in self.store.jobs(list(dict.fromkeys(ids))) if self.identity.sees(owner, row)]

    # --- carrying jobs elsewhere -----------------------------------------------------------------------------------

    def export(self, owner: Owner, lane: str | None) -> dict[str, Any]:
        """Waiting jobs this owner may see, as requests with their pictures inlined, in the order they stand."""
        ids = self.store.ids(Filter(states=WAITING, queue=lane, viewer=self.identity.viewer(owner)))
        rows = sorted(
            self.store.jobs(ids), key=lambda row: (row["queue"] != DEFAULT_QUEUE, row["queue"], row["order_key"])
        )
        family = self.store.parents([row["id"] for row in rows if row["after_on"]])
        rows.sort(key=lambda row: row["id"] in family)  # requests name only those before them
        return {"version": EXPORT_VERSION, "jobs": self._requests(rows, family)}

    def _requests(self, rows: Sequence[Row], family: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        numbers: dict[str, int] = {}
        requests: list[dict[str, Any]] = []
        for row in rows:
            request = self._request(row)
            if row["id"] in family:
                request |= {
                    "after": [numbers.get(parent, parent) for parent in family[row["id"]]],
                    "after_on": row["after_on"],
                }
            numbers[row["id"]] = len(requests)
            requests.append(request)
        return requests

    def _request(self, row: Row) -> dict[str, Any]:
        return {
            "task": row["task"], "payload": self._portable(row["id"]), "queue": row["queue"],
            "priority": row["priority"], "name": row["name"], "labels": json.loads(row["labels"]),
            "run_at": from_epoch(row["run_at"]) if row["state"] == State.SCHEDULED else None,
            "timeout_s": row["timeout_s"],
            "retry": {"attempts": row["retry_attempts"], "delay_s": row["retry_delay_s"]},
        }  # fmt: skip

    def _portable(self, job_id: str) -> dict[str, Any]:
        """A payload with its pictures in it, and those of its parents as they were asked for."""
        return files.show_parents(files.inline(json.loads(self.store.body(job_id)["payload"]), self.media.read))

    def import_(self, owner: Owner, document: Any) -> list[str]:
        """Accept the jobs of an exported document, all or none; nothing in it is executed. Raises as ``enqueue``."""
        if (
            not isinstance(document, dict)
            or document.get("version") != EXPORT_VERSION
            or not isinstance(document.get("jobs"), list)
        ):
            raise invalid("body", msg='must be a document of GET /export: {"version": 1, "jobs": [...]}')
        return self.enqueue(owner, document["jobs"], batch=True) if document["jobs"] else []

    # --- what the worker calls -------------------------------------------------------------------------------------

    def claim(self, worker_id: str) -> Row | None:
        """The next job for a worker, under a lease, with its payload as it is stored; None if none waits."""
        return self.store.claim(worker_id, self.settings.queues, self.settings.lease_s)

    def require_task(self, job: Row) -> None:
        """Raises RequestRefused for a task this pipeline does not run: another process may have accepted it."""
        if not _supports(self.pipeline, job["task"]):
            raise RequestRefused(reason=f"{self.pipeline.name} cannot run {job['task']}")

    def payload(self, job: Row) -> dict[str, Any]:
        """The payload as the pipeline takes it."""
        return files.inline(
            json.loads(job["payload"]), self.media.read, lambda parent, image: self._picture_of(job, parent, image)
        )

    def _picture_of(self, job: Row, parent: int, image: int) -> bytes:
        """A picture a parent made. Raises RequestRefused where it made none such."""
        ids = self.store.parents([job["id"]]).get(job["id"], [])
        made = self.store.files(ids[parent : parent + 1]).get(ids[parent], []) if parent < len(ids) else []
        if image >= len(made):
            raise RequestRefused(
                reason=f"picture {image} of parent {parent} does not exist: that job made {len(made)} pictures"
            )
        return self.media.read(made[image]["sha256"])

    def timeout(self, job: Row) -> float | None:
        """How long an attempt may run, seconds: the job's, its queue's, or the setting."""
        return first_given(job["timeout_s"], self._lane(job).get("timeout_s"), self.settings.timeout_s)

    def finish(self, job: Row, result: Result, seconds: float | None = None) -> None:
        """The attempt succeeded. ``seconds``: how long it ran, if that is worth learning from. Raises LeaseLost,
        StorageUnavailable."""
        pictures = self._keep(result.pictures)
        self.store.succeed(job, pictures, _result_json(result), self._measured(seconds))

    def finish_and_claim(
        self, job: Row, result: Result, worker_id: str, seconds: float | None = None
    ) -> "tuple[Row | None, Callable[[], None]]":
        """``finish``, and ``claim`` in the same transaction, where the database can without waiting for the disk: the next
        job, None where none waits, and what waits for the disk and then tells everybody of the end. That is to be called
        once, from whatever thread. Both raise what ``finish`` raises.
        """
        settings, at_once = self.settings, self.store.db.settles_at_once
        pictures, told = self._keep(result.pictures, settled=at_once), _result_json(result)
        measured = self._measured(seconds)

        def settle_pictures() -> None:
            for picture in () if at_once else pictures:
                self.media.settle(picture.sha256)

        try:
            following, settle_end = self.store.succeed_and_claim(
                job, pictures, told, worker_id, settings.queues, settings.lease_s, measured
            )
        except FilterFailed:  # which may be about the next job: this one ends by itself then
            settle_pictures()
            self.store.succeed(job, pictures, told, measured)
            return None, lambda: None

        def settle() -> None:
            try:
                settle_pictures()
            finally:
                settle_end()

        return following, settle

    def _measured(self, seconds: float | None) -> Measured | None:
        return None if seconds is None else Measured(machine(platform.node(), self.pipeline.name), seconds)

    def cancelled(self, job: Row, result: Result, reason: str) -> None:
        """The attempt was told to stop; what it made is kept. Raises LeaseLost, StorageUnavailable."""
        pictures, told = self._keep(result.pictures), _result_json(result)
        self.surely(self.store.cancel_running, job, _storable(reason)[:1000], pictures, told)

    def fail(self, job: Row, error: BaseException, final: bool = False) -> None:
        """The attempt failed; unless that is ``final``, it may be tried again. Raises LeaseLost, StorageUnavailable."""
        told = {"type": type(error).__name__, "message": _one_line(error), "attempt": job["attempt"]}
        self.surely(self.store.fail, job, told, told["message"], final)

    def give_back(self, job: Row, reason: str) -> None:
        """The attempt could not go on and does not count; the job is next again. Raises LeaseLost."""
        self.surely(self.store.give_back, job, reason)

    def surely(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what must be done whatever filters say, or an attempt that is over would never end: if one of them fails,
        once more without them."""
        try:
            return verb(*args, **kwargs)
        except FilterFailed as error:
            log.warning("the other filters are not asked again, since one failed: %s", error)
            with self.store.filters.suspended():
                return verb(*args, **kwargs)

    def max_attempts(self, job: Row) -> int:
        return self.retries.max_attempts(job)

    def _lane(self, job: Row) -> Row:
        return self._lanes().get(job["queue"], {})

    def _lanes(self) -> dict[str, Row]:
        now = time.monotonic()
        if now > self._lanes_until:
            self._lanes_cache = {row["name"]: row for row in self.store.queues()}
            self._lanes_until = now + LANES_AGE
        return self._lanes_cache

    def forget_lanes(self) -> None:
        """A lane has changed: read them again."""
        self._lanes_until = 0.0

    def _keep(self, pictures: Sequence[Picture], settled: bool = True) -> list[FileRef]:
        keep = self.media.save if settled else self.media.put
        return [
            FileRef(keep(p.data), _mime(p.data), len(p.data), p.width, p.height, p.seed, _storable(p.infotext))
            for p in pictures
        ]


def _of_batch(number: int, fault: dict[str, Any]) -> dict[str, Any]:
    """A fault of one request as one of the list it stands in."""
    return {**fault, "loc": ["jobs", number, *(part for part in fault["loc"] if fault["loc"] != ["body"])]}


NUL = json.dumps("\0")[1:-1]  # which PostgreSQL does not keep
LANES_AGE = 1.0  # seconds what another process changed in a lane may go unnoticed


def _supports(pipeline: Pipeline, task: str) -> bool:
    return task in pipeline.tasks or (task.startswith("ui:") and "ui:" in pipeline.tasks)


def _parents(request: JobRequest, batch: Sequence[NewJob]) -> tuple[str, ...]:
    """The ids a request waits for. Raises InvalidRequest for a number that is not of a request before it."""
    found = []
    for one in request.after or ():
        if isinstance(one, int) and not 0 <= one < len(batch):
            raise invalid("after", msg=f"{one} is not the number of a request before this one in the same batch")
        found.append(batch[one].id if isinstance(one, int) else one)
    return tuple(dict.fromkeys(found))


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != "prompt"}


def _run_at(request: JobRequest) -> float | None:
    if request.delay_s is not None:
        return time.time() + request.delay_s
    return to_epoch(request.run_at) if request.run_at else None


def _relabelled(labels: list[str], said: Action) -> list[str]:
    """Raises InvalidRequest where a job would have too many."""
    wanted = said.labels or []
    if said.action == "unlabel":
        return [label for label in labels if label not in wanted]
    together = list(dict.fromkeys([*labels, *wanted]))
    if len(together) > LABELS_LIMIT:
        raise invalid("labels", msg=f"would be more than {LABELS_LIMIT} for a job")
    return together


def _digest(request: JobRequest, payload: dict[str, Any]) -> str:
    """What two requests under one idempotency key must agree in: everything but the order of fields."""
    said = {**given(request), "payload": payload, "idempotency_key": None}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _cancelled_by(owner: Owner, row: Row) -> str:
    return "cancelled by its owner" if row["owner"] == owner.id else "cancelled by somebody else"


def _result_json(result: Result) -> str:
    """What a pipeline told, as JSON; looked through value by value only where it is not fit to be stored as it is."""
    said = {"info": result.info, "parameters": _without_pictures(result.parameters)}
    with contextlib.suppress(TypeError, ValueError):  # no JSON, or no UTF-8
        text = json.dumps(said, ensure_ascii=False, allow_nan=False)
        text.encode()
        if NUL not in text:
            return text
    return json.dumps(_storable(said), ensure_ascii=False)


def _without_pictures(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The WebUI repeats the request in its answer; its pictures are stored already."""
    return {key: value for key, value in parameters.items() if key not in files.PICTURE_FIELDS}


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return "image/webp" if data[8:12] == b"WEBP" else "application/octet-stream"


def _one_line(error: BaseException) -> str:
    return " ".join(_storable(str(error)).split())[:900] or type(error).__name__


def _storable(said: Any) -> Any:
    """What a pipeline said, as every database and JSON takes it: nobody can be asked to say it better."""
    if isinstance(said, str):
        return said.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(said, dict):
        return {_storable(str(key)): _storable(value) for key, value in said.items()}
    if isinstance(said, (list, tuple)):
        return [_storable(value) for value in said]
    if isinstance(said, float) and not math.isfinite(said):
        return None
    return said if said is None or isinstance(said, (bool, int, float)) else _storable(str(said))


__all__ = ["LIVE_LIMIT", "UPLOAD_AGE", "JobNotFound", "JobQueue"]
