"""A pipeline that sends each job to another WebUI's ``/sdapi/v1`` and watches it run there.

The request is posted from a helper thread, since the WebUI answers only when the pictures are done. Meanwhile the
worker's thread asks ``/progress`` every ``poll_s`` seconds (without the picture, which is fetched only when somebody
looks), and passes on a cancellation as ``/interrupt`` and a skip as ``/skip``. Where somebody else is using the remote,
its progress is theirs until our turn comes, and so would an interruption be: the WebUI's API knows no job ids.

A remote that cannot be reached, is starting, or wants other credentials makes the job wait (``PipelineUnavailable``).
A connection that breaks after the request was taken is a failed attempt instead, so that a job which kills the remote
does not do so for ever. The request itself is never sent twice.

What is measured: two small requests a second while a job runs; the delay between the remote's answer and ours is
below a millisecond, as the helper thread sets the event the poll waits on.
"""

import base64
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from PIL import Image

from queue_ext.errors import InvalidSetting, PipelineUnavailable, RequestRefused, invalid
from queue_ext.pipelines import Cancellation, Picture, Progress, Request, Result
from queue_ext.pipelines.payloads import images, passes

if TYPE_CHECKING:
    import requests

PATHS = {"txt2img": "txt2img", "img2img": "img2img", "extras": "extra-single-image"}
PREVIEW_SIDE = 256  # pixels: the longer side of a preview
JSON = "application/json"
CONNECT_TIMEOUT = 5.0  # seconds
WATCH_TIMEOUT = 10.0  # seconds an answer to /progress, /interrupt or /skip may take
FORWARD_TIMEOUT = 120.0  # seconds for any other answer: loading a checkpoint takes its time
SILENCE = 120.0  # seconds without any answer to /progress after which the remote counts as gone
INTERRUPT_DEADLINE = 30.0  # seconds an interrupted remote has to come back with its pictures
WAITING = frozenset({401, 403, 407, 408, 429, 502, 503, 504})  # says nothing about the job: it may run later
REASONS = {401: "it wants other credentials", 403: "it wants other credentials", 407: "a proxy wants credentials"}
OUT_OF_MEMORY = ("outofmemory", "out of memory", "cuda error: out", "not enough memory")
REFUSALS = ("invalid encoded image", "invalid image url", "requests not allowed", "request to local resource")


