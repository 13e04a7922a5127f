"""The model of durations: what it tells before, with few and with many measurements, and when a machine changes."""

import statistics
from typing import Any

import pytest

from bench.estimates import LEARNT, replayed
from queue_ext.durations import PRIOR, Measured, fit
from queue_ext.pipelines.payloads import effort


def of(task: str = "txt2img", **payload: Any) -> dict[str, Any]:
    checkpoint = payload.pop("checkpoint", None)
    named = {"override_settings": {"sd_model_checkpoint": checkpoint}} if checkpoint else {}
    return effort(task, {"steps": 20, "width": 512, "height": 512, **named, **payload})


def wrong(told: float, really: float) -> float:
    return abs(told - really) / really


@pytest.mark.parametrize("seed", range(3))
def test_the_median_error_of_two_hundred_mixed_jobs_is_small_once_twenty_have_run(seed: int) -> None:
    assert statistics.median(replayed(seed)[LEARNT:]) <= 0.15


def test_one_measurement_sets_the_scale() -> None:
    slow = fit([Measured(of(), 10 * PRIOR.seconds(of()))])
    assert slow.seconds(of()) == pytest.approx(10 * PRIOR.seconds(of()), rel=0.05)
    assert slow.seconds(of(steps=40)) == pytest.approx(10 * PRIOR.seconds(of(steps=40)), rel=0.3)


def test_a_machine_that_cares_for_steps_alone_is_understood() -> None:
    sizes = ((64, 64), (512, 512), (1024, 1024))
    measured = [
        Measured(of(steps=steps, width=w, height=h), steps * 0.05) for steps in (5, 10, 20, 30) for w, h in sizes
    ]
    model = fit(measured)
    for steps, (width, height) in ((15, (512, 512)), (40, (1024, 1024)), (8, (64, 64))):
        assert wrong(model.seconds(of(steps=steps, width=width, height=height)), steps * 0.05) < 0.15


def test_batches_that_are_cheaper_than_single_pictures_are_understood() -> None:
    measured = [
        Measured(of(batch_size=batch, n_iter=count), count * (1.0 + 0.25 * batch))
        for batch in (1, 2, 4, 8)
        for count in (1, 2, 3)
    ]
    assert wrong(fit(measured).seconds(of(batch_size=6, n_iter=2)), 2 * 2.5) < 0.1


def test_every_checkpoint_has_its_own_pace_and_takes_its_time_to_load() -> None:
    measured = []
    before = None
    for number in range(40):
        checkpoint = ("a", "a", "b")[number % 3]
        seconds = 2.0 * (3.0 if checkpoint == "b" else 1.0) * (1 + number % 2) + (6.0 if checkpoint != before else 0)
        measured.append(Measured(of(checkpoint=checkpoint, n_iter=1 + number % 2), seconds, checkpoint != before))
        before = checkpoint
    model = fit(measured)
    assert wrong(model.seconds(of(checkpoint="a")), 2.0) < 0.15
    assert wrong(model.seconds(of(checkpoint="b")), 6.0) < 0.15
    assert wrong(model.seconds(of(checkpoint="b"), switched=True), 12.0) < 0.15


def test_a_machine_that_became_slower_is_believed_after_a_while() -> None:
    measured = [Measured(of(steps=steps), steps * 0.1) for steps in (10, 20, 30) for _ in range(20)]
    slower = [Measured(of(steps=steps), steps * 0.3) for steps in (10, 20, 30) for _ in range(20)]
    mixed = [job for triple in zip(slower[:20], slower[20:40], slower[40:], strict=True) for job in triple]
    assert wrong(fit(measured + mixed).seconds(of(steps=20)), 6.0) < 0.15


def test_a_few_that_went_wrong_change_little() -> None:
    measured = [Measured(of(steps=10 + number % 20), (10 + number % 20) * 0.1) for number in range(30)]
    for place in (3, 11, 25):
        measured[place] = Measured(measured[place].effort, measured[place].seconds * 20)
    assert wrong(fit(measured).seconds(of(steps=20)), 2.0) < 0.1


def test_enlarging_and_sampling_are_learnt_apart() -> None:
    model = fit([Measured(of("extras", upscaling_resize=4), 30.0)] * 5 + [Measured(of(), 1.0)] * 5)
    assert wrong(model.seconds(of()), 1.0) < 0.05
    assert wrong(model.seconds(of("extras", upscaling_resize=4)), 30.0) < 0.05


def test_nothing_is_below_nothing_and_strange_measurements_break_nothing() -> None:
    strange = [Measured(of(steps=1), 0.0), Measured(of(steps=1000, width=8192, height=8192), 1e-9), Measured(of(), 1e9)]
    model = fit(strange)
    for what in (of(), of(steps=1000, width=8192, height=8192, batch_size=1000), of("extras"), of(checkpoint="new")):
        assert model.seconds(what) >= 0
    assert fit([]).seconds(of()) == PRIOR.seconds(of())
