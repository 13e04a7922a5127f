"""Where Forge gives memory back."""


def unload_all_models():
    pass
