"""What the store costs, empty beside full: accept, claim, finish; a list, a place, a move."""

from typing import Any

from bench.filling import LIMITS, empty_store, fill, new_job
from bench.table import Figure, median, ms, show, timed
from queue_ext.identity import Identity, Owner
from queue_ext.media import Media
from queue_ext.pipelines.demo import DemoPipeline
from queue_ext.queue import JobQueue
from queue_ext.settings import Settings
from queue_ext.store import Filter, Store
from queue_ext.views import Signer

TIMES = 300
WAITING, FINISHED = 10_000, 100_000


def costs() -> tuple[dict[str, float], dict[str, float]]:
    """Medians in ms on an empty and a full store, in turns, so that what else the machine does meets both alike."""
    with empty_store() as empty, empty_store() as full:
        fill(full, WAITING, FINISHED)
        taken: dict[str, dict[str, list[float]]] = {
            name: {"accept": [], "claim": [], "finish": []} for name in ("empty", "full")
        }
        for _ in range(TIMES):
            for name, store in (("empty", empty), ("full", full)):
                one_job(store, taken[name])
        return tuple({what: median(values) for what, values in taken[name].items()} for name in taken)  # type: ignore[return-value]


def one_job(store: Store, taken: dict[str, list[float]]) -> None:
    held: list[Any] = []
    taken["accept"] += timed(lambda: store.add_jobs([new_job()], LIMITS, True), 1)
    taken["claim"] += timed(lambda: held.append(store.claim("bench", (), 60.0)), 1)
    taken["finish"] += timed(lambda: store.succeed(held[0], [], "{}"), 1)


def looks() -> dict[str, float]:
    """Medians in ms of looking and moving in a full store."""
    with empty_store() as store:
        fill(store, WAITING, FINISHED)
        settings = Settings()
        queue = JobQueue(
            settings, store, Media(settings.media_dir), DemoPipeline(), Identity(settings), Signer(b"bench")
        )
        me = Owner("owner-1", True)
        line = [row.id for row in store.line("default")]
        last = store.jobs([line[-1]])

        def page(which: Filter) -> list[Any]:
            return queue.present(me, store.page(which, True, None, 50))

        return {
            "list": median(timed(lambda: page(Filter()), 40)),
            "waiting": median(timed(lambda: queue.present(me, store.line_page(Filter(), None, 50)), 40)),
            "place": median(timed(lambda: store.ranks(last), 100)),
            "move": median(timed(lambda: store.move(line[-1], to="front"), 100)),
        }


def main() -> list[Figure]:
    empty, full = costs()
    figures = [
        Figure(f"{what} with 10,000 waiting, 100,000 finished", ms(full[what]), f"{ms(empty[what])} with none",
               f"{full[what] / empty[what]:.2f}", "≤ 1.5")
        for what in ("accept", "claim", "finish")
    ]  # fmt: skip
    seen = looks()
    agent = "agent-scheduler, measured elsewhere"
    figures += [
        Figure(
            "50 rows of the list, newest first",
            ms(seen["list"]),
            f"44 ms for 20 ({agent})",
            f"{seen['list'] / 44:.2f}",
            "≤ 10 ms",
        ),
        Figure(
            "50 rows in line, with their places",
            ms(seen["waiting"]),
            f"44 ms for 20 ({agent})",
            f"{seen['waiting'] / 44:.2f}",
            "≤ 10 ms",
        ),
        Figure(
            "the place of the last of 10,000",
            ms(seen["place"]),
            f"18 ms ({agent})",
            f"{seen['place'] / 18:.2f}",
            "≤ 2 ms",
        ),
        Figure(
            "move the last of 10,000 to the front",
            ms(seen["move"]),
            f"162 ms ({agent})",
            f"{seen['move'] / 162:.2f}",
            "≤ 10 ms",
        ),
    ]
    return figures


if __name__ == "__main__":
    show(main())
