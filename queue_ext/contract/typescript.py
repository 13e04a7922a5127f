"""The shapes and socket events as TypeScript."""

import json
from typing import Any

from ..compat import json_schemas
from ..shapes import Batch, Clone, JobRequest, Patch, SchedulePreview, ScheduleRequest
from ..wire import ANSWERS, CLIENT_EVENTS, SERVER_EVENTS, Schedule

HEAD = """// Made of the server's own models by `python -m queue_ext contract`; a test checks that it is current.
"""
TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "Record<string, unknown>",
}
REQUESTS = {shape.__name__: shape for shape in (JobRequest, Batch, Clone, Patch, ScheduleRequest, SchedulePreview)}


def typescript() -> str:
    """One module: an interface for each shape, and the two maps of events a typed Socket.IO client takes."""
    schemas, definitions = json_schemas(
        {
            **REQUESTS,
            **ANSWERS,
            "Schedule": Schedule,
            **{name: told.payload for name, told in SERVER_EVENTS.items()},
            **{f"{name}.ask": asked.argument for name, asked in CLIENT_EVENTS.items()},
            **{f"{name}.answer": asked.answer for name, asked in CLIENT_EVENTS.items()},
        },
        "{model}",
    )
    interfaces = "\n".join(_interface(name, definitions[name]) for name in sorted(definitions))
    told = [(name, f"(data: {_type(schemas[name])}) => void", told.when) for name, told in SERVER_EVENTS.items()]
    asked = [(name, _asked(name, schemas), asked.does) for name, asked in CLIENT_EVENTS.items()]
    return (
        f"{HEAD}\n{interfaces}\n"
        + _events("ServerToClientEvents", "What the server sends, and when.", told)
        + "\n"
        + _events("ClientToServerEvents", "What a client asks; every event is acknowledged.", asked)
    )


def _asked(name: str, schemas: dict[str, Any]) -> str:
    answer = f"{_type(schemas[f'{name}.answer'])} | Refused"
    return f"(data: {_type(schemas[f'{name}.ask'])}, answer: (said: {answer}) => void) => void"


def _events(name: str, text: str, rows: list[tuple[str, str, str]]) -> str:
    lines = "".join(f"  /** {when} */\n  {event}: {kind};\n" for event, kind, when in rows)
    return f"/** {text} */\nexport interface {name} {{\n{lines}}}\n"


def _interface(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    lines = ""
    for field, said in schema.get("properties", {}).items():
        if "description" in said:
            lines += f"  /** {_line(said['description'])} */\n"
        lines += f"  {field}{'' if field in required else '?'}: {_type(said)};\n"
    head = f"/** {_line(schema['description'])} */\n" if "description" in schema else ""
    return f"{head}export interface {name} {{\n{lines}}}\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if "const" in schema or "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_type({**schema, "type": each}) for each in kind)
    if kind == "array":
        inner = _type(schema.get("items", {}))
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if schema.get("format") == "binary":
        return "ArrayBuffer"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"Record<string, {_type(schema['additionalProperties'])}>"
    return TYPES.get(str(kind), "unknown")