class RemotePipeline:
    """Another WebUI as the place where jobs run.

    ``url`` is its base address, with ``user:password@`` where it runs with ``--api-auth``; they are used and never
    shown. ``timeout_s`` bounds one generation in seconds (off by default: a large job may take hours; the remote is
    watched while it runs). Raises ``InvalidSetting`` for anything but an http or https address.
    """

    tasks: tuple[str, ...] = tuple(PATHS)
    operated_by_admins = True  # what changes the remote for everyone is not for everyone

    def __init__(self, url: str, timeout_s: "float | None" = None, poll_s: float = 0.5) -> None:
        parts = _address(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        place = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "") + parts.path.rstrip("/")
        self.name = f"remote {place}"
        self.timeout_s, self.poll_s = timeout_s, poll_s
        self.silence_s, self.interrupt_deadline_s = SILENCE, INTERRUPT_DEADLINE
        self._base = f"{place}/sdapi/v1/"
        self._auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._session: requests.Session | None = None

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """The general limits were checked; what the remote knows is its own to say, when the job runs."""
        if task not in self.tasks:
            raise invalid("task", msg=f"must be one of {', '.join(self.tasks)} for a remote WebUI, not {task!r}")

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        """Have the remote make the pictures.

        Raises ``PipelineUnavailable`` when it cannot be reached, ``RequestRefused`` with the remote's own words when it
        does not take the request, ``RuntimeError`` or ``ConnectionError`` when it failed while it ran.
        """
        if cancelled.is_set():
            return Result()
        call = _Call(self, request)
        call.start()
        try:
            self._watch(call, _Sight(request), on_progress, cancelled)
        except BaseException:
            self.interrupt()  # nobody will take what it makes
            raise
        finally:
            if not call.done.is_set():
                call.abandon()
        return call.result()

    def forward(self, method: str, path: str, query: str, body: bytes, headers: Any = None) -> tuple[int, str, bytes]:
        """What the remote answers at ``/sdapi/v1/<path>``: status, content type, body.

        Our credentials are used and the client's are not passed on. Raises ``PipelineUnavailable``.
        """
        import requests

        if not re.fullmatch(r"[\w-]+(/[\w-]+)*", path, re.ASCII):  # nothing that leads out of /sdapi/v1
            return 404, JSON, b'{"detail": "Not Found"}'
        address = self.address(path) + (f"?{query}" if query else "")
        kind = {"Content-Type": (headers or {}).get("content-type", JSON)} if body else {}
        try:
            with self.session() as session:
                answer = session.request(
                    method,
                    address,
                    data=body,
                    headers=kind,
                    timeout=(CONNECT_TIMEOUT, FORWARD_TIMEOUT),
                    allow_redirects=False,
                )
        except requests.RequestException:
            raise self.unavailable("it could not be asked") from None  # the error holds the address with the password
        if answer.is_redirect or answer.status_code in REASONS:
            raise self.unavailable(REASONS.get(answer.status_code) or "it redirects to another address")
        is_json = answer.headers.get("content-type", "").startswith(JSON)
        return answer.status_code, JSON if is_json else "application/octet-stream", answer.content

    def busy(self) -> bool:
        return False

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def interrupt(self) -> None:
        """Ask the remote to stop what it is doing, once."""
        self._ask("POST", "interrupt")

    def session(self) -> "requests.Session":
        """A new session. Proxies and ``.netrc`` of the environment play no part in it, its certificates do."""
        import requests

        session = requests.Session()
        session.auth, session.trust_env = self._auth, False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        return session

    def address(self, path: str) -> str:
        return self._base + path

    def unavailable(self, reason: str) -> PipelineUnavailable:
        return PipelineUnavailable(pipeline=self.name, reason=reason)

    def _watch(
        self, call: "_Call", sight: "_Sight", on_progress: Callable[[Progress], None], cancelled: Cancellation
    ) -> None:
        """Until the call is done: report progress, pass on skip and cancellation."""
        heard = time.monotonic()
        while not _either(call.done, cancelled, self.poll_s):
            if cancelled.take_skip():
                self._ask("POST", "skip")
            state = self._ask("GET", "progress?skip_current_image=true")
            if state is not None:
                heard = time.monotonic()
                on_progress(sight.progress(state, self._preview))
            elif time.monotonic() - heard > self.silence_s:
                raise self.unavailable(f"it has not answered for {self.silence_s:.0f} s")
        if cancelled.is_set():
            self._interrupt(call)

    def _interrupt(self, call: "_Call") -> None:
        """Again and again: the WebUI forgets an interruption that arrives while it still prepares the job."""
        deadline = time.monotonic() + self.interrupt_deadline_s
        while not call.done.is_set() and time.monotonic() < deadline:
            self.interrupt()
            call.done.wait(self.poll_s)
        call.stopped = True

    def _preview(self) -> "bytes | None":
        state = self._ask("GET", "progress?skip_current_image=false") or {}
        return _jpeg(state.get("current_image"))

    def _ask(self, method: str, path: str) -> "dict[str, Any] | None":
        """A side question; none when it was not answered, which is no reason to give up a job that runs."""
        import requests

        self._session = self._session or self.session()
        try:
            timeout = (CONNECT_TIMEOUT, WATCH_TIMEOUT)
            answer = self._session.request(method, self.address(path), timeout=timeout, allow_redirects=False)
            found = answer.json() if answer.ok and not answer.is_redirect else None
        except (requests.RequestException, ValueError):
            return None
        return found if isinstance(found, dict) else ({} if answer.ok else None)


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        # The value may hold a password, so it is not repeated.
        raise InvalidSetting(name="pipeline", value="…", allowed="an address such as http://other-webui:7860")
    return parts


