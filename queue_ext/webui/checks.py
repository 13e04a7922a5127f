"""At the door: what this host would choke on, or replace by a default without a word, is refused by its field's name.

The general limits (sizes, counts, types) were checked before, by ``pipelines.payloads``.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from ..compat import faults
from ..errors import InvalidRequest
from . import host

Fault = dict[str, Any]
NEAREST = 3  # names that are suggested
NONE_NAMES = (None, "", "None", "none")
FOR_HIRES = {"Use same checkpoint"}


def check(task: str, payload: dict[str, Any]) -> None:
    """Raises InvalidRequest with all faults of a txt2img, img2img or extras payload."""
    found = _name_faults(task, payload)
    known = {tuple(fault["loc"]) for fault in found}
    found += [fault for fault in _types(task, payload) if tuple(fault["loc"]) not in known]
    if found:
        raise InvalidRequest(found)


def check_names(task: str, payload: dict[str, Any]) -> None:
    """What may have become wrong while a job waited. Raises InvalidRequest."""
    if found := _name_faults(task, payload):
        raise InvalidRequest(found)


def _name_faults(task: str, payload: dict[str, Any]) -> list[Fault]:
    return list(_extras(payload) if task == "extras" else _generation(task, payload))


def _types(task: str, payload: dict[str, Any]) -> list[Fault]:
    """What the host's own request model says."""
    try:
        host.request_model(task)(**payload)
    except ValidationError as error:
        return faults(error.errors(), ("payload",))
    return []


def _extras(payload: dict[str, Any]) -> Iterator[Fault]:
    for field in ("upscaler_1", "upscaler_2"):
        yield from _named((field,), payload.get(field), host.upscalers(), "an upscaler of this WebUI", free=NONE_NAMES)


def _generation(task: str, payload: dict[str, Any]) -> Iterator[Fault]:
    yield from _sampling(payload)
    if task == "txt2img" and payload.get("enable_hr"):
        yield from _hires(payload)
    if payload.get("refiner_checkpoint") not in NONE_NAMES:
        yield from _checkpoint(("refiner_checkpoint",), payload["refiner_checkpoint"], host.finds_checkpoint)
    yield from _styles(payload.get("styles") or ())
    yield from _override_settings(payload.get("override_settings") or {})
    yield from _scripts(task, payload)


# --- names -----------------------------------------------------------------------------------------------------------


def _fault(loc: Iterable["str | int"], msg: str) -> Fault:
    return {"loc": ["payload", *loc], "msg": msg}


def _named(
    loc: tuple["str | int", ...], name: Any, names: Sequence[str], what: str, free: Sequence[Any] = (None,)
) -> Iterator[Fault]:
    """A fault unless ``name`` is one of ``names``, or stands for none."""
    if name not in free and name not in names:
        yield _fault(loc, f"must be {what}, not {name!r}{nearest(str(name), names)}")


def nearest(name: str, names: Sequence[str]) -> str:
    """Such as "; nearest: Euler a, Euler". All of them where there are few and none is near."""
    by_lower = {known.lower(): known for known in reversed(names)}
    close = difflib.get_close_matches(name.lower(), list(by_lower), NEAREST, 0.5)
    inside = [lower for lower in by_lower if name and name.lower() in lower and lower not in close]
    found = [by_lower[lower] for lower in [*close, *inside][:NEAREST]]
    if found:
        return "; nearest: " + ", ".join(found)
    return "; there are " + ", ".join(names) if 0 < len(names) <= 12 else ""


def _sampling(payload: dict[str, Any]) -> Iterator[Fault]:
    field = "sampler_name" if payload.get("sampler_name") else "sampler_index"
    name = payload.get(field)
    if name and _without_scheduler(name) not in host.samplers():
        yield from _named((field,), name, host.samplers(), "a sampler of this WebUI")
    yield from _scheduler("scheduler", payload.get("scheduler"))


def _without_scheduler(name: str) -> str:
    """``DPM++ 2M`` of ``DPM++ 2M Karras``, as the host takes it apart."""
    if name in host.samplers():
        return name
    for suffix in host.scheduler_suffixes():
        name = name.removesuffix(f" {suffix}")
    return name


def _scheduler(field: str, name: Any) -> Iterator[Fault]:
    known = host.schedulers()
    if known:  # older hosts have none
        yield from _named((field,), name, known, "a scheduler of this WebUI", free=(None, ""))


def _hires(payload: dict[str, Any]) -> Iterator[Fault]:
    upscalers = [*host.latent_upscalers(), *host.upscalers()]
    yield from _named(("hr_upscaler",), payload.get("hr_upscaler"), upscalers, "an upscaler of this WebUI")
    yield from _named(
        ("hr_sampler_name",),
        payload.get("hr_sampler_name"),
        host.samplers(),
        "a sampler of this WebUI",
        free=(None, ""),
    )
    yield from _scheduler("hr_scheduler", payload.get("hr_scheduler"))
    name = payload.get("hr_checkpoint_name")
    if name and name not in FOR_HIRES:
        yield from _checkpoint(("hr_checkpoint_name",), name, host.finds_checkpoint)


