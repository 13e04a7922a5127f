"""Extensions register here, anew each time their scripts are executed."""

from modules import errors

NAMES = (
    "app_started",
    "model_loaded",
    "ui_tabs",
    "ui_settings",
    "before_image_saved",
    "image_saved",
    "before_component",
    "after_component",
    "script_unloaded",
    "before_ui",
    "before_reload",
    "infotext_pasted",
    "cfg_denoiser",
)
callback_map = {name: [] for name in NAMES}


class ImageSaveParams:
    def __init__(self, image, p, filename, pnginfo):
        self.image, self.p, self.filename, self.pnginfo = image, p, filename, pnginfo


def _registrar(name):
    def register(callback, *, name=None):
        callback_map[key].append(callback)

    key = name
    register.__name__ = f"on_{name}"
    return register


for _name in NAMES:
    globals()[f"on_{_name}"] = _registrar(_name)


def clear_callbacks():
    for callbacks in callback_map.values():
        callbacks.clear()


def call(name, *args, **kwargs):
    """What each of them answered; what one raises keeps nobody from being called."""
    answers = []
    for callback in list(callback_map[name]):
        try:
            answers.append(callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback {name}", exc_info=True)
    return answers


def remove_callbacks_for_function(callback_func):
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback is not callback_func]