def _either(done: threading.Event, cancelled: Cancellation, seconds: float) -> bool:
    """True as soon as the call is done or the attempt is to stop; waits up to ``seconds``."""
    end = time.monotonic() + seconds
    while not done.is_set() and not cancelled.is_set():
        left = end - time.monotonic()
        if left <= 0:
            return False
        done.wait(min(left, 0.05))  # cancellation has an event of its own: it is noticed within 50 ms
    return True


class _Call(threading.Thread):
    """The one generation request, on a connection of its own: a kept one may be stale, and this must not be resent."""

    def __init__(self, remote: RemotePipeline, request: Request) -> None:
        super().__init__(name=f"queue-remote-{request.job_id}", daemon=True)
        self.done = threading.Event()
        self.stopped = False  # we interrupted it
        self._remote, self._request = remote, request
        self._session = remote.session()
        self._answer: requests.Response | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer = self._post()
        except BaseException as error:  # told to the worker's thread in result()
            self._error = error
        finally:
            self._session.close()
            self.done.set()

    def _post(self) -> "requests.Response":
        return self._session.post(
            self._remote.address(PATHS[self._request.task]),
            json=_outgoing(self._request),
            timeout=(CONNECT_TIMEOUT, self._remote.timeout_s),
            allow_redirects=False,
            headers={"Connection": "close"},
        )

    def abandon(self) -> None:
        """Stop waiting; the thread ends by itself when the remote answers or the connection breaks."""
        self._session.close()

    def result(self) -> Result:
        """What came back. Raises what the caller of ``run`` is to see."""
        if self._answer is None and self._error is None:
            if self.stopped:
                return Result()  # it did not stop in time; the job is over all the same
            raise self._remote.unavailable("it does not answer")
        if self._error is not None:
            raise self._told(self._error) from None  # a chained message would hold the address with the password
        assert self._answer is not None
        return _result(self._request, _answered(self._remote, self._answer))

    def _told(self, error: BaseException) -> BaseException:
        """The error in our words: those of requests hold the whole address."""
        import requests

        if isinstance(error, requests.Timeout):
            if isinstance(error, requests.ReadTimeout):
                self._remote.interrupt()  # or it would still be at it when the job comes again
            return self._remote.unavailable("it did not answer in time")
        if isinstance(error, requests.ConnectionError) and _never_connected(error):
            return self._remote.unavailable("the connection was refused or its name is unknown")
        if isinstance(error, requests.RequestException):
            return ConnectionError(f"{self._remote.name} broke off the connection while the job ran")
        return error


def _never_connected(error: BaseException) -> bool:
    """urllib3 names it NewConnectionError or NameResolutionError somewhere below; a broken one is a ProtocolError."""
    from urllib3.exceptions import NewConnectionError, SSLError

    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, (NewConnectionError, SSLError))


def _outgoing(request: Request) -> dict[str, Any]:
    """The pictures have to come back, whatever the client asked for on its own side."""
    return {**request.payload, "send_images": True} if request.task != "extras" else dict(request.payload)


# --- Answers ---------------------------------------------------------------------------------------------------------


def _answered(remote: RemotePipeline, answer: "requests.Response") -> dict[str, Any]:
    """The body of a 200. Raises for everything else."""
    if answer.is_redirect or 300 <= answer.status_code < 400:
        raise remote.unavailable("it redirects to another address, which is not followed")
    if answer.status_code != 200:
        raise _failure(remote, answer.status_code, _words(answer))
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RuntimeError(f"{remote.name} answered with something that is not a JSON object")
    return body


def _failure(remote: RemotePipeline, status: int, words: str) -> Exception:
    """What an answer other than 200 means for the job."""
    if status in WAITING:
        return remote.unavailable(REASONS.get(status) or f"it answered {status}")
    if status in (404, 405) and words in ("Not Found", "Method Not Allowed", ""):
        return remote.unavailable("it has no /sdapi/v1 (yet): is it started with --api?")
    if status < 500 or any(refusal in words.lower() for refusal in REFUSALS):
        return RequestRefused(reason=f"{remote.name} refused the request: {words or status}")
    if any(sign in words.lower() for sign in OUT_OF_MEMORY):
        return RuntimeError(f"{remote.name} ran out of memory: {words}")
    return RuntimeError(f"{remote.name} failed: {words or status}")


