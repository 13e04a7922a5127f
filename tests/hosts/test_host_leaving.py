"""The WebUI is stopped by whoever runs it, in the stand-ins and, with ``--webui-dir``, in the real host."""

import signal
from typing import Any

from .hosts import Host

SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler"}
LONG = {**SMALL, "width": 128, "height": 128, "steps": 100, "n_iter": 50}  # minutes: until it is cancelled


def test_a_webui_that_is_stopped_in_the_middle_of_a_job_has_not_crashed(host: Host) -> None:
    """By Ctrl+C, as a service manager does it, and once more: two crashes would have ended the job."""
    running, waiting = host.enqueue(LONG), host.enqueue(SMALL)
    for how in (signal.SIGINT, signal.SIGTERM):
        host.begun(running)
        host.stop(how)
        host.start()
        host.healthy()
    job = host.begun(running)
    assert job["attempt"] == 1, job["history"]
    assert host.job(waiting)["state"] == "enqueued"
    host.ask("DELETE", f"/queue-ext/v1/jobs/{running}")
    assert host.wait(waiting)["state"] == "succeeded"
