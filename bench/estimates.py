"""How well durations are told beforehand: 200 mixed jobs, each foretold from those before it.

Once on a card that is a formula of its own, unlike the model's (batches get cheaper, large pictures dearer by a power,
checkpoints differ and take their time to load, every run is a little off and one in thirty far off), and once really
run by the demo pipeline through the whole queue.
"""

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.idle import ME
from bench.table import Figure, median, percentile, show
from queue_ext.app import QueueApp
from queue_ext.durations import Measured, fit
from queue_ext.pipelines.demo import DemoPipeline
from queue_ext.pipelines.payloads import effort
from queue_ext.settings import Settings

JOBS = 200
LEARNT = 20  # jobs after which errors count
SIZES = ((512, 512), (512, 768), (768, 512), (640, 640), (768, 768), (1024, 1024))
CHECKPOINTS = {None: 1.0, "small": 0.8, "large": 3.6}
LOADING = 4.0  # seconds
SMALL = ((64, 64), (128, 64), (128, 128), (256, 192))  # what the demo paints quickly
REPLAYS = 5
PATIENCE = 300.0  # seconds


def mixed(chance: random.Random, sizes: Any = SIZES) -> tuple[str, dict[str, Any]]:
    """A request as people send them."""
    width, height = chance.choice(sizes)
    payload: dict[str, Any] = {
        "prompt": "a lighthouse", "seed": chance.randrange(10**6), "width": width, "height": height,
        "steps": chance.choice((8, 12, 20, 20, 25, 30, 50)),
        "batch_size": chance.choice((1, 1, 1, 2, 4)), "n_iter": chance.choice((1, 1, 1, 2)),
    }  # fmt: skip
    checkpoint = chance.choice((None, None, None, "small", "large"))
    if checkpoint:
        payload["override_settings"] = {"sd_model_checkpoint": checkpoint}
    if chance.random() < 0.2:
        payload |= {"enable_hr": True, "hr_scale": chance.choice((1.5, 2.0)), "denoising_strength": 0.5}
    if chance.random() < 0.1:
        return "extras", {"resize_mode": 1, "upscaling_resize_w": width * 2, "upscaling_resize_h": height * 2}
    return "txt2img", payload


def on_a_card(
    task: str, payload: dict[str, Any], before: str | None, chance: random.Random
) -> tuple[float, str | None]:
    """Seconds on the card of the formula, and the checkpoint it holds then."""
    what = effort(task, payload)
    if task == "extras":
        return (0.25 + 0.9 * what["passes"][0][1] * what["passes"][0][2] / 1e6) * chance.gauss(1, 0.05), before
    batch = what["batch"]
    step = sum(steps * (0.03 + 0.21 * (w * h / 1e6) ** 1.25 * batch**0.88) for steps, w, h in what["passes"])
    pixels = sum(w * h for _, w, h in what["passes"]) / 1e6
    seconds = 0.4 + what["pictures"] / batch * (step * CHECKPOINTS[what["checkpoint"]] + 0.35 * pixels * batch)
    seconds += LOADING * chance.uniform(0.8, 1.2) if what["checkpoint"] != before else 0.0
    far_off = chance.uniform(1.5, 4) if chance.random() < 1 / 30 else 1.0
    return seconds * max(0.8, chance.gauss(1, 0.06)) * far_off, what["checkpoint"]


def replayed(seed: int) -> list[float]:
    """Relative errors of jobs run on the formula's card, each foretold from those before it."""
    chance, measured, errors = random.Random(seed), list[Measured](), list[float]()
    before: Any = None  # the checkpoint that is loaded
    for _ in range(JOBS):
        task, payload = mixed(chance)
        what, held = effort(task, payload), before
        switched = task != "extras" and what["checkpoint"] != held
        told = fit(measured).seconds(what, switched) if measured else 0.0
        seconds, before = on_a_card(task, payload, held, chance)
        errors.append(abs(told - seconds) / seconds)
        measured.append(Measured(what, seconds, switched))
    return errors


def through_the_queue() -> list[float]:
    """Relative errors of jobs really run by the demo pipeline: what their row said when they started beside what they
    took. They wait in one batch, so that what waits is told anew while it is learnt."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        app = QueueApp(Settings(data_dir=Path(folder)), DemoPipeline(0.004))
        app.start()
        kinds = [payload for task, payload in (mixed(chance, SMALL) for _ in range(JOBS * 2)) if task == "txt2img"]
        for payload in kinds:
            payload.pop("override_settings", None)
        ids = app.queue.enqueue(ME, [{"task": "txt2img", "payload": payload} for payload in kinds[:JOBS]], batch=True)
        end = time.monotonic() + PATIENCE
        while app.store.counts().get(("default", "succeeded")) != JOBS:
            if time.monotonic() > end:
                raise TimeoutError("the queue did not finish its jobs")
            time.sleep(0.1)
        took = [row["seconds"] for rows in app.store.measurements().values() for row in rows]
        told = [row["work"] for row in app.store.jobs(ids)]
        app.stop()
    return [abs(a - b) / b for a, b in zip(told, took, strict=True)]


def main() -> list[Figure]:
    card = [error for seed in range(REPLAYS) for error in replayed(seed)[LEARNT:]]
    demo = through_the_queue()[LEARNT:]
    return [
        Figure(what, f"{median(errors):.1%}", f"{percentile(errors, 0.9):.0%} at p90", "", "≤ 15 %")
        for what, errors in (
            (
                f"error of the duration of {JOBS} mixed jobs on a simulated card, after {LEARNT}, {REPLAYS} replays",
                card,
            ),
            (f"error of the duration of {JOBS} mixed jobs the demo ran, after {LEARNT}", demo),
        )
    ]


if __name__ == "__main__":
    show(main())
