"""Checkpoints: files by name; what is in them is never read."""

import hashlib
import os

from modules import shared
from modules.flavour import FORGE
from modules.paths import models_path

checkpoints_list = {}
checkpoint_aliases = {}
checkpoint_alisases = checkpoint_aliases


class CheckpointInfo:
    def __init__(self, filename):
        self.filename = filename
        self.name = os.path.basename(filename)
        self.name_for_extra = self.model_name = os.path.splitext(self.name)[0]
        self.sha256 = hashlib.sha256(self.name.encode()).hexdigest()
        self.hash, self.shorthash = self.sha256[:8], self.sha256[:10]
        self.title = f"{self.name} [{self.shorthash}]"
        self.short_title = f"{self.name_for_extra} [{self.shorthash}]"
        self.metadata = {}
        self.ids = [
            self.hash,
            self.model_name,
            self.title,
            self.name,
            self.name_for_extra,
            self.short_title,
            self.shorthash,
            self.sha256,
        ]

    def register(self):
        checkpoints_list[self.title] = self
        for name in self.ids:
            checkpoint_aliases[name] = self


class Model:
    """What ``shared.sd_model`` is."""

    is_sdxl = False

    def __init__(self, info):
        self.sd_checkpoint_info = info
        self.sd_model_hash = info.shorthash


def list_models():
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    folder = shared.cmd_opts.ckpt_dir or os.path.join(models_path, "Stable-diffusion")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith((".safetensors", ".ckpt")):
            CheckpointInfo(os.path.join(folder, name)).register()
    if shared.opts.data.get("sd_model_checkpoint") not in checkpoint_aliases and checkpoints_list:
        shared.opts.data["sd_model_checkpoint"] = next(iter(checkpoints_list))


def checkpoint_tiles(use_short=False):
    return [info.short_title if use_short else info.title for info in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string):
    if not search_string:
        return None
    exact = checkpoint_aliases.get(search_string)
    if exact is not None:
        return exact
    found = sorted(
        (info for info in checkpoints_list.values() if search_string in info.title), key=lambda info: len(info.title)
    )
    return found[0] if found else None


def select_checkpoint():
    return checkpoint_aliases.get(shared.opts.sd_model_checkpoint) or next(iter(checkpoints_list.values()))


def _open(filename):
    """An empty file is as good as a model here; another has to begin as one. Raises OSError, ValueError."""
    with open(filename, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > os.path.getsize(filename):
        raise ValueError(f"Error while deserializing header: {os.path.basename(filename)}")


def reload_model_weights(sd_model=None, info=None, forced_reload=False):
    info = info or select_checkpoint()
    if shared.sd_model is None or shared.sd_model.sd_checkpoint_info.filename != info.filename:
        _open(info.filename)
        shared.sd_model = Model(info)
    return shared.sd_model


if FORGE:

    def forge_model_reload():
        return reload_model_weights(), True
