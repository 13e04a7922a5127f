"""A figure, what it is compared with, and how they are printed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``ours`` and ``theirs`` are as shown, ``verdict`` says how they relate."""

    what: str
    ours: str
    beside: str
    verdict: str
    wanted: str


def show(figures: list[Figure]) -> None:
    """Print a Markdown table."""
    head = Figure("figure", "here", "beside it", "ratio", "wanted")
    rows = [(f.what, f.ours, f.beside, f.verdict, f.wanted) for f in [head, *figures]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)


def timed(action: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def ms(value: float) -> str:
    return f"{value:.2f} ms"
