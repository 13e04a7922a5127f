"""The packages of both hosts, each in an environment of its own: made once by the tests, kept in pytest's cache."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from ..conftest import require

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parents[1] / "requirements.txt"
FLAVOURS = ("a1111", "forge")
PYTHONS = ((3, 10), (3, 11))
"""What the hosts run on: Pillow 9.5 and numpy 1.26 of their pins have no wheels for a newer Python."""
PIP = ["install", "--quiet", "--no-compile", "--disable-pip-version-check", "--prefer-binary"]


class Environments:
    """Makes both at the same time, as soon as one of them is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Future[Path]] = {}

    def python(self, flavour: str) -> Path:
        """The interpreter of an environment. Skips the test where there can be none."""
        if sys.version_info[:2] not in PYTHONS:
            version = ".".join(map(str, sys.version_info[:2]))
            pytest.skip(f"the hosts' packages are for Python 3.10 and 3.11; this is {version}")
        if not self._made:
            with ThreadPoolExecutor(len(FLAVOURS)) as pool:
                self._made = {name: pool.submit(self._environment, name) for name in FLAVOURS}
        try:
            return self._made[flavour].result()
        except subprocess.CalledProcessError as error:
            require(f"the packages of {flavour} could not be installed: {error.stderr.strip()[-500:]}")
            raise

    def _environment(self, flavour: str) -> Path:
        constraints = HERE / f"constraints-{flavour}.txt"
        folder = self._folder / f"{flavour}-{_hash(constraints.read_bytes(), sys.version.encode())}"
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        complete, wanted = folder / "complete", _hash(REQUIREMENTS.read_bytes())
        with FileLock(f"{folder}.lock"):
            if not complete.exists():
                _run(sys.executable, "-m", "venv", "--clear", str(folder))
            if not complete.exists() or complete.read_text() != wanted:
                _run(str(python), "-m", "pip", *PIP, "-c", str(constraints), "-r", str(REQUIREMENTS), "gradio")
                complete.write_text(wanted)
        return python


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
