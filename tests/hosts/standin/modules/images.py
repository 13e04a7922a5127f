"""Saves pictures with their infotext, and tells who wants to know."""

import os

from PIL import Image, PngImagePlugin

from modules import script_callbacks


def save_image(
    image,
    path,
    basename,
    seed=None,
    prompt=None,
    extension="png",
    info=None,
    p=None,
    pnginfo_section_name="parameters",
    **_more,
):
    """The name of the file. Raises OSError."""
    os.makedirs(path, exist_ok=True)
    number = sum(1 for name in os.listdir(path) if name.endswith(f".{extension}"))
    name = f"{basename + '-' if basename else ''}{number:05}" + (f"-{seed}" if seed is not None else "")
    params = script_callbacks.ImageSaveParams(
        image, p, os.path.join(path, f"{name}.{extension}"), {pnginfo_section_name: info}
    )
    script_callbacks.call("before_image_saved", params)
    chunk = PngImagePlugin.PngInfo()
    for key, value in params.pnginfo.items():
        if value is not None:
            chunk.add_text(key, str(value))
    params.image.save(params.filename, pnginfo=chunk)
    image.already_saved_as = params.filename
    script_callbacks.call("image_saved", params)
    return params.filename, None


def fix_image(image):
    return image


def read(path):
    with Image.open(path) as opened:
        opened.load()
        return opened


def read_info_from_image(image):
    known = dict(image.info or {})
    return known.pop("parameters", None), known
