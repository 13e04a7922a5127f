"""How many jobs a second POST /jobs accepts, beside a bare route that commits one row."""

import json
import threading
import time
from itertools import islice

from bench.serving import bare_server, posting, queue_server
from bench.table import Figure, median, ms, percentile, show

ROUNDS = 4  # each server is measured this often, in turns
REQUESTS = 400  # in a round
BODY = json.dumps(
    {"task": "txt2img", "payload": {"prompt": "a lighthouse at dusk", "steps": 20, "width": 512, "height": 512}}
)


def volley(url: str, clients: int) -> tuple[float, list[float]]:
    """REQUESTS posts by some clients at once: requests a second, and the milliseconds of each."""
    taken: list[float] = []
    threads = [threading.Thread(target=_post_some, args=(url, REQUESTS // clients, taken)) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(taken) / (time.perf_counter() - began), taken


def _post_some(url: str, count: int, taken: list[float]) -> None:
    taken += [ms for _, ms in islice(posting(url, BODY), count)]


def main() -> list[Figure]:
    figures = []
    with queue_server("--queues", "nobody", "--max-waiting", "1000000") as ours, bare_server() as bare:
        for clients in (1, 8):
            rates: dict[str, list[float]] = {"ours": [], "bare": []}
            times: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in range(ROUNDS):
                for name, url in (("ours", f"{ours}/queue-ext/v1/jobs"), ("bare", f"{bare}/rows")):
                    rate, taken = volley(url, clients)
                    rates[name].append(rate)
                    times[name] += taken
            mine, theirs = median(rates["ours"]), median(rates["bare"])
            who = "1 client" if clients == 1 else f"{clients} clients"
            figures.append(
                Figure(
                    f"POST /jobs, {who}", f"{mine:.0f}/s", f"{theirs:.0f}/s bare route", f"{mine / theirs:.2f}", "≥ 0.5"
                )
            )
            middle, late = median(times["ours"]), percentile(times["ours"], 0.99)
            figures.append(
                Figure(
                    f"POST /jobs, {who}, p99 beside median",
                    ms(late),
                    ms(middle),
                    f"{late / middle:.1f}",
                    "≤ 4" if clients > 1 else "",
                )
            )
    return figures


if __name__ == "__main__":
    show(main())
