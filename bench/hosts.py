"""What the queue costs inside a real WebUI, beside the same WebUI without it, side by side in one run::

    OMP_NUM_THREADS=1 python -m bench.hosts --webui-dir PATH [--webui-command 'venv/bin/python launch.py']

Jobs and calls are measured with the WebUI on one core and this program on the others, unless ``--all-cores`` is given:
on two, one and the same picture takes a fifth longer in one round than in the next, and what is to be measured is a
thirtieth. For the same reason they are compared in several starts of the WebUI: one start favours the jobs, another the
calls, by some hundredths until it ends. Starts are what the line "Startup time" in the log says, without the import of
PyTorch. A job's delay behind an API call is the time from the call's answer to the job's end, less what such a job
takes when it is submitted after such a call has ended: a host has kept what it made of the prompt for another number of
steps, and the first picture after it takes longer.
"""

import argparse
import http.client
import json
import re
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from bench.table import Figure, show
from tests.hosts.conftest import ROOT, WebUI

STARTS, JOB_STARTS, ROUNDS, JOBS, DELAYS = 3, 6, 6, 50, 20
ONE_STEP: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1, "sampler_name": "Euler"}
LONGER = {**ONE_STEP, "steps": 25}


def main() -> list[Figure]:
    arguments = _arguments()
    name = "Forge" if (Path(arguments.webui_dir) / "modules_forge").is_dir() else "AUTOMATIC1111"
    figures = [] if arguments.no_starts else [*_starts(arguments, name), _installer(arguments, name)]
    rounds, delays = [], []
    for number in range(JOB_STARTS):
        with started(arguments, True, arguments.all_cores) as webui:
            for _ in range(3):
                post(webui, "/sdapi/v1/txt2img", ONE_STEP)
                finished(webui, webui.enqueue(ONE_STEP))
            rounds.append([_round(webui, each) for each in range(ROUNDS)])
            if number == 0:
                delays = [_behind_a_call(webui, name), _when_empty(webui, name)]
    return [*figures, _jobs_beside_calls(rounds, name), *delays]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--webui-dir", required=True)
    parser.add_argument("--webui-command", default="venv/bin/python launch.py")
    parser.add_argument("--webui-models", default=None)
    parser.add_argument("--no-starts", action="store_true", help="leave out the start-up times")
    parser.add_argument("--all-cores", action="store_true", help="do not keep the WebUI on one core")
    return parser.parse_args()


@contextmanager
def started(arguments: argparse.Namespace, with_queue: bool, all_cores: bool = True) -> Iterator[WebUI]:
    folder = Path(arguments.webui_dir).resolve()
    models = arguments.webui_models or str(folder / "models/Stable-diffusion")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as data:
        (Path(data) / "extensions").mkdir()
        if with_queue:
            (Path(data) / "extensions/queue-ext").symlink_to(ROOT)
        webui = WebUI(folder, shlex.split(arguments.webui_command), Path(data), models, ["--api"])
        try:
            with nullcontext() if all_cores else _one_core():
                webui.start()
            yield webui
        finally:
            webui.stop()


@contextmanager
def _one_core() -> Iterator[None]:
    """What is started in this context runs on one core, and this program on the others from then on."""
    this = psutil.Process()
    cores = this.cpu_affinity()  # macOS has no such thing: --all-cores there
    this.cpu_affinity(cores[:1])
    try:
        yield
    finally:
        this.cpu_affinity(cores[1:] or cores)


