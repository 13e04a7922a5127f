"""The checkpoint, VAE and clip skip a picture was asked with: told at the click, set for the time of the run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from ..errors import RequestRefused
from . import host

CHECKPOINT, VAE, MODULES, CLIP_SKIP = (
    "sd_model_checkpoint",
    "sd_vae",
    "forge_additional_modules",
    "CLIP_stop_at_last_layers",
)
FIELDS = {"checkpoint": CHECKPOINT, "vae": VAE, "modules": MODULES, "clip_skip": CLIP_SKIP}
"""How a payload calls these settings of the host. ``modules`` are Forge's VAEs and text encoders."""


def current() -> dict[str, Any]:
    """As the page has them now."""
    data = host.options().data
    info = _checkpoint(data.get(CHECKPOINT))
    found: dict[str, Any] = {"checkpoint": info.name if info is not None else data.get(CHECKPOINT)}
    if host.vaes() is not None:
        found["vae"] = data.get(VAE) or "Automatic"
    if host.additional_modules() is not None:
        found["modules"] = [_base(name) for name in data.get(MODULES) or ()]
    found["clip_skip"] = data.get(CLIP_SKIP) or 1
    return {field: value for field, value in found.items() if value is not None}


@contextmanager
def set_for(payload: Mapping[str, Any]) -> Iterator[None]:
    """The settings a payload names, for the time of the context; nothing is touched where they are the same now.

    Raises RequestRefused for what has gone.
    """
    changes = _changes(payload)
    if not changes:
        yield
        return
    data = host.options().data
    before = {name: data[name] if name in data else host.options().get_default(name) for name in changes}
    try:
        _apply(changes)
        yield
    finally:
        _apply(before)


def _changes(payload: Mapping[str, Any]) -> dict[str, Any]:
    data, wanted = (
        host.options().data,
        {FIELDS[field]: payload[field] for field in FIELDS if payload.get(field) is not None},
    )
    changes: dict[str, Any] = {}
    if CHECKPOINT in wanted:
        info = _checkpoint(wanted[CHECKPOINT])
        if info is None:
            raise RequestRefused(reason=f"The checkpoint {wanted[CHECKPOINT]} is not there any more.")
        if info is not _checkpoint(data.get(CHECKPOINT)):
            changes[CHECKPOINT] = info.title
    if VAE in wanted and (known := host.vaes()) is not None and wanted[VAE] != (data.get(VAE) or "Automatic"):
        changes[VAE] = _still(wanted[VAE], known, "VAE")
    if MODULES in wanted and (known := host.additional_modules()) is not None:
        names = [_still(_base(name), known, "VAE or text encoder") for name in wanted[MODULES]]
        if sorted(names) != sorted(_base(name) for name in data.get(MODULES) or ()):
            changes[MODULES] = names
    if (
        CLIP_SKIP in wanted
        and CLIP_SKIP in host.options().data_labels
        and wanted[CLIP_SKIP] != (data.get(CLIP_SKIP) or 1)
    ):
        changes[CLIP_SKIP] = wanted[CLIP_SKIP]
    return changes


def _checkpoint(name: Any) -> Any:
    return host.module("sd_models").checkpoint_aliases.get(name)


def _base(name: Any) -> str:
    return PurePath(str(name).replace("\\", "/")).name


def _still(name: str, known: list[str], what: str) -> str:
    if name not in known:
        raise RequestRefused(reason=f"The {what} {name} is not there any more.")
    return name


def _apply(changes: Mapping[str, Any]) -> None:
    """As the host's ``process_images`` does for a request's own settings: in memory only."""
    set_config = getattr(host.module("sysinfo"), "set_config", None)
    if set_config is not None:  # Forge notes what the next job has to load
        set_config(dict(changes), is_api=True, run_callbacks=False, save_config=False)
        return
    host.options().data.update(changes)
    # The checkpoint follows by itself when the next picture begins, and brings its VAE.
    if VAE in changes and CHECKPOINT not in changes and host.module("shared").sd_model is not None:
        host.module("sd_vae").reload_vae_weights()
