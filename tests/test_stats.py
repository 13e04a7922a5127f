"""What /stats tells of failures: like with like, examples, and in private one's own."""

from itertools import count
from pathlib import Path
from typing import Any

import httpx

from .support import FakePipeline, assert_endings_counted, served, until

ANN, BEN = ({"X-Queue-Client": f"{name}-is-a-secret-of-16", "X-Forwarded-For": "10.0.0.9"} for name in ("ann", "ben"))


def test_failures_are_grouped_by_error_whatever_numbers_they_name(tmp_path: Path) -> None:
    numbers = count(1)

    def script(request: Any, *_rest: Any) -> Any:
        if request.payload["prompt"] == "large":
            raise MemoryError(f"Tried to allocate {next(numbers)}.5 GiB for '{request.job_id}' at 0x7f{next(numbers)}")
        raise ValueError("no such thing")

    def send(http: httpx.Client, prompt: str, **headers: str) -> str:
        body = {"task": "txt2img", "payload": {"prompt": prompt}, "retry": {"attempts": 0}}
        return http.post("/jobs", json=body, headers=headers).json()["id"]

    with (
        served(tmp_path, FakePipeline(script), visibility="private") as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        large = [send(http, "large", **(BEN if number == 6 else ANN)) for number in range(7)]
        strange = send(http, "strange", **ANN)
        until(lambda: server.app.store.counts().get(("default", "failed")) == 8)
        groups = http.get("/stats").json()["failures"]
        assert [(group["type"], group["count"]) for group in groups] == [("MemoryError", 7), ("ValueError", 1)]
        assert large[6] in groups[0]["message"], "the newest stands for all"
        assert groups[0]["job_ids"] == large[:1:-1] and groups[1]["job_ids"] == [strange]
        assert groups[0]["last_at"].endswith("Z")
        own = http.get("/stats", headers=BEN).json()["failures"]
        assert [(group["count"], group["job_ids"]) for group in own] == [(1, [large[6]])]
        assert_endings_counted(server.app.store)
