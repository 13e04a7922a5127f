"""What the README says is what is there."""

import contextlib
import io
import re
from pathlib import Path

from queue_ext.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command() -> None:
    command = re.search(r"```\n(python3 -m venv .*pytest.*)\n```", README)
    assert command and command[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_readme_lists_the_settings_as_they_are() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["settings"]) == 0
    assert printed.getvalue() in README


def test_what_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(((?!http|#)[^)]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)
