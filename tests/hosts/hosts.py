"""What ``test_host.py`` runs in: a stand-in of each kind, or the checkout that ``--webui-dir`` names."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..journeys.server import until
from .conftest import BOOM, ROOT, WebUI

HERE = Path(__file__).resolve().parent
REAL = "real"
LINKED = {"queue-ext": ROOT, "queue-ext-probe": HERE / "probe", "queue-ext-boom": BOOM}


@dataclass(frozen=True)
class Place:
    """Where a host is and how it is started."""

    folder: Path
    command: tuple[str, ...]
    models: str


def real(config: Any) -> Place:
    folder = Path(config.getoption("--webui-dir")).resolve()
    command = config.getoption("--webui-command") or f"{folder / 'venv/bin/python'} launch.py"
    models = config.getoption("--webui-models") or str(folder / "models/Stable-diffusion")
    return Place(folder, tuple(shlex.split(command)), models)


def stand_in(flavour: str, python: Path, models: Path) -> Place:
    """Its checkpoints are empty files with two names."""
    models.mkdir(exist_ok=True)
    for name in ("tiny-a", "tiny-b"):
        (models / f"{name}.safetensors").touch()
    return Place(HERE / "standin" / flavour, (str(python), "launch.py"), str(models))


class Host(WebUI):
    """A WebUI with the extension and the probe linked in."""

    def __init__(self, place: Place, data: Path, flags: list[str]) -> None:
        (data / "extensions").mkdir()
        for name, folder in LINKED.items():
            (data / "extensions" / name).symlink_to(folder)
        (data / "config.json").write_text(json.dumps({"queue_ext_buttons": "probe_paint"}))
        # With a data folder elsewhere, gradio 4 would not serve the host's own scripts.
        flags = [*flags, "--gradio-allowed-path", str(place.folder)]
        super().__init__(place.folder, list(place.command), data, place.models, flags)
        self.is_real = HERE not in place.folder.parents
        self.many_steps = 150 if self.is_real else 120  # of 128x128: some 8 s there, 4 s here

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def healthy(self) -> Any:
        """The answer of the queue's health, as soon as there is a good one; without a page, READY comes before listening."""

        def answer() -> Any:
            try:
                status, body = self.ask("GET", "/queue-ext/v1/health")
            except OSError:
                return None
            return body if status == 200 else None

        return until(answer, "the queue is healthy")

    def newest(self) -> Any:
        return self.get("/queue-ext/v1/jobs?limit=1")["jobs"][0]

    # --- what the probe wrote ----------------------------------------------------------------------------------------

    def facts(self) -> Any:
        return json.loads((self.data / "probe/facts.json").read_text())

    def moments(self) -> list[dict[str, Any]]:
        return self._lines("moments.jsonl")

    def runs(self) -> list[dict[str, Any]]:
        return self._lines("runs.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        file = self.data / "probe" / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
