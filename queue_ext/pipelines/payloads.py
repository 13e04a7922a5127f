"""What a payload may say, whichever host runs it: the limits at the door, a summary, and what decides its duration.

The limits are those of the contract (section 5). A host does not check its own arguments: width 0 or a null prompt
raise deep inside its pipeline, a width of 10⁹ takes all memory of the machine. Fields that are not named here pass as
they are, since every host accepts others, unless they look like one of ``USUAL`` mistyped.

What decides how long a job takes is told by ``effort``; how many seconds that makes is learned from finished jobs
(``queue_ext.durations``), not assumed here.
"""

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from queue_ext.errors import InvalidRequest

TASKS = ("txt2img", "img2img", "extras")
MAX_PROMPT = 100_000  # characters
MAX_NAME = 200  # characters of a sampler, scheduler, upscaler, checkpoint, script
MIN_SIDE, MAX_SIDE = 16, 8192  # pixels
MAX_PIXELS = 64 * 1024 * 1024  # 64 megapixels: 8192 × 8192
MAX_STEPS = 1000
MAX_PICTURES = 1000  # batch_size × n_iter
MAX_SEED = 2**64 - 1
MAX_DEPTH = 32  # levels of objects and lists, the payload itself being the first
MAX_FAULTS = 100  # one answer names no more than these

Path = tuple["str | int", ...]
Fault = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """What one field may hold. ``allowed`` completes the sentence "must be …"."""

    allowed: str
    fits: Callable[[Any], bool]
    nullable: bool = False  # the WebUI itself takes null here for "not given"

    def refuses(self, value: Any) -> bool:
        return not self.nullable if value is None else not self.fits(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return math.isfinite(value) if isinstance(value, float) else _is_integer(value)


def _integer(low: int, high: int, nullable: bool = False, zero: bool = False) -> Rule:
    allowed = f"an integer from {low} to {high}" + (", or 0 for none" if zero else "")
    return Rule(allowed, lambda v: _is_integer(v) and (low <= v <= high or (zero and v == 0)), nullable)


def _number(low: float, high: float, nullable: bool = False) -> Rule:
    return Rule(f"a number from {low:g} to {high:g}", lambda v: _is_number(v) and low <= v <= high, nullable)


def _factor(high: float, nullable: bool = False) -> Rule:
    return Rule(f"a number above 0, at most {high:g}", lambda v: _is_number(v) and 0 < v <= high, nullable)


def _text(limit: int, nullable: bool = False) -> Rule:
    return Rule(f"a text of at most {limit:,} characters", lambda v: isinstance(v, str) and len(v) <= limit, nullable)


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


NAME = _text(MAX_NAME, nullable=True)
PROMPT = _text(MAX_PROMPT)
HIRES_PROMPT = _text(MAX_PROMPT, nullable=True)
SIDE = _integer(MIN_SIDE, MAX_SIDE)
HIRES_SIDE = _integer(MIN_SIDE, MAX_SIDE, nullable=True, zero=True)
SEED = _integer(-1, MAX_SEED, nullable=True)
SHARE = _number(0, 1)
FLAG = Rule("true or false", lambda v: isinstance(v, bool), nullable=True)
OBJECT = Rule("an object", lambda v: isinstance(v, dict), nullable=True)
LIST = Rule("a list", lambda v: isinstance(v, list), nullable=True)
TEXTS = Rule("a list of texts", lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v), nullable=True)
SCRIPTS = Rule(
    'an object such as {"script": {"args": […]}}',
    lambda v: isinstance(v, dict) and all(isinstance(s, dict) for s in v.values()),
    nullable=True,
)
PICTURE = Rule("a picture: base64, a data: URL, or the id of an upload", _is_picture)
PICTURES = Rule(
    "a list of at least one picture: base64, a data: URL, or the id of an upload",
    lambda v: isinstance(v, list) and bool(v) and all(map(_is_picture, v)),
)
MASK = Rule("a picture (base64, a data: URL, or the id of an upload) or null", _is_picture, nullable=True)

