"""The old name."""

from modules.infotext_utils import *  # noqa: F403
