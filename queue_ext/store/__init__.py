"""Every SQL statement of the queue, behind verbs of the field. Synchronous; called from plain threads."""

from .database import Database
from .deliveries import WEBHOOK, Deliveries
from .emptiness import Emptiness
from .jobs import FileRef, Limits, Measured, NewJob
from .listing import Filter, Listing, Surroundings
from .measurements import Measurements, machine
from .schedules import Firing, ScheduleVerbs
from .system import DEFAULT_QUEUE, System

__all__ = [
    "DEFAULT_QUEUE",
    "WEBHOOK",
    "Database",
    "FileRef",
    "Filter",
    "Firing",
    "Limits",
    "Measured",
    "NewJob",
    "Store",
    "Surroundings",
    "machine",
]


class Store(ScheduleVerbs, Listing, Measurements, Emptiness, Deliveries, System):
    """The one class the rest of the queue knows. ``on_commit`` is called after every commit that left events,
    with their rows."""
