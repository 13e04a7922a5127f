"""The REST doors: thin routes that hand parsed requests to the queue in a thread and answer with JSON."""

from .application import create

__all__ = ["create"]