GENERATION: dict[str, Rule] = {
    "prompt": PROMPT,
    "negative_prompt": PROMPT,
    "styles": TEXTS,
    "seed": SEED,
    "subseed": SEED,
    "subseed_strength": SHARE,
    "seed_resize_from_w": _integer(-1, MAX_SIDE),
    "seed_resize_from_h": _integer(-1, MAX_SIDE),
    "sampler_name": NAME,
    "sampler_index": NAME,
    "scheduler": NAME,
    "steps": _integer(1, MAX_STEPS),
    "batch_size": _integer(1, MAX_PICTURES),
    "n_iter": _integer(1, MAX_PICTURES),
    "cfg_scale": _number(0, 1000),
    "width": SIDE,
    "height": SIDE,
    "restore_faces": FLAG,
    "tiling": FLAG,
    "send_images": FLAG,
    "save_images": FLAG,
    "refiner_checkpoint": NAME,
    "refiner_switch_at": _number(0, 1, nullable=True),
    "override_settings": OBJECT,
    "alwayson_scripts": SCRIPTS,
    "script_name": NAME,
    "script_args": LIST,
}

RULES: dict[str, dict[str, Rule]] = {
    "txt2img": {
        **GENERATION,
        "denoising_strength": _number(0, 1, nullable=True),  # plays a part in hires fix only
        "enable_hr": FLAG,
        "firstphase_width": _integer(MIN_SIDE, MAX_SIDE, zero=True),
        "firstphase_height": _integer(MIN_SIDE, MAX_SIDE, zero=True),
        "hr_scale": _factor(8, nullable=True),
        "hr_resize_x": HIRES_SIDE,
        "hr_resize_y": HIRES_SIDE,
        "hr_second_pass_steps": _integer(0, MAX_STEPS, nullable=True),
        "hr_upscaler": NAME,
        "hr_checkpoint_name": NAME,
        "hr_sampler_name": NAME,
        "hr_scheduler": NAME,
        "hr_prompt": HIRES_PROMPT,
        "hr_negative_prompt": HIRES_PROMPT,
    },
    "img2img": {
        **GENERATION,
        "init_images": PICTURES,
        "mask": MASK,
        "denoising_strength": SHARE,
        "resize_mode": _integer(0, 3),
        "inpainting_fill": _integer(0, 3),
    },
    "extras": {
        "image": PICTURE,
        "resize_mode": _integer(0, 1),
        "upscaling_resize": _factor(8),
        "upscaling_resize_w": SIDE,
        "upscaling_resize_h": SIDE,
        "upscaling_crop": FLAG,
        "upscaler_1": _text(MAX_NAME),
        "upscaler_2": _text(MAX_NAME),
        "extras_upscaler_2_visibility": SHARE,
        "gfpgan_visibility": SHARE,
        "codeformer_visibility": SHARE,
        "codeformer_weight": SHARE,
    },
}

USUAL = (
    "prompt", "negative_prompt", "steps", "width", "height", "seed", "sampler_name", "scheduler", "cfg_scale", "n_iter",
    "batch_size", "denoising_strength", "init_images",
)  # fmt: skip
ALIKE = 0.8  # of difflib: two letters exchanged in a word of five

REQUIRED = {"img2img": ("init_images",), "extras": ("image",)}
PICTURE_FIELDS = frozenset({"image", "images", "init_images", "input_image", "mask", "mask_image"})


def check_payload(task: str, payload: object) -> dict[str, Any]:
    """The payload itself, when every general limit holds.

    A task that is not in ``TASKS`` (a captured button) is checked for its shape only. Raises ``InvalidRequest`` with
    all faults at once, each with its ``loc`` below ``payload`` and a ``msg`` that names what is allowed.
    """
    if not isinstance(payload, dict):
        raise InvalidRequest([_fault((), "an object", payload)])
    found = chain(
        _field_faults(task, payload), _name_faults(task, payload), _whole_faults(task, payload), _shape_faults(payload)
    )
    faults = list(islice(_once_each(found), MAX_FAULTS))
    if faults:
        raise InvalidRequest(faults)
    return payload


def _once_each(faults: Iterator[Fault]) -> Iterator[Fault]:
    """A field that breaks its own rule need not be told that NaN is no number as well."""
    told: set[Path] = set()
    for fault in faults:
        if (where := tuple(fault["loc"])) not in told:
            told.add(where)
            yield fault


def _fault(path: Path, allowed: str, value: Any) -> Fault:
    return {"loc": ["payload", *path], "msg": f"must be {allowed}, not {_shown(value)}"}


