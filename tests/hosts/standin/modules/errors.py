"""Errors that nobody is to stumble over are printed."""

import sys
import traceback


def report(message, *, exc_info=False):
    print(f"*** {message}", file=sys.stderr)
    if exc_info:
        traceback.print_exc()


def display(error, task):
    print(f"{task}: {type(error).__name__}: {error}", file=sys.stderr)
