"""Run by the WebUI at every start: installs what requirements.txt names and this Python lacks, and says nothing else.

What is installed already keeps its version: pip gets a constraint for every package that is there. Only a package that
the host does not pin itself, and that lies outside our range, may move.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
OPERATORS = {
    ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b, "<": lambda a, b: a < b,
}  # fmt: skip


def requirements(path):
    """``{name: [(operator, version), ...]}`` of a requirements file; other lines are left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*((?:[<>=!]=?[^;#]*)?)", line.strip())
        if match and not line.lstrip().startswith(("#", "-")):
            found[normal(match[1])] = re.findall(r"([<>=!]=?)\s*([^,\s]+)", match[2])
    return found


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version):
    """``(2, 0, 25, 0)`` of ``2.0.25``, padded so that 2 equals 2.0."""
    parts = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4]]
    return tuple(parts + [0] * (4 - len(parts)))


def fits(version, ranges):
    return all(
        OPERATORS[operator](numbers(version), numbers(limit)) for operator, limit in ranges if operator in OPERATORS
    )


def installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def lacking(wanted):
    """The names that are not there, or there in a version outside their range."""
    return [
        name for name, ranges in wanted.items() if (version := installed(name)) is None or not fits(version, ranges)
    ]


def constraints(movable):
    """A line for each package that is there and must stay as it is."""
    found = {normal(item.metadata["Name"]): item.version for item in metadata.distributions() if item.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name not in movable)


def installer():
    if util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else None


def install(names, wanted, pinned):
    """Install ``names``; what went wrong, in one line, or None."""
    stuck = [name for name in names if installed(name) and name in pinned]
    if stuck:
        return f"this WebUI pins {', '.join(f'{name} {installed(name)}' for name in stuck)}, which does not fit"
    command = installer()
    if command is None:
        return "there is neither pip nor uv"
    if os.environ.get("INDEX_URL"):
        command += ["--index-url", os.environ["INDEX_URL"]]
    with tempfile.TemporaryDirectory(prefix="queue-ext-") as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text(constraints(set(names)), encoding="utf-8")
        texts = [name + ",".join("".join(limit) for limit in wanted[name]) for name in names]
        done = subprocess.run([*command, "-c", str(file), *texts], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "error"))]
    return ((errors or lines or ["pip failed"])[0])[:300]


def install_packages():
    wanted = requirements(FOLDER / "requirements.txt")
    names = lacking(wanted)
    if not names:
        return
    pinned = requirements(Path.cwd() / "requirements_versions.txt")
    trouble = install(names, wanted, pinned)
    if trouble:
        print(f"queue extension: could not install {', '.join(names)}: {trouble}. The queue will not run.")
    else:
        print(f"queue extension: installed {', '.join(names)}")


def fetch_browser_client():
    """The browser's half of Socket.IO; without it the tab asks every few seconds, and says so."""
    sys.path.insert(0, str(FOLDER))
    try:
        from queue_ext.tab import vendor
    except ImportError:
        return
    vendor.ensure()


if __name__ == "__main__":
    install_packages()
    fetch_browser_client()
