"""No device."""


def torch_gc():
    pass
