"""The figures of the README, each beside what it is compared with. ``python -m bench`` prints them all."""