def _field_faults(task: str, payload: dict[str, Any]) -> Iterator[Fault]:
    for field in REQUIRED.get(task, ()):
        if field not in payload:
            yield {"loc": ["payload", field], "msg": f"must be {RULES[task][field].allowed}; it is missing"}
    for field, rule in RULES.get(task, {}).items():
        if field in payload and rule.refuses(payload[field]):
            yield _fault((field,), rule.allowed, payload[field])


def _name_faults(task: str, payload: dict[str, Any]) -> Iterator[Fault]:
    """What the host would ignore in silence."""
    known = RULES.get(task, {})
    usual = [name for name in USUAL if name in known]
    for field in payload:
        if field in known or not isinstance(field, str) or len(field) > MAX_NAME:
            continue
        if meant := difflib.get_close_matches(field.lower(), usual, 1, ALIKE):
            yield {"loc": ["payload", field], "msg": f"is not a known field; did you mean {meant[0]}?"}


def _whole_faults(task: str, payload: dict[str, Any]) -> Iterator[Fault]:
    """What several fields say together."""
    if task in ("txt2img", "img2img"):
        images = _count(payload, "batch_size", 1) * _count(payload, "n_iter", 1)
        if images > MAX_PICTURES >= max(_count(payload, "batch_size", 1), _count(payload, "n_iter", 1)):
            yield _fault(("n_iter",), f"at most {MAX_PICTURES} pictures together with batch_size", images)
        yield from _size_faults(payload)
    elif task == "extras" and _count(payload, "resize_mode", 0) == 1:
        width, height = _count(payload, "upscaling_resize_w", 512), _count(payload, "upscaling_resize_h", 512)
        yield from _area_faults("upscaling_resize_w", width, height)


def _size_faults(payload: dict[str, Any]) -> Iterator[Fault]:
    (_, (width, height)), *second = passes("txt2img", payload)
    yield from _area_faults("width", width, height)
    for _, (wide, high) in second:
        field = "hr_resize_x" if _count(payload, "hr_resize_x", 0) or _count(payload, "hr_resize_y", 0) else "hr_scale"
        if max(width, height) <= MAX_SIDE < max(wide, high):
            yield _fault((field,), f"such that no side becomes longer than {MAX_SIDE} pixels", f"{wide}x{high}")


def _area_faults(field: str, width: int, height: int) -> Iterator[Fault]:
    if max(width, height) <= MAX_SIDE and width * height > MAX_PIXELS:
        yield _fault((field,), "such that the picture has at most 64 megapixels (8192x8192)", f"{width}x{height}")


def _shape_faults(value: Any, path: Path = ()) -> Iterator[Fault]:
    """Depth, numbers that JSON does not know, text that no database takes, addresses in the place of pictures.

    A generator, so that a list of millions costs no memory; the recursion ends at ``MAX_DEPTH``.
    """
    if not isinstance(value, (dict, list)):
        yield from _value_faults(path, value)
    elif len(path) >= MAX_DEPTH:
        yield {"loc": ["payload", *path], "msg": f"must be nested at most {MAX_DEPTH} levels deep"}
    else:
        yield from _key_faults(path, value)
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if not _is_number(child):  # checked here since lists hold millions of them
                yield from _shape_faults(child, (*path, key))


def _value_faults(path: Path, value: Any) -> Iterator[Fault]:
    if isinstance(value, float) and not math.isfinite(value):
        yield _fault(path, "a finite number", value)
    elif isinstance(value, str) and not _is_storable(value):
        yield {"loc": ["payload", *path], "msg": "must be Unicode text without NUL characters and lone surrogates"}
    elif isinstance(value, str) and _is_address(value) and PICTURE_FIELDS.intersection(path):
        yield _fault(path, "a picture itself: base64, a data: URL, or the id of an upload", "an address to fetch")


def _key_faults(path: Path, value: Any) -> Iterator[Fault]:
    if isinstance(value, dict) and not all(isinstance(key, str) and _is_storable(key) for key in value):
        yield {"loc": ["payload", *path], "msg": "must have names of Unicode text without NUL and lone surrogates"}


def _is_storable(text: str) -> bool:
    """PostgreSQL takes no NUL, no database takes half a surrogate pair, JSON carries both."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://", "file:", "ftp://", "//"))


def _shown(value: Any) -> str:
    """The value as the person who sent it would recognise it, never longer than a line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > 60:
        return f"a text of {len(value):,} characters"
    # Quotes tell "512" from 512; escapes keep half a surrogate pair out of the answer.
    return ascii(value) if isinstance(value, str) and not _is_storable(value) else repr(value)


