"""Gets the browser half of Socket.IO: one file of one version, refused unless its bytes are the known ones."""

import base64
import hashlib
import io
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

PACKAGE = "socket.io-client"
VERSION = "4.8.4"
FILE = "socket.io.esm.min.js"
TARBALL_SHA512 = "7wjKAvVXYOJsbmUgkWbnhPD4bFpkqrUR0++XOjpGFmqDqsqV1CI93VTraeExLxpjxEqrWgFoSRZu1ihjLWfkAA=="
FILE_SHA384 = "f37e15cd37119dc6940b9f6d032083e69182622da2aec6774b4ed7ee27967d67309c4719e5b4858c52c8192558f284c5"
CDN = f"https://cdn.socket.io/{VERSION}/{FILE}"  # the project's own
FOLDER = Path(__file__).parent / "static" / "vendor"
TIMEOUT = 30.0  # seconds for each source
LARGEST = 5_000_000  # bytes

Source = Callable[[], bytes]


class IntegrityError(ValueError):
    """Something else than the known bytes came."""


def ensure(folder: Path = FOLDER, sources: "Iterable[Source] | None" = None) -> Path | None:
    """The library's path, fetched first where it is missing; None, and one line in the log, when it cannot be had.

    Safe to call from several processes: the file appears whole or not at all.
    """
    target = Path(folder) / FILE
    try:
        if target.is_file() and _is_known(target.read_bytes()):
            return target
        data, reasons = _first_good((from_npm, from_cdn) if sources is None else sources)
        if data is not None:
            return _write(target, data)
    except OSError as error:
        reasons = [str(error)]
    log.warning(
        "The Queue tab asks every 5 seconds instead of being told: %s %s could not be had (%s)",
        PACKAGE,
        VERSION,
        "; ".join(reasons),
    )
    return None


def _first_good(sources: Iterable[Source]) -> tuple[bytes | None, list[str]]:
    reasons: list[str] = []
    for source in sources:
        try:
            data = source()
            if not _is_known(data):
                raise IntegrityError("the file is not the one that was expected")
            return data, reasons
        except (OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError) as error:
            reasons.append(" ".join(str(error).split())[:200] or type(error).__name__)
    return None, reasons


def from_npm() -> bytes:
    """The file out of the package's tarball. Raises OSError, SubprocessError, IntegrityError, TarError, KeyError."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="queue-ext-") as folder:
        options = ["--silent", "--ignore-scripts", "--fetch-retries=0", f"--fetch-timeout={TIMEOUT * 500:.0f}"]
        done = subprocess.run(
            [npm, "pack", f"{PACKAGE}@{VERSION}", *options],
            cwd=folder,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            raise FileNotFoundError(f"npm has no {PACKAGE}@{VERSION} for us")
        return unpack(packed.read_bytes())


def unpack(tarball: bytes, sha512: str = TARBALL_SHA512) -> bytes:
    """The file in the tarball, which must be the known one. Raises IntegrityError, TarError, KeyError."""
    if base64.b64encode(hashlib.sha512(tarball).digest()).decode() != sha512:
        raise IntegrityError("the package is not the one that was expected")
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        member = archive.extractfile(f"package/dist/{FILE}")
        if member is None:
            raise KeyError(FILE)
        return member.read(LARGEST)


def from_cdn(url: str = CDN) -> bytes:
    """The file from the project's own network. Raises OSError."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        data: bytes = answer.read(LARGEST)
    return data


def _is_known(data: bytes) -> bool:
    return hashlib.sha384(data).hexdigest() == FILE_SHA384


def _write(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return target
