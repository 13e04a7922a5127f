"""What the form's button does: fields in, jobs queued, one sentence out. Knows nothing of Gradio."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest, QueueExtError, invalid
from ..identity import Owner
from ..sentences import told, translated
from ..texts import say as sentence
from . import Host
from .words import duration, say

log = logging.getLogger(__name__)

FIELDS = (
    "task", "prompt", "image", "denoising_strength", "width", "height", "steps", "n_iter", "jobs",
    "negative_prompt", "sampler_name", "cfg_scale", "seed",
)  # fmt: skip
JOBS_LIMIT = 100
LABELS = {"init_images": "image", "batch_size": "n_iter"}  # fields of a payload that the form calls otherwise


@dataclass(frozen=True)
class Outcome:
    """What became of a click: the sentence to show, and whether jobs were queued."""

    ok: bool
    text: str


def submit(app: Host, owner: Owner, fields: Mapping[str, Any], lang: str = "en") -> Outcome:
    """Queue what the form says. Never raises: whatever is wrong becomes a sentence that names the field."""
    try:
        requests = requests_of(fields)
        ids = app.queue.enqueue(owner, requests, len(requests) > 1)
        first = app.queue.show(owner, ids[:1], lang)[0]
    except InvalidRequest as error:
        return Outcome(False, "\n".join(_faults(error, lang)))
    except QueueExtError as error:
        return Outcome(False, told(lang, error)[0])
    except Exception:
        log.exception("the form's request was not queued")
        return Outcome(False, say(lang, "form.broken"))
    return Outcome(True, queued(first, len(ids), lang))


def requests_of(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The jobs a filled form asks for. Raises InvalidRequest.

    Several jobs with a fixed seed go on counting where the one before ended, or all of them would look the same.
    """
    count = fields["jobs"]
    if not isinstance(count, int) or not 1 <= count <= JOBS_LIMIT:
        raise invalid("jobs", msg=f"must be a whole number from 1 to {JOBS_LIMIT}")
    payload = _payload(fields)
    seed, pictures = payload["seed"], payload["n_iter"]
    if count == 1 or not isinstance(seed, int) or seed < 0 or not isinstance(pictures, int):
        return [{"task": fields["task"], "payload": dict(payload)} for _ in range(count)]
    return [{"task": fields["task"], "payload": {**payload, "seed": seed + n * pictures}} for n in range(count)]


def _payload(fields: Mapping[str, Any]) -> dict[str, Any]:
    plain = ("prompt", "negative_prompt", "width", "height", "steps", "n_iter", "cfg_scale", "seed")
    payload = {name: fields[name] for name in plain}
    payload["negative_prompt"] = payload["negative_prompt"] or ""
    if payload["seed"] is None:
        payload["seed"] = -1
    if sampler := str(fields["sampler_name"] or "").strip():
        payload["sampler_name"] = sampler
    if fields["task"] == "img2img":
        payload["init_images"] = (
            [base64.b64encode(Path(fields["image"]).read_bytes()).decode()] if fields["image"] else []
        )
        payload["denoising_strength"] = fields["denoising_strength"]
    return payload


def queued(job: Mapping[str, Any], count: int, lang: str) -> str:
    """Such as "Queued: 3 before you, about 40 s"; or that nothing runs in its lane now."""
    standing = {sentence(lang, key, queue=job.get("queue")) for key in ("paused", "unserved")}
    if job.get("message") in standing:
        return say(lang, "form.queued", n=count, where=job["message"])
    parts = [say(lang, "form.before", n=job["ahead"]) if job.get("ahead") else say(lang, "form.next")]
    if job.get("ahead") and job.get("eta_s") is not None:
        parts.append(say(lang, "about", time=duration(lang, job["eta_s"])))
    return say(lang, "form.queued", n=count, where=say(lang, "comma").join(parts))


def _faults(error: InvalidRequest, lang: str) -> list[str]:
    """One line for each field at fault, under the name it has in the form."""
    lines = []
    for fault in error.errors:
        said = translated(lang, fault["msg"])
        names = [part for part in fault["loc"] if isinstance(part, str) and part not in ("jobs", "payload")] or ["jobs"]
        name = LABELS.get(names[0], names[0])
        label = say(lang, f"form.{name}") if name in FIELDS else ".".join(names)
        if name == "image" and "at least one picture" in fault["msg"]:
            lines.append(say(lang, "form.image_missing"))
        else:
            lines.append(say(lang, "form.fault", field=label, msg=said))
    return list(dict.fromkeys(lines))