def _starts(arguments: argparse.Namespace, name: str) -> list[Figure]:
    """In turns, so that whatever else the machine does weighs on both."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for number in range(STARTS + 1):
        for with_queue in (number % 2 == 0, number % 2 == 1):
            with started(arguments, with_queue) as webui:
                if number:  # the first two warm up the disk
                    taken[with_queue].append(_start(webui.log.read_text(errors="replace")))
    with_it, without = statistics.median(taken[True]), statistics.median(taken[False])
    beside = f"{without:.1f} s without us; agent-scheduler + 1.0 s"
    return [Figure(f"{name}: start", f"{with_it:.1f} s", beside, f"{with_it - without:+.2f} s", "≤ + 0.5 s")]


def _start(log: str) -> float:
    """Seconds of "Startup time: 9.5s (import torch: 4.8s, …)" without PyTorch's import: it comes before any extension,
    and takes a second more or less from one start to the next."""
    whole, torch = re.search(r"Startup time: ([\d.]+)s \(.*?import torch: ([\d.]+)s", log).groups()  # type: ignore[union-attr]
    return float(whole) - float(torch)


def _installer(arguments: argparse.Namespace, name: str) -> Figure:
    python = shlex.split(arguments.webui_command)[0]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([python, str(ROOT / "install.py")], cwd=arguments.webui_dir, check=True)
        times.append(time.perf_counter() - began)
    return Figure(f"{name}: install.py with all there", f"{statistics.median(times):.2f} s", "", "", "< 0.3 s")


def _jobs_beside_calls(starts: list[list[tuple[float, float]]], name: str) -> Figure:
    """Of rounds as ``_round`` gives them, a list for each start."""
    ours, theirs = zip(*(each for start in starts for each in start), strict=True)
    ratios = [[jobs / calls for jobs, calls in start] for start in starts]
    each = ", ".join(f"{statistics.median(start):.3f}" for start in ratios)
    every = [ratio for start in ratios for ratio in start]
    verdict = f"{statistics.median(every):.3f} times (by start {each}; rounds {min(every):.3f} to {max(every):.3f})"
    beside = f"{statistics.median(theirs):.2f} s as API calls"
    return Figure(f"{name}: {JOBS} one-step jobs", f"{statistics.median(ours):.2f} s", beside, verdict, "≤ 1.03 times")


def _round(webui: WebUI, number: int) -> tuple[float, float]:
    """Seconds of jobs, and of calls, half of them before and half after, so that a machine that slows down is fair."""
    calls = _calls(webui, number)
    jobs = _jobs(webui, number, calls)
    return jobs, (calls + _calls(webui, number)) / 2


def _calls(webui: WebUI, number: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", webui.port)
    began = time.perf_counter()
    for seed in range(JOBS):
        body = json.dumps({**ONE_STEP, "seed": number * 1000 + seed})
        connection.request("POST", "/sdapi/v1/txt2img", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    return time.perf_counter() - began


def _jobs(webui: WebUI, number: int, expected: float) -> float:
    """From the moment the first one is submitted until the last one has ended, by the clock of this machine. Nobody asks
    for so many seconds: to answer costs the WebUI as much as a twentieth of a picture."""
    jobs = [{"task": "txt2img", "payload": {**ONE_STEP, "seed": number * 1000 + seed}} for seed in range(JOBS)]
    began = time.time()
    status, answer = webui.ask("POST", "/queue-ext/v1/jobs/batch", {"jobs": jobs})
    assert status == 201, answer
    time.sleep(expected)
    return finished(webui, answer["jobs"][-1]["id"], 0.1) - began


def _behind_a_call(webui: WebUI, name: str) -> Figure:
    alone = statistics.median(_alone(webui) for _ in range(DELAYS))
    delays = []
    for _ in range(DELAYS):
        ended: list[float] = []
        call = Thread(target=_longer_call, args=(webui, ended))
        call.start()
        time.sleep(0.3)
        job_id = webui.enqueue(ONE_STEP)
        call.join()
        delays.append(finished(webui, job_id) - ended[0] - alone)
    return Figure(
        f"{name}: a job behind a direct API call starts after",
        _ms(delays),
        "agent-scheduler 1.8 s",
        f"a job after such a call {alone * 1000:.0f} ms",
        "≤ 50 ms",
    )


def _longer_call(webui: WebUI, ended: list[float]) -> None:
    post(webui, "/sdapi/v1/txt2img", LONGER)
    ended.append(time.time())


def _alone(webui: WebUI) -> float:
    post(webui, "/sdapi/v1/txt2img", LONGER)
    job = webui.wait(webui.enqueue(ONE_STEP))
    return _moment(job["finished_at"]) - _moment(job["started_at"])


def _when_empty(webui: WebUI, name: str) -> Figure:
    """Submitted 0 to 1 s after the queue ran empty."""
    delays = []
    for number in range(DELAYS):
        webui.wait(webui.enqueue(ONE_STEP))
        time.sleep(number / DELAYS)
        job = webui.wait(webui.enqueue(ONE_STEP))
        delays.append(_moment(job["started_at"]) - _moment(job["created_at"]))
    return Figure(
        f"{name}: a job for an empty queue starts after",
        _ms(delays),
        "agent-scheduler: not within 0.8 s",
        "",
        "≤ 50 ms",
    )


def finished(webui: WebUI, job_id: str, look: float = 0.02) -> float:
    while True:
        job = webui.job(job_id)
        if job["finished_at"]:
            assert job["state"] == "succeeded", job["reason"]
            return _moment(job["finished_at"])
        time.sleep(look)


def post(webui: WebUI, path: str, body: Any) -> None:
    status, answer = webui.ask("POST", path, body)
    assert status == 200, answer


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms (worst of {len(seconds)}: {max(seconds) * 1000:.0f} ms)"


if __name__ == "__main__":
    show(main())
