"""Runs jobs in the WebUI this extension lives in, as its own API would, in turn with Generate clicks and API calls."""

import asyncio
import base64
import copy
import io
import json
import logging
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image

from ..errors import InvalidRequest, QueueExtError, RequestRefused, invalid
from ..pipelines import Cancellation, Picture, Progress, Request, Result
from ..pipelines.payloads import images
from . import asgi, checks, host
from .running import HostRun, OutOfMemory, Stopped, Watcher, forget_task, held_by_others, is_out_of_memory

log = logging.getLogger(__name__)

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # what every PNG begins with, up to its width
INTERRUPTED = "interrupted in the WebUI"
FUNCTIONS = {"txt2img": "text2imgapi", "img2img": "img2imgapi", "extras": "extras_single_image_api"}


class Captured(Protocol):
    """What runs the functions behind captured buttons (``ui:`` tasks); registered as ``WebUIPipeline.captured``."""

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """As ``Pipeline.check``."""

    def run(self, request: Request, run: HostRun) -> Result:
        """Make the pictures with ``run.call``. The pipeline is held; interruption, memory and errors are seen to."""


class ModelNotLoaded(QueueExtError, RuntimeError):
    """{reason}"""

    status = 500


class WebUIPipeline:
    """The Pipeline of this process's WebUI.

    ``on_out_of_memory`` is told of a job whose second try ran out of memory as well.
    """

    tasks: tuple[str, ...] = ("txt2img", "img2img", "extras", "ui:")
    takes_turns = True  # others use it as well: ``on_progress.began()`` tells when an attempt's turn has come

    def __init__(self, app: Any, on_out_of_memory: Callable[[Request], None] = lambda _request: None) -> None:
        self.app = app
        self.name = f"webui {host.kind()}"
        self.on_out_of_memory = on_out_of_memory
        self.captured: Captured | None = None
        self._api: Any = None
        self._making = threading.Lock()
        self._watcher = Watcher()

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """Refuse what this host would choke on or replace in silence. Raises InvalidRequest."""
        if not task.startswith("ui:"):
            checks.check(task, payload)
        elif self.captured is None:
            raise invalid("task", msg="captured buttons cannot be run: this WebUI has no page")
        else:
            self.captured.check(task, payload)

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        """Make the pictures when it is our turn. Raises what the Protocol says, OutOfMemory, ModelNotLoaded."""
        if not request.task.startswith("ui:"):
            checks.check_names(request.task, request.payload)  # the types are what they were at the door
        elif self.captured is None:
            self.check(request.task, request.payload)
        try:
            return self._with_memory(request, on_progress, cancelled)
        except Stopped:
            return Result()

    def _with_memory(
        self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation
    ) -> Result:
        """Once more with freed memory, before it counts as failed."""
        for last in (False, True):
            try:
                return self._attempt(request, on_progress, cancelled)
            except Exception as error:
                if cancelled.is_set() or not is_out_of_memory(error):
                    raise
                log.warning("job %s ran out of memory: %s", request.job_id, error)
                reason = " ".join(str(error).split())[:300]
            if last:
                self.on_out_of_memory(request)
                raise OutOfMemory(reason=reason)
        raise AssertionError

    def _attempt(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        with HostRun(on_progress, cancelled, self._watcher, _count(request)) as run:
            try:
                result = self._made(request, run)
            except Stopped:
                raise
            except Exception as error:
                _clean_up(run, error)
                if host.failed_to_load(error) and not is_out_of_memory(error):
                    raise ModelNotLoaded(reason=f"{_checkpoint(request)} could not be loaded: {error}") from error
                raise
        if cancelled.reason is None and run.interrupted:
            return replace(result, interrupted=INTERRUPTED)
        return result

    def _made(self, request: Request, run: HostRun) -> Result:
        if request.task.startswith("ui:"):
            assert self.captured is not None
            return self.captured.run(request, run)
        return self._by_api(request, run)

    # --- payloads ----------------------------------------------------------------------------------------------------

    def _by_api(self, request: Request, run: HostRun) -> Result:
        """As ``/sdapi/v1`` does it: with the very function that answers there."""
        # While we hold the lock: the host lets nobody else build its page's components meanwhile.
        api = self._api_without_lock()
        task_id = request.payload.get("force_task_id") or f"task(queue-{request.job_id})"
        self._require_model(request, run)
        body = dict(request.payload)
        if request.task != "extras":
            body.update(send_images=True, force_task_id=task_id)
        try:
            answer = run.call(getattr(api, FUNCTIONS[request.task]), host.request_model(request.task)(**body))
        except Exception as error:
            forget_task(task_id)
            _explain(error)
            raise
        return _result(request, answer, run)

    @staticmethod
    def _require_model(request: Request, run: HostRun) -> None:
        """Raises ModelNotLoaded. Where Forge's thread would have to load one, its own function does."""
        if request.task == "extras" or _own_checkpoint(request.payload):
            return
        trouble = run.call(host.model_trouble, hop=False)
        if trouble:
            raise ModelNotLoaded(reason=trouble)

    def _api_without_lock(self) -> Any:
        """The host's Api, or one made for us, that takes no lock: we hold it, also while Forge's main thread works."""
        with self._making:
            if self._api is None:
                api = copy.copy(host.find_api(self.app.routes) or host.make_api())
                api.queue_lock = nullcontext()
                self._api = api
            return self._api

    # --- the rest of the API -----------------------------------------------------------------------------------------

    def forward(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """What the WebUI's own ``/sdapi/v1/<path>`` answers: status, content type, body."""
        return asyncio.run(asgi.ask(self.app, method, f"/sdapi/v1/{path}", query, body, headers or {}))

    def busy(self) -> bool:
        return held_by_others()

    def close(self) -> None:
        self._api = None
        self._watcher.end()


def _clean_up(run: HostRun, error: Exception) -> None:
    """Leave the host such that the next job, or the next click, can run."""
    try:
        if is_out_of_memory(error):
            run.call(host.free_memory)
        run.call(host.repair_model)
    except Exception:
        log.warning("the WebUI could not be put right after a job failed", exc_info=True)


def _checkpoint(request: Request) -> str:
    """The checkpoint a job failed with, as the person who sent it calls it."""
    return f"the checkpoint {_own_checkpoint(request.payload) or host.options().sd_model_checkpoint}"


def _count(request: Request) -> int:
    return images(request.payload) if request.task in ("txt2img", "img2img") else 1


def _own_checkpoint(payload: Mapping[str, Any]) -> Any:
    return (payload.get("override_settings") or {}).get("sd_model_checkpoint")


def _explain(error: Exception) -> None:
    """Raise what the host's error means, where it means something to us."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status < 500:
        raise RequestRefused(reason=str(getattr(error, "detail", error))) from error
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        from ..compat import faults

        raise InvalidRequest(faults(error.errors(), ("payload",))) from error


def _result(request: Request, answer: Any, run: HostRun) -> Result:
    """The API's answer as a Result; after an interruption by the queue without what is half-made."""
    if request.task == "extras":
        return Result((_picture(answer.image),), {"html_info": answer.html_info}, {**request.payload, "image": None})
    info = json.loads(answer.info)
    first, seeds, texts = (
        info.get("index_of_first_image") or 0,
        info.get("all_seeds") or [],
        info.get("infotexts") or [],
    )
    pictures = [_picture(data, _at(seeds, i - first), _at(texts, i) or "") for i, data in enumerate(answer.images)]
    if run.cancelled.is_set():
        pictures = pictures[first : first + _finished(request, run)]
    parameters = {**answer.parameters, "force_task_id": request.payload.get("force_task_id")}
    return Result(tuple(pictures), info, parameters)


def _finished(request: Request, run: HostRun) -> int:
    """How many pictures were done when the queue stopped the run; whole batches, made side by side."""
    batch = request.payload.get("batch_size") or 1
    batches = int((run.finished or 0.0) * (request.payload.get("n_iter") or 1) + 1e-6)
    return batches * batch


def _at(values: list[Any], index: int) -> Any:
    return values[index] if 0 <= index < len(values) else None


def _picture(data: "str | bytes", seed: int | None = None, infotext: str = "") -> Picture:
    raw = base64.b64decode(data)
    return Picture(raw, *_size(raw), seed, infotext)


def _size(raw: bytes) -> tuple[int, int]:
    """Width and height. A PNG begins with them, and to ask Pillow costs every job a tenth of a millisecond."""
    if raw.startswith(PNG):
        width, height = struct.unpack_from(">II", raw, len(PNG))
        return width, height
    return Image.open(io.BytesIO(raw)).size