def _count(payload: dict[str, Any], field: str, default: int) -> int:
    """The integer in ``field``; the default where it is missing or absurd, so that no sum overflows."""
    value: Any = payload.get(field)
    return value if _is_integer(value) and abs(value) < 2**64 else default


def _amount(payload: dict[str, Any], field: str, default: float) -> float:
    value: Any = payload.get(field)
    return value if _is_number(value) and abs(value) < 2**64 else default


def images(payload: dict[str, Any]) -> int:
    """How many pictures the payload asks for."""
    return max(1, _count(payload, "batch_size", 1) * _count(payload, "n_iter", 1))


def passes(task: str, payload: dict[str, Any]) -> list[tuple[int, tuple[int, int]]]:
    """``(steps, (width, height))`` of each sampling pass over one picture; hires fix has two, the last is the output.

    The WebUI samples ``steps × denoising_strength`` steps in img2img, and as many steps again in hires fix unless
    ``hr_second_pass_steps`` says otherwise.
    """
    steps = _count(payload, "steps", 50)
    size = _count(payload, "width", 512), _count(payload, "height", 512)
    if task == "img2img":
        return [(max(1, int(steps * min(1.0, _amount(payload, "denoising_strength", 0.75)))), size)]
    if payload.get("enable_hr") is not True:
        return [(steps, size)]
    return [(steps, size), (_count(payload, "hr_second_pass_steps", 0) or steps, _hires_size(payload, size))]


def _hires_size(payload: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """As the WebUI computes it: a side given as 0 follows from the other one."""
    width, height = size
    x, y = _count(payload, "hr_resize_x", 0), _count(payload, "hr_resize_y", 0)
    if not x and not y:
        scale = _amount(payload, "hr_scale", 2.0)
        return int(width * scale), int(height * scale)
    return x or max(1, y * width // max(1, height)), y or max(1, x * height // max(1, width))


def _extras_size(payload: dict[str, Any]) -> "tuple[int, int] | None":
    if _count(payload, "resize_mode", 0) == 1:
        return _count(payload, "upscaling_resize_w", 512), _count(payload, "upscaling_resize_h", 512)
    return None


def _kind(task: str, payload: dict[str, Any]) -> str:
    """What a captured button's job is like: what takes a picture of unknown size is like extras."""
    if not task.startswith("ui:"):
        return task
    if "width" not in payload:
        return "extras"
    return "img2img" if task.startswith("ui:img2img") else "txt2img"


def _checkpoint(payload: dict[str, Any]) -> Any:
    settings = payload.get("override_settings")
    return settings.get("sd_model_checkpoint") if isinstance(settings, dict) else payload.get("checkpoint")


def summary(task: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What a line of the list shows: ``prompt, width, height, steps, images, checkpoint``, with the WebUI's defaults.

    ``width`` and ``height`` (pixels of the output) are null where they follow from the picture that is upscaled.
    """
    prompt = payload.get("prompt")
    what = {"prompt": prompt if isinstance(prompt, str) else "", "checkpoint": _checkpoint(payload)}
    task = _kind(task, payload)
    if task == "extras":
        width, height = _extras_size(payload) or (None, None)
        return {**what, "width": width, "height": height, "steps": 0, "images": 1}
    width, height = passes(task, payload)[-1][1]
    return {**what, "width": width, "height": height, "steps": _count(payload, "steps", 50), "images": images(payload)}


def effort(task: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What decides how long a payload takes: ``kind``, ``passes`` as (steps, width, height) over each picture,
    ``pictures``, how many of them in one ``batch``, ``checkpoint`` (null for the one that is loaded).

    An upscaled picture whose size is not known here counts as coming from 512×512.
    """
    kind, named = _kind(task, payload), _checkpoint(payload)
    checkpoint = named if isinstance(named, str) else None
    if kind == "extras":
        width, height = _extras_size(payload) or (int(512 * _amount(payload, "upscaling_resize", 2.0)),) * 2
        return {"kind": kind, "passes": [[0, width, height]], "pictures": 1, "batch": 1, "checkpoint": checkpoint}
    sizes = [[steps, width, height] for steps, (width, height) in passes(kind, payload)]
    batch = max(1, _count(payload, "batch_size", 1))
    return {"kind": kind, "passes": sizes, "pictures": images(payload), "batch": batch, "checkpoint": checkpoint}
