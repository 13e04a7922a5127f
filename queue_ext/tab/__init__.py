"""The tab "Queue": a form made of Gradio components, and browser modules that show the queue live.

Gradio is imported only when a tab is built, so that ``tab.vendor`` costs an installer nothing.
"""

from typing import Any, Protocol


class Host(Protocol):
    """What the tab needs of ``queue_ext.app.QueueApp``."""

    queue: Any
    settings: Any
    pipeline: Any
    identity: Any


def build_tab(app: Host, form: bool = False) -> Any:
    """The tab as ``gradio.Blocks``; with ``form`` also what makes requests, where no WebUI around it does."""
    from .blocks import build

    return build(app, form)


__all__ = ["Host", "build_tab"]
