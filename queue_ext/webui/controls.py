"""The controls of a page under names that outlive it: positions move with every extension, elem_ids mostly do not."""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

UNSTABLE = re.compile(r"input-accordion-\d+|component-\d+|^\d+$|uuid_|[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-")
"""elem_ids that are counted or drawn anew at each start, such as ``input-accordion-3-checkbox``."""
TASK_ID = "id_task"
KEY_LIMIT = 160  # characters


@dataclass(frozen=True)
class Control:
    """One input of a button: its name in a job, what a person calls it, and the component itself."""

    key: str
    title: str
    component: Any


def name_controls(
    inputs: Sequence[Any], arguments: Sequence[str | None], script_of: Callable[[Any], str | None]
) -> list[Control]:
    """Each input under its elem_id; else under its script and label, the function's argument, its label, its position.

    ``arguments`` are the names of the function's parameters by position, ``script_of`` tells whose control one is.
    What several share gets the label, then a number: the first one of its kind stays the first one.
    """
    plain = [_key(component, _at(arguments, n), script_of(component), n) for n, component in enumerate(inputs)]
    # The same control may be given twice, to a function and to its helper; one dummy may stand for two arguments.
    counted = Counter(key for _, key in {(id(component), key) for component, key in zip(inputs, plain, strict=True)})
    seen: Counter[str] = Counter()
    named: dict[tuple[int, str], Control] = {}
    for component, key in zip(inputs, plain, strict=True):
        if (id(component), key) in named:
            continue
        label = _label(component)
        full = f"{key}/{label}" if counted[key] > 1 and label and not key.endswith(label) else key
        seen[full] += 1
        unique = (full if seen[full] == 1 else f"{full}#{seen[full]}")[:KEY_LIMIT]
        named[id(component), key] = Control(unique, _title(component, script_of(component), unique), component)
    return [named[id(component), key] for component, key in zip(inputs, plain, strict=True)]


def _at(names: Sequence[str | None], number: int) -> str | None:
    return names[number] if number < len(names) else None


def _key(component: Any, argument: str | None, script: str | None, position: int) -> str:
    elem_id = getattr(component, "elem_id", None)
    if elem_id and not UNSTABLE.search(elem_id):
        return str(elem_id)
    if argument:
        return f"argument:{argument}"
    kind, label = type(component).__name__, _label(component)
    if script:
        return f"{script}/{label or kind}"
    return f"label:{label}" if label else f"position:{position}/{kind}"


def _label(component: Any) -> str:
    label = getattr(component, "label", None)
    return " ".join(label.split())[:80] if isinstance(label, str) else ""


def _title(component: Any, script: str | None, key: str) -> str:
    """What a person calls it: "ControlNet: Weight"."""
    label = _label(component)
    return f"{script}: {label or key}" if script else label or key


def argument_names(function: Callable[..., Any]) -> list[str | None]:
    """The function's own parameters by the position of the input that fills each; the request is no input."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in positional if not is_request(p)]


def is_request(parameter: inspect.Parameter) -> bool:
    """Whether gradio fills this parameter with its Request."""
    hint = parameter.annotation
    name = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
    return name.rpartition(".")[2] == "Request"


# --- choices ---------------------------------------------------------------------------------------------------------


def choices(component: Any) -> list[Any]:
    """What can be chosen in a dropdown, radio or group of boxes; empty for everything else."""
    found = getattr(component, "choices", None)
    if not isinstance(found, (list, tuple)):
        return []
    return [choice[1] if isinstance(choice, (list, tuple)) and len(choice) == 2 else choice for choice in found]


def by_index(component: Any) -> bool:
    """Whether the function gets the number of a choice instead of the choice."""
    return getattr(component, "type", None) == "index" and hasattr(component, "choices")


def chosen(component: Any, value: Any) -> tuple[bool, Any]:
    """Numbers of choices as the choices themselves, since a list grows and shrinks: ``(True, "X/Y/Z plot")``.

    ``(False, value)`` for whatever is not the number of a choice of the page as it was built.
    """
    known = choices(component)
    numbers = value if isinstance(value, list) else [value]
    if not by_index(component) or not numbers or not all(_is_number_of(n, known) for n in numbers):
        return False, value
    names = [known[n] for n in numbers]
    return True, names if isinstance(value, list) else names[0]


def _is_number_of(value: Any, known: Sequence[Any]) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known)


def still_there(component: Any, choice: Any) -> tuple[Any, list[str]]:
    """The way back: what the function gets for a choice or a list of them, and the choices that have gone.

    ``(None, [...])`` where the one choice that was made has gone; of a list the others stay.
    """
    known = choices(component)
    chosen_ones = choice if isinstance(choice, list) else [choice]
    left = [known.index(item) if by_index(component) else item for item in chosen_ones if item in known]
    lost = [str(item)[:80] for item in chosen_ones if item not in known]
    return left if isinstance(choice, list) else next(iter(left), None), lost


def offers(component: Any, value: Any) -> bool:
    """Whether a value, plain text or a list of it, was chosen of what the page was built with."""
    values = value if isinstance(value, list) else [value]
    known = choices(component)
    return bool(values) and not by_index(component) and all(isinstance(v, str) and v in known for v in values)


# --- defaults --------------------------------------------------------------------------------------------------------


def default(component: Any) -> Any:
    """What the function would get from a page that was just opened."""
    value = getattr(component, "value", None)
    if is_state(component):
        return deepcopy(value)
    if value is None and getattr(component, "multiselect", False):
        return []  # the browser sends an empty list, and hosts rely on it
    try:
        return component.preprocess(value)
    except Exception:
        return value


def is_state(component: Any) -> bool:
    """Whether its value lives in the server's memory."""
    return bool(getattr(component, "stateful", False)) or type(component).__name__ == "State"
