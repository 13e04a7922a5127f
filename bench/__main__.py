"""Print every figure of the core as one table: ``python -m bench``."""

from bench import accept, browsers, due, estimates, front, idle, start, store, tab
from bench.table import show

if __name__ == "__main__":
    show(
        [
            figure
            for part in (store, idle, accept, due, estimates, browsers, start, front, tab)
            for figure in part.main()
        ]
    )
