"""Which of the two WebUIs this is."""

import importlib.util

FORGE = importlib.util.find_spec("modules_forge") is not None
NAME = "Forge" if FORGE else "AUTOMATIC1111"
JS = "js" if FORGE else "_js"  # gradio 4.40 and 3.41
