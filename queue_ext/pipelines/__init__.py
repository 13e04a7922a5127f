"""What runs a job: the Protocol every pipeline fulfils, and the values that pass through it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One attempt at one job.

    ``payload`` is the body as the WebUI's own ``/sdapi/v1/<task>`` takes it, pictures inlined as base64 PNG/JPEG/WebP.
    """

    job_id: str
    task: str
    payload: dict[str, Any]
    attempt: int = 1
    owner: str = "anonymous"


@dataclass(frozen=True)
class Progress:
    """Where an attempt stands.

    ``fraction`` 0.0 to 1.0 of the whole job; ``step`` of ``steps`` in the current picture; picture ``image``
    (1-based) of ``images``. ``preview`` makes a small JPEG when somebody wants to see one; it is called at once, in
    the calling thread, and only as often as ``preview_fps`` allows.
    """

    fraction: float
    step: int = 0
    steps: int = 0
    image: int = 1
    images: int = 1
    preview: Callable[[], bytes | None] | None = None


@dataclass(frozen=True)
class Picture:
    """One finished picture, already encoded (PNG with infotext for txt2img and img2img)."""

    data: bytes
    width: int
    height: int
    seed: int | None = None
    infotext: str = ""


@dataclass(frozen=True)
class Result:
    """What an attempt made. After a cancellation it holds the pictures finished so far.

    ``info`` is the WebUI's ``info`` object (``all_seeds``, ``infotexts``, …), ``parameters`` the request as it was run.
    ``interrupted`` says who stopped the attempt when it was not the queue itself.
    """

    pictures: tuple[Picture, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    interrupted: str | None = None


class Cancellation:
    """Tells a running attempt to stop (once, with a reason) or to skip the current picture.

    ``reason`` is ``cancelled``, ``timeout``, ``shutdown`` or ``lease lost``. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._skip = threading.Event()
        self._lock = threading.Lock()
        self.reason: str | None = None

    def cancel(self, reason: str = "cancelled") -> None:
        with self._lock:
            if self.reason is None:
                self.reason = reason
        self._stopped.set()

    def is_set(self) -> bool:
        return self._stopped.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep up to ``seconds``; true as soon as the attempt is to stop."""
        return self._stopped.wait(seconds)

    def skip(self) -> None:
        self._skip.set()

    def take_skip(self) -> bool:
        """True once for each ``skip()``: leave the current picture and go on with the next one."""
        if self._skip.is_set():
            self._skip.clear()
            return True
        return False


class Pipeline(Protocol):
    """Runs one request at a time. Only the worker's thread calls ``run``."""

    name: str  # shown on the page, such as "demo" or "remote http://gpu:7860"
    tasks: tuple[str, ...]  # what it can run; `ui:` stands for every captured button

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """Raise ``InvalidRequest`` (``loc`` below ``payload``) for what this pipeline could not run. Called at the
        door, from any thread, so it must be quick; the general limits of the contract were checked before."""

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        """Make the pictures. Blocks.

        Raises ``RequestRefused`` where trying again is pointless, ``PipelineUnavailable`` where the job should keep
        waiting, anything else for an attempt that failed. When ``cancelled`` is set it returns soon, with what is done.
        """

    def busy(self) -> bool:
        """Whether somebody else holds the pipeline right now (a Generate click): it counts as one job ahead."""

    def close(self) -> None:
        """Give back what the pipeline holds. It may be used again afterwards."""
