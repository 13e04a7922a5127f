"""What goes out: a job as JSON (contract, section 4), and the addresses of its pictures. Pure functions."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .models import State, moment_of
from .sentences import translated
from .shapes import from_epoch
from .texts import say
from .wire import Delivery, HiddenJob, HistoryEntry, Job, Picture, Progress

SIGNATURE_AGE = 86400  # seconds a signed address is good for
SIGNATURE_STEP = 3600  # addresses stay the same for an hour, so that browsers can keep the picture

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a job stands: contract, section 1. ``eta_s`` is None when nobody can say."""

    position: int | None = None
    ahead: int | None = None
    eta_s: float | None = None
    paused: bool = False
    unserved: bool = False


class Signer:
    """Signs the addresses of pictures, so that an <img> of the owner needs no header."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.prefix = "/queue-ext"  # path of the extension from the server's root; learnt from the first request

    def sign(self, path: str) -> str:
        expires = (int(time.time()) // SIGNATURE_STEP + 1) * SIGNATURE_STEP + SIGNATURE_AGE
        return f"{self.prefix}{path}?expires={expires}&signature={self._mac(path, expires)}"

    def valid(self, path: str, expires: str, signature: str) -> bool:
        """Whether a signature is ours and not too old."""
        if not re.fullmatch("[0-9]{1,12}", expires) or int(expires) < time.time() or not signature.isascii():
            return False
        return hmac.compare_digest(self._mac(path, int(expires)), signature)

    def _mac(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path}|{expires}".encode(), hashlib.sha256).hexdigest()[:32]


def picture_json(file: Row, signer: Signer) -> Picture:
    path = f"/v1/jobs/{file['job_id']}/images/{file['number']}"
    return {
        "url": signer.sign(path),
        "thumbnail_url": signer.sign(f"{path}/thumbnail"),
        "width": file["width"],
        "height": file["height"],
        "seed": None if file["seed"] is None else int(file["seed"]),
        "infotext": file["infotext"],
    }


def job_json(
    row: Row,
    *,
    mine: bool,
    place: Place,
    signer: Signer,
    max_attempts: int,
    estimate: float | None,
    files: Sequence[Row] = (),
    after: Sequence[str] = (),
    progress: Progress | None = None,
    lang: str = "en",
) -> Job:
    """A job as everybody who may see it sees it."""
    waiting = row["state"] in (State.SCHEDULED, State.AWAITING, State.ENQUEUED)
    return {
        "id": row["id"],
        "queue": row["queue"],
        "task": row["task"],
        "name": row["name"],
        "prompt": row["prompt"],
        "state": row["state"],
        "reason": _reason(row, lang),
        "priority": row["priority"],
        "labels": json.loads(row["labels"]),
        "summary": json.loads(row["summary"]),
        "position": place.position,
        "ahead": place.ahead,
        "eta_s": place.eta_s,
        "duration_estimate_s": estimate,
        "owner": row["owner"],
        "mine": mine,
        "created_at": from_epoch(row["created_at"]),
        "run_at": from_epoch(row["run_at"]),
        "started_at": from_epoch(row["started_at"]),
        "finished_at": from_epoch(row["finished_at"]),
        "expires_at": None if row["bookmarked"] else from_epoch(row["expires_at"]),
        "attempt": row["attempt"],
        "max_attempts": max_attempts,
        "after": list(after),
        "schedule_id": row["schedule_id"],
        "bookmarked": bool(row["bookmarked"]),
        "progress": progress or None,
        "result": None
        if waiting or not (files or row["state"] == State.SUCCEEDED)
        else {"images": [picture_json(f, signer) for f in files]},
        "error": json.loads(row["error"]) if row["error"] else None,
        "message": message(row, place, lang),
    }


def _reason(row: Row, lang: str) -> str | None:
    return translated(lang, row["reason"] or "") or None


def history_json(row: Row, lang: str = "en") -> HistoryEntry:
    """One state a job was in: since when, why, and what belongs to it (attempt, worker, error)."""
    return {
        "state": row["state"],
        "reason": _reason(row, lang),
        "at": from_epoch(row["at"]),
        "data": json.loads(row["data"]),
    }


def delivery_json(row: Row) -> Delivery:
    """How far the telling of a job's end to its webhook has come; not where, which may be a secret."""
    return {
        "event": row["event"],
        "at": from_epoch(row["at"]) or "",
        "tries": row["tries"],
        "delivered_at": from_epoch(row["delivered_at"]),
        "next_try_at": from_epoch(row["due_at"]),
        "error": row["error"],
    }


def hidden_json(row: Row, place: Place) -> HiddenJob:
    """Somebody else's job where that is private: a place in line and nothing more."""
    return {
        "id": None,
        "queue": row["queue"],
        "state": row["state"],
        "mine": False,
        "position": place.position,
        "ahead": place.ahead,
        "eta_s": place.eta_s,
    }


def message(row: Row, place: Place, lang: str) -> str:
    """The sentence a person reads."""
    state = row["state"]
    if state == State.ENQUEUED:
        return _waiting_message(row, place, lang)
    if state == State.SCHEDULED:
        key = "retry" if row["attempt"] else "scheduled"
        return say(lang, key, time=f"{moment_of(row['run_at']):%Y-%m-%d %H:%M:%S} UTC", attempt=row["attempt"])
    if state == State.PROCESSING and row["cancel_at"] is not None:
        return say(lang, "cancelling")
    if state == State.DELETED:
        return say(lang, "deleted" if row["reason"] else "deleted_plain", reason=_reason(row, lang))
    return say(lang, str(State(state)), reason=_reason(row, lang))


def _waiting_message(row: Row, place: Place, lang: str) -> str:
    if place.paused:
        return say(lang, "paused", queue=row["queue"])
    if place.unserved:
        return say(lang, "unserved", queue=row["queue"])
    if not place.ahead:
        return say(lang, "next")
    return say(lang, "ahead_one" if place.ahead == 1 else "ahead", ahead=place.ahead)
