"""Starts a stand-in for Forge; see ../README.md for what it stands for and what not."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from threading import Thread

    from modules import start
    from modules_forge import main_thread

    start.prepare()
    Thread(target=start.run, name="webui_worker", daemon=True).start()
    main_thread.loop()
