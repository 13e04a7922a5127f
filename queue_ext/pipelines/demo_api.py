"""What the demo pipeline says when a client asks a WebUI's API for something else than pictures."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image

from queue_ext.pipelines import Progress

MODEL = "demo"
Answer = tuple[int, Any]  # status, JSON
NOT_FOUND: Answer = (404, {"detail": "Not Found"})
EMPTY = (
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "loras",
    "sd-vae",
    "latent-upscale-modes",
)
CHANGES = (
    "skip",
    "options",
    "refresh-checkpoints",
    "refresh-vae",
    "refresh-loras",
    "unload-checkpoint",
    "reload-checkpoint",
)


def answer(method: str, path: str, body: bytes, samplers: Sequence[str], running: Progress | None) -> Answer:
    """Status and JSON, in the shapes of AUTOMATIC1111 1.10."""
    if method == "POST":
        return _posted(path, body)
    if method != "GET":
        return 405, {"detail": "Method Not Allowed"}
    if path == "progress":
        return 200, progress(running)
    if path in EMPTY:
        return 200, []
    known = _facts(samplers)
    return (200, known[path]) if path in known else NOT_FOUND


def progress(running: Progress | None) -> dict[str, Any]:
    """How far the running attempt is; all zero when nothing runs."""
    at = running or Progress(0.0, images=0)
    state = {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "demo" if running else "",
        "job_count": at.images, "job_timestamp": "0", "job_no": max(0, at.image - 1) if running else 0,
        "sampling_step": at.step, "sampling_steps": at.steps,
    }  # fmt: skip
    return {"progress": at.fraction, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}


def _facts(samplers: Sequence[str]) -> dict[str, Any]:
    checkpoint = {"title": MODEL, "model_name": MODEL, "hash": None, "sha256": None, "filename": MODEL, "config": None}
    upscaler = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return {
        "options": {"sd_model_checkpoint": MODEL, "sd_checkpoint_hash": "", "samples_format": "png"},
        "cmd-flags": {"api": True},
        "samplers": [{"name": name, "aliases": [], "options": {}} for name in samplers],
        "schedulers": [
            {"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1, "need_inner_model": False}
        ],
        "upscalers": [{"name": name, **upscaler} for name in ("None", "Lanczos")],
        "sd-models": [checkpoint],
        "embeddings": {"loaded": {}, "skipped": {}},
        "scripts": {"txt2img": [], "img2img": []},
        "script-info": [],
        "memory": {"ram": {}, "cuda": {}},
    }


def _posted(path: str, body: bytes) -> Answer:
    """What cannot be changed here is taken without a word, as it is for a payload's styles and checkpoints."""
    if path == "interrupt":  # nothing runs, or the queue would have answered
        return 200, {}
    if path in CHANGES:
        return 200, None
    if path == "png-info":
        return _png_info(body)
    return NOT_FOUND


def _png_info(body: bytes) -> Answer:
    try:
        image = json.loads(body)["image"]
        with Image.open(io.BytesIO(base64.b64decode(image.rpartition(",")[2]))) as picture:
            items = {key: value for key, value in picture.info.items() if isinstance(value, str)}
    except Exception:  # the decoders of Pillow raise whatever a broken file brings about
        return 500, {"error": "HTTPException", "detail": "Invalid encoded image", "body": "", "errors": ""}
    return 200, {"info": items.get("parameters", ""), "items": items, "parameters": {}}