def _checkpoint(loc: tuple["str | int", ...], name: Any, found: Callable[[str], bool]) -> Iterator[Fault]:
    if not isinstance(name, str) or not found(name):
        yield _fault(loc, f"must be a checkpoint of this WebUI, not {name!r}{nearest(str(name), host.checkpoints())}")


def _styles(names: Sequence[str]) -> Iterator[Fault]:
    known = host.styles() if names else []
    for number, name in enumerate(names):
        yield from _named(("styles", number), name, known, "a style of this WebUI", free=("", "None", "none"))


# --- settings --------------------------------------------------------------------------------------------------------


def _override_settings(settings: dict[str, Any]) -> Iterator[Fault]:
    if settings and host.settings_frozen():
        yield _fault(("override_settings",), "must be empty: this WebUI runs with --freeze-settings")
        return
    for name, value in settings.items():
        yield from _override(name, value)


def _override(name: str, value: Any) -> Iterator[Fault]:
    loc = ("override_settings", name)
    fact = host.option(name)
    if fact is None:
        yield _fault(loc, f"is not a setting of this WebUI{nearest(name, host.option_names())}")
    elif not fact.settable:
        yield _fault(loc, "may not be set by a request in this WebUI")
    elif name == "sd_model_checkpoint":
        if value not in (None, ""):
            yield from _checkpoint(loc, value, host.is_checkpoint)
    elif name == "sd_vae":
        if (vaes := host.vaes()) is not None:
            yield from _named(loc, value, vaes, "a VAE of this WebUI", free=())
    elif name == "forge_additional_modules":
        yield from _modules(loc, value)
    elif _other_type(value, fact.default):
        yield _fault(loc, f"must be of the type of its default {fact.default!r}, not {value!r}"[:300])


def _modules(loc: tuple["str | int", ...], value: Any) -> Iterator[Fault]:
    known = host.additional_modules()
    if known is None:
        return
    if not isinstance(value, list):
        yield _fault(loc, "must be a list of names")
        return
    for number, name in enumerate(value):
        base = str(name).replace("\\", "/").rsplit("/", 1)[-1]
        yield from _named((*loc, number), base, known, "a VAE or text encoder of this WebUI", free=())


def _other_type(value: Any, default: Any) -> bool:
    """Numbers, switches and texts only: the host keeps anything else as it comes."""
    if isinstance(default, bool):
        return not isinstance(value, bool)
    if isinstance(default, (int, float)):
        return isinstance(value, bool) or not isinstance(value, (int, float))
    return isinstance(default, str) and not isinstance(value, str) and value is not None


# --- scripts ---------------------------------------------------------------------------------------------------------


def _scripts(task: str, payload: dict[str, Any]) -> Iterator[Fault]:
    if not any(payload.get(field) for field in ("script_name", "script_args", "alwayson_scripts")):
        return  # every job passes here twice, and a host's scripts are many to ask for their titles
    known = host.scripts(task)
    yield from _selected([script for script in known if not script.alwayson], payload)
    always = {script.title: script for script in known if script.alwayson}
    for name, given in (payload.get("alwayson_scripts") or {}).items():
        script = always.get(name.lower())
        loc = ("alwayson_scripts", name)
        if script is None:
            yield _fault(loc, f"is not an always-on script of this WebUI{nearest(name, list(always))}")
        elif (arguments := given.get("args")) is not None:
            yield from _arguments((*loc, "args"), script, arguments)


def _selected(known: list[host.ScriptInfo], payload: dict[str, Any]) -> Iterator[Fault]:
    name, arguments = payload.get("script_name"), payload.get("script_args") or []
    if not name:
        if arguments:
            yield _fault(("script_args",), "must be empty where no script_name is given")
        return
    script = next((script for script in known if script.title == name.lower()), None)
    if script is None:
        yield from _named(("script_name",), name, [script.title for script in known], "a script of this WebUI")
    elif len(arguments) != script.arguments:
        # The host would push the arguments of all scripts behind it out of place.
        yield _fault(("script_args",), f"must be the {script.arguments} values of {script.title}, not {len(arguments)}")


def _arguments(loc: tuple["str | int", ...], script: host.ScriptInfo, arguments: Any) -> Iterator[Fault]:
    if not isinstance(arguments, list):
        yield _fault(loc, f"must be a list of at most {script.arguments} values")
    elif len(arguments) > script.arguments:
        yield _fault(loc, f"must be at most the {script.arguments} values of {script.title}, not {len(arguments)}")
