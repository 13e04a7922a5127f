"""What it costs a WebUI to have the extension: seconds and megabytes, beside the same process without it."""

import subprocess
import sys
import tempfile

from bench.table import Figure, median, show

TIMES = 5
# What every host has loaded long before its extensions are.
HOST = "import gradio, fastapi, uvicorn, PIL.Image, requests"
OURS = """
from pathlib import Path
from queue_ext.app import QueueApp
from queue_ext.pipelines.demo import DemoPipeline
from queue_ext.settings import Settings
app = QueueApp(Settings(data_dir=Path(FOLDER)), DemoPipeline())
app.start()
app.mount(fastapi.FastAPI())
"""
FRAME = """
{host}
import time, psutil
before = psutil.Process().memory_info().rss
began = time.perf_counter()
{body}
print(time.perf_counter() - began, (psutil.Process().memory_info().rss - before) / 1e6, flush=True)
import os; os._exit(0)
"""


def once(folder: str) -> tuple[float, float]:
    """Seconds and megabytes of one start in a fresh process."""
    code = FRAME.format(host=HOST, body=OURS.replace("FOLDER", repr(folder)))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return float(out[-2]), float(out[-1])


def main() -> list[Figure]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        first = once(folder)
        again = [once(folder) for _ in range(TIMES)]
    seconds, size = median([s for s, _ in again]), median([m for _, m in again])
    return [
        Figure(
            "importing and starting the extension",
            f"{seconds:.2f} s",
            f"{first[0]:.2f} s the first time, tables made",
            "",
            "≤ 1 s",
        ),
        Figure("memory it adds", f"{size:.0f} MB", "the host before it", "", "≤ 60 MB"),
    ]


if __name__ == "__main__":
    show(main())
