"""Starts a stand-in for AUTOMATIC1111 1.10.1; see ../README.md for what it stands for and what not."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from modules import start

    start.prepare()
    start.run()
