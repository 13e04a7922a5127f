"""How long a job takes, learnt from those that ran: a small model, and fitting it. Pure functions.

An effort is what ``pipelines.payloads.effort`` says of a request: ``{"kind", "passes": [[steps, width, height], …],
"pictures", "batch", "checkpoint"}``. docs/estimates.md tells why the model is what it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Effort = Mapping[str, Any]

HALF_LIFE = 60.0  # measurements after which one counts half: machines change, and drivers
TRUST = 0.02  # how much the prior weighs, in measurements: little, or a strange machine would take long to learn
OUTLIER = 0.25  # relative error beyond which a measurement pulls no harder
ROUNDS = 6  # of fitting costs and checkpoints in turn
SWEEPS = 40  # of coordinate descent in each
SLOWEST, FASTEST = 30.0, 1 / 30  # what a checkpoint can be beside another

# Seconds on a middling card: a job, a call of the model, a step of a picture, its pixels (megapixels), their square
# (attention), a picture's pixels in and out of latent space, another checkpoint than the job before.
SAMPLING = (0.3, 0.02, 0.005, 0.2, 0.05, 0.4, 4.0)
ENLARGING = (0.3, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0)
SWITCH = 6  # where the last of these stands


@dataclass(frozen=True)
class Measured:
    """One job that ran: what it was, how long it took, and whether another checkpoint ran before it."""

    effort: Effort
    seconds: float
    switched: bool = False


@dataclass(frozen=True)
class Model:
    """Seconds for each part of an effort, by kind, and how slow each checkpoint is beside the others."""

    costs: Mapping[str, Sequence[float]]
    factors: Mapping[str | None, float]
    measured: int = 0

    def seconds(self, effort: Effort, switched: bool = False) -> float:
        """How long a job takes; ``switched``: after one with another checkpoint."""
        costs = self.costs[family(effort)]
        return _seconds(costs, self.factors.get(effort["checkpoint"], 1.0), parts(effort, switched))


PRIOR = Model({"sampling": SAMPLING, "enlarging": ENLARGING}, {})


def family(effort: Effort) -> str:
    """Sampling and enlarging have nothing in common; txt2img and img2img differ only in their passes."""
    return "enlarging" if effort["kind"] == "extras" else "sampling"


def parts(effort: Effort, switched: bool = False) -> tuple[float, ...]:
    """How much a job needs of everything that has a cost."""
    pictures, passes = effort["pictures"], effort["passes"]
    rounds = math.ceil(pictures / max(1, effort["batch"]))
    sizes = [(steps, width * height / 1e6) for steps, width, height in passes]
    return (
        1.0,
        float(rounds * sum(steps for steps, _ in sizes)),
        float(pictures * sum(steps for steps, _ in sizes)),
        pictures * sum(steps * size for steps, size in sizes),
        pictures * sum(steps * size * size for steps, size in sizes),
        pictures * sum(size for _, size in sizes),
        1.0 if switched else 0.0,
    )


def fit(measured: Sequence[Measured]) -> Model:
    """The model that fits what was measured, oldest first."""
    costs, factors = dict(PRIOR.costs), {}
    for name, prior in PRIOR.costs.items():
        some = [each for each in measured if family(each.effort) == name and each.seconds > 0]
        if some:
            costs[name], found = _fit(prior, some)
            factors.update(found)
    return Model(costs, factors, len(measured))


def _fit(prior: Sequence[float], measured: Sequence[Measured]) -> tuple[Sequence[float], dict[str | None, float]]:
    """Costs and checkpoints in turn, each while the other is held, with less and less regard for outliers."""
    needs = [parts(each.effort, each.switched) for each in measured]
    seconds = [each.seconds for each in measured]
    names = [each.effort["checkpoint"] for each in measured]
    ages = [0.5 ** ((len(measured) - 1 - number) / HALF_LIFE) for number in range(len(measured))]
    scale = _median([took / _seconds(prior, 1.0, need) for need, took in zip(needs, seconds, strict=True)], ages)
    start = [cost * scale for cost in prior]
    costs, factors, weights = start, dict.fromkeys(names, 1.0), ages
    for _ in range(ROUNDS):
        slowed = [_slowed(need, factors[name]) for need, name in zip(needs, names, strict=True)]
        costs = _solve(start, slowed, seconds, weights)
        factors = _factors(costs, needs, seconds, names, weights)
        weights = [
            age * min(1.0, OUTLIER / max(1e-9, abs(math.log(max(1e-9, _seconds(costs, factors[name], need)) / took))))
            for age, need, name, took in zip(ages, needs, names, seconds, strict=True)
        ]
    return costs, factors


def _seconds(costs: Sequence[float], factor: float, need: Sequence[float]) -> float:
    return sum(cost * much for cost, much in zip(costs, _slowed(need, factor), strict=True))


def _slowed(need: Sequence[float], factor: float) -> tuple[float, ...]:
    return (*(much * factor for much in need[:SWITCH]), need[SWITCH])


def _solve(
    start: Sequence[float], needs: Sequence[Sequence[float]], seconds: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Costs, none below zero, with the least squares of the relative errors; a cost nothing was said of stays at its
    start. In multiples of the start, by coordinate descent (Franc, Hlaváč and Navara, 2005)."""
    used = [place for place, cost in enumerate(start) if cost > 0]
    rows = [[need[place] * start[place] / took for place in used] for need, took in zip(needs, seconds, strict=True)]
    count = range(len(used))
    gram = [[sum(w * row[a] * row[b] for w, row in zip(weights, rows, strict=True)) for b in count] for a in count]
    goal = [sum(w * row[a] for w, row in zip(weights, rows, strict=True)) for a in count]
    times = [1.0] * len(used)
    for _ in range(SWEEPS):
        for a in count:
            others = sum(gram[a][b] * times[b] for b in count if b != a)
            times[a] = max(0.0, (goal[a] - others + TRUST) / (gram[a][a] + TRUST))
    costs = [0.0] * len(start)
    for place, many in zip(used, times, strict=True):
        costs[place] = start[place] * many
    return costs


def _factors(
    costs: Sequence[float],
    needs: Sequence[Sequence[float]],
    seconds: Sequence[float],
    names: Sequence[str | None],
    weights: Sequence[float],
) -> dict[str | None, float]:
    """How slow each checkpoint is: the median of its jobs, drawn to 1 while there are few."""
    found: dict[str | None, tuple[list[float], list[float]]] = {}
    for need, took, name, weight in zip(needs, seconds, names, weights, strict=True):
        plain = max(1e-9, _seconds((*costs[:SWITCH], 0.0), 1.0, need))
        ratio = max(took - costs[SWITCH] * need[SWITCH], took * 0.05) / plain
        logs, shares = found.setdefault(name, ([], []))
        logs.append(math.log(min(SLOWEST, max(FASTEST, ratio))))
        shares.append(weight)
    return {
        name: math.exp(_median(logs, shares) * len(logs) / (len(logs) + 0.5)) for name, (logs, shares) in found.items()
    }


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    half, passed = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        passed += weight
        if passed >= half:
            return value
    return values[-1]
