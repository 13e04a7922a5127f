"""Adds ``--queue-<setting>`` to the WebUI's command line."""

import sys
from pathlib import Path


def preload(parser):
    """Called by the WebUI before it reads its command line; our folder is not on ``sys.path`` then."""
    folder = str(Path(__file__).resolve().parent)
    sys.path.insert(0, folder)
    try:
        from queue_ext.settings import add_arguments
    finally:
        sys.path.remove(folder)
    add_arguments(parser)
