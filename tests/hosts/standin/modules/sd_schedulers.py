"""Schedulers by name and by label."""

from collections import namedtuple

Scheduler = namedtuple("Scheduler", "name label aliases")
schedulers = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", None),
    Scheduler("karras", "Karras", None),
    Scheduler("exponential", "Exponential", None),
]
schedulers_map = {name: scheduler for scheduler in schedulers for name in (scheduler.name, scheduler.label)}
