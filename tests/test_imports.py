"""Imports point downward only (docs/architecture.md)."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "queue_ext"

# What each room may import from the rooms below it. `webui` may also import the root: it composes the queue.
BELOW = {
    "errors": set(),
    "settings": {"addresses", "errors"},
    "compat": {"errors"},
    "sentences": {"errors"},
    "texts": set(),
    "order": set(),
    "ids": {"order"},
    "cron": {"errors"},
    "models": set(),
    "pipelines": {"errors"},
    "shapes": {"compat", "errors", "models", "order"},
    "addresses": set(),
    "filters": {"errors", "models", "pipelines"},
    "store": {"errors", "filters", "ids", "models", "order"},
    "retries": {"filters", "models", "settings"},
    "migrations": {"errors", "models", "store"},
    "events": set(),
    "wire": {"shapes"},
    "views": {"models", "sentences", "shapes", "texts", "wire"},
    "media": {"errors", "store"},
    "tokens": {"errors"},
    "identity": {"errors", "settings", "tokens"},
    "durations": set(),
    "estimates": {"durations", "models", "store"},
    "line": {"estimates", "models", "order", "store", "views"},
    "queue": {
        "addresses",
        "compat",
        "errors",
        "filters",
        "estimates",
        "identity",
        "ids",
        "line",
        "media",
        "models",
        "pipelines",
        "retries",
        "settings",
        "shapes",
        "store",
        "views",
    },
    "backplane": {"errors", "events", "ids"},
    "rest": {
        "compat",
        "errors",
        "identity",
        "models",
        "queue",
        "schedules",
        "sentences",
        "shapes",
        "store",
        "texts",
        "tokens",
        "views",
    },
    "contract": {"compat", "rest", "shapes", "wire"},
    "worker": {"errors", "events", "filters", "ids", "models", "order", "pipelines", "queue", "views"},
    "webhooks": {"addresses", "errors", "events", "identity", "models", "queue", "shapes", "views"},
    "empty": {"events", "models", "queue", "settings"},
    "schedules": {"cron", "errors", "identity", "media", "queue", "sentences", "shapes", "store", "views"},
    "clock": {"errors", "events", "models", "queue", "schedules", "worker"},
    "namespace": {
        "compat",
        "errors",
        "events",
        "identity",
        "models",
        "queue",
        "rest",
        "shapes",
        "store",
        "texts",
        "views",
    },
}
ANYTHING = {"app", "tab", "webui", "__main__"}


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """The rooms a file imports, whether by relative or absolute name."""
    package = ["queue_ext", *path.relative_to(ROOT).parts[:-1]]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*full, alias.name] for alias in node.names] if full == ["queue_ext"] else [full]
            rooms |= {name[1] for name in names if name[:1] == ["queue_ext"] and len(name) > 1}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("queue_ext.")}
    return rooms


def test_imports_point_downward_only() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        room = _room(path)
        if room == "__init__" or room in ANYTHING:
            continue
        wrong += [
            f"{path.relative_to(ROOT)} imports {other}"
            for other in sorted(_imported(path) - BELOW[room] - {room, "__version__"})
        ]
    assert not wrong


def test_only_webui_imports_the_host() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        if _room(path) == "webui":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            wrong += [
                f"{path.relative_to(ROOT)}: {name}"
                for name in names
                if name.split(".")[0] in ("modules", "modules_forge")
            ]
    assert not wrong
