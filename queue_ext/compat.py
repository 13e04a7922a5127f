"""The one place that knows which pydantic is installed: 1.10 in AUTOMATIC1111, 2 elsewhere."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel, Field, ValidationError

from .errors import InvalidRequest

PYDANTIC_2 = pydantic.VERSION.startswith("2.")
T = TypeVar("T", bound=BaseModel)

if PYDANTIC_2:

    class Shape(BaseModel):
        """A value that comes in from outside: a field it does not name is refused."""

        model_config = {"extra": "forbid"}

else:
    from pydantic.fields import MAPPING_LIKE_SHAPES  # type: ignore[attr-defined]

    class Shape(BaseModel):  # type: ignore[no-redef]
        """A value that comes in from outside: a field it does not name is refused."""

        class Config:
            extra = "forbid"

        @classmethod
        def validate(cls, value: Any) -> Any:
            """A list of pairs is no object, although pydantic 1 would make one of it."""
            if isinstance(value, list):
                raise TypeError("must be an object")
            return super().validate(value)

        @pydantic.validator("*", pre=True)  # type: ignore[type-var]
        def _no_pairs(cls, value: Any, field: Any) -> Any:
            """Nor is one, or an empty list, where a field holds an object."""
            if isinstance(value, list) and field.shape in MAPPING_LIKE_SHAPES:
                raise TypeError("must be an object")
            return value


def parse(shape: type[T], data: Any, *where: str) -> T:
    """``data`` as a ``shape``. Raises InvalidRequest naming each field at fault."""
    if not isinstance(data, dict):
        raise InvalidRequest([{"loc": list(where) or ["body"], "msg": "must be an object"}])
    try:
        return shape.model_validate(data) if PYDANTIC_2 else shape.parse_obj(data)
    except ValidationError as error:
        raise InvalidRequest(faults(error.errors(), where, shape)) from None


def faults(errors: Any, where: tuple[str, ...] = (), shape: Any = None) -> list[dict[str, Any]]:
    """What pydantic found, in the form of our answers; values are left out, they may be secret or huge. With ``shape``
    it is told which fields there are instead of one that it does not know."""
    return [{"loc": [*where, *error["loc"]], "msg": _message(error) + _instead(error, shape)} for error in errors]


# What both versions are made to say alike, and of JSON rather than of Python.
UNKNOWN = "is not a known field"
MESSAGES = {
    UNKNOWN: ("extra_forbidden", "value_error.extra"),
    "is required": ("missing", "value_error.missing"),
    "must be an object": ("model_type", "model_attributes_type", "dict_type", "type_error.dict"),
    "must be a list": ("list_type", "type_error.list"),
    "must be text": ("string_type", "type_error.str"),
    "must be JSON": ("json_invalid", "value_error.jsondecode"),
    "must be a whole number": ("int_parsing", "int_parsing_size", "int_type", "int_from_float", "type_error.integer"),
    "must be true or false": ("bool_parsing", "bool_type", "type_error.bool"),
    "must be at least {ge}": ("greater_than_equal",),
    "must be at most {le}": ("less_than_equal",),
    "must be at least {limit_value}": ("value_error.number.not_ge",),
    "must be at most {limit_value}": ("value_error.number.not_le",),
    "must be text of at most {max_length} characters": ("string_too_long",),
    "must be text of at most {limit_value} characters": ("value_error.any_str.max_length",),
    "must be {expected}": ("literal_error",),
}
SAID = {kind: message for message, kinds in MESSAGES.items() for kind in kinds}


def _message(error: Any) -> str:
    if error["type"] == "value_error.const":
        return f"must be {either(error['ctx']['permitted'])}"
    said = SAID.get(error["type"])
    found = {name: str(value).replace("'", "") for name, value in error.get("ctx", {}).items()}
    return said.format(**found) if said else str(error["msg"]).removeprefix("Value error, ")


def either(names: Sequence[Any]) -> str:
    """Such as "a, b or c"."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def _instead(error: Any, shape: Any) -> str:
    """Such as "; did you mean priority?"."""
    if SAID.get(error["type"]) != UNKNOWN:
        return ""
    *path, name = [part for part in error["loc"] if part != "body"]
    shape = _shape_in(shape)
    for part in path:
        shape = _shape_in(_fields(shape).get(part))
    known = list(_fields(shape))
    if near := difflib.get_close_matches(str(name), known, 1):
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _fields(shape: Any) -> dict[str, Any]:
    """What each field of a shape holds, by its name."""
    if not (isinstance(shape, type) and issubclass(shape, BaseModel)):
        return {}
    if PYDANTIC_2:
        return {name: field.annotation for name, field in shape.model_fields.items()}
    return {name: field.outer_type_ for name, field in shape.__fields__.items()}  # type: ignore[attr-defined]


def _shape_in(annotation: Any) -> Any:
    """The shape itself of an optional one."""
    return next((one for one in (annotation, *get_args(annotation)) if _fields(one)), None)


def given(shape: BaseModel) -> dict[str, Any]:
    """The fields that were sent, with their values."""
    return shape.model_dump(exclude_unset=True) if PYDANTIC_2 else shape.dict(exclude_unset=True)


def checked(text: str | None = None, **schema: Any) -> Any:
    """An optional field whose value a function of ours checks; ``schema`` says in the documents what that allows."""
    if not PYDANTIC_2:
        return Field(None, description=text, **schema)

    def instead(shown: dict[str, Any]) -> None:
        shown["anyOf"] = [schema, {"type": "null"}]

    return Field(None, description=text, json_schema_extra=instead)


def json_schemas(shapes: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON Schema of models and typed dictionaries: one by each given name, and the definitions these refer to.

    ``place`` is where definitions will stand, such as ``#/components/schemas/{model}``. Needs pydantic 2.
    """
    from pydantic import TypeAdapter

    asked: Any = [(name, "validation", TypeAdapter(shape)) for name, shape in shapes.items()]
    found, definitions = TypeAdapter.json_schemas(asked, ref_template=place)
    return {name: schema for (name, _), schema in found.items()}, definitions.get("$defs", {})