def _words(answer: "requests.Response") -> str:
    """What the remote says went wrong: FastAPI's ``detail``, or the WebUI's ``error`` and ``errors``."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    if isinstance(body.get("detail"), list):
        return "; ".join(map(_place, body["detail"]))[:1000]
    said, kind = str(body.get("detail") or body.get("errors") or ""), body.get("error")
    return (f"{kind}: {said}" if kind and kind != "HTTPException" else said)[:1000]


def _place(fault: Any) -> str:
    """One of pydantic's faults: where and what."""
    if not isinstance(fault, dict):
        return str(fault)
    where = ".".join(str(part) for part in fault.get("loc", ()) if part != "body")
    return f"{where}: {fault.get('msg', '')}" if where else str(fault.get("msg", ""))


def _result(request: Request, body: dict[str, Any]) -> Result:
    parameters = body.get("parameters")
    info = _info(body.get("info"))
    if request.task == "extras":
        picture = _picture(body.get("image"))
        return Result((picture,), {"html_info": str(body.get("html_info") or "")}, {**request.payload, "image": None})
    pictures = _pictures(body.get("images"), info)
    return Result(pictures, info, parameters if isinstance(parameters, dict) else {})


def _info(text: Any) -> dict[str, Any]:
    """The WebUI sends it as JSON in a string."""
    try:
        info = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        info = None
    return info if isinstance(info, dict) else {}


def _pictures(found: Any, info: dict[str, Any]) -> tuple[Picture, ...]:
    """``index_of_first_image`` grids come first: they have an infotext and no seed."""
    if not isinstance(found, list):
        raise RuntimeError("the remote WebUI answered without a list of images")
    first, seeds, texts = info.get("index_of_first_image") or 0, info.get("all_seeds"), info.get("infotexts")
    return tuple(_picture(data, _at(seeds, i - first), _at(texts, i)) for i, data in enumerate(found))


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and 0 <= index < len(values) else None


def _picture(data: Any, seed: Any = None, infotext: Any = None) -> Picture:
    """Decoded and its header read. Raises ``RuntimeError`` for what is no picture."""
    try:
        body = data.partition(",")[2] if data.startswith("data:") else data
        raw = base64.b64decode(body)
        width, height = Image.open(io.BytesIO(raw)).size
    except Exception as error:  # the decoders of Pillow raise whatever a broken file brings about
        raise RuntimeError("the remote WebUI answered with something that is not a picture") from error
    return Picture(raw, width, height, seed if isinstance(seed, int) else None, infotext or "")


def _jpeg(text: Any) -> "bytes | None":
    """A small JPEG of a picture in base64."""
    if not isinstance(text, str) or not text:
        return None
    try:
        image, out = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2] or text))), io.BytesIO()
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        image.convert("RGB").save(out, "JPEG", quality=80)
    except Exception:  # a preview that cannot be read is not worth a job
        return None
    return out.getvalue()


class _Sight:
    """Makes progress reports of what the remote tells, even if that is about somebody else's job before ours."""

    def __init__(self, request: Request) -> None:
        self._images = 1 if request.task == "extras" else images(request.payload)
        self._steps = passes(request.task, request.payload)[0][0] if request.task != "extras" else 0
        self._batch = request.payload.get("batch_size") or 1

    def progress(self, body: dict[str, Any], preview: Callable[[], "bytes | None"]) -> Progress:
        state = body.get("state") if isinstance(body.get("state"), dict) else {}
        assert isinstance(state, dict)
        # The WebUI counts batches (`job_no` of `job_count`), each of `batch_size` pictures made side by side.
        image = min(self._images, int(_real(state.get("job_no"))) * self._batch + 1)
        steps = int(_real(state.get("sampling_steps"))) or self._steps
        step = min(int(_real(state.get("sampling_step"))), steps)
        fraction = min(1.0, _real(body.get("progress")))
        return Progress(fraction, step, steps, image, self._images, preview)


def _real(value: Any) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if good else 0.0
