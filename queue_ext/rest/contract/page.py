"""The contract as one page of plain HTML: routes, events, shapes. No script, no font, nothing from elsewhere."""

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
HEADINGS = {
    "jobs": "Jobs",
    "pictures": "Pictures",
    "queues": "Queues",
    "schedules": "Schedules",
    "system": "Around the queue",
}


def page(openapi: dict[str, Any], asyncapi: dict[str, Any], prefix: str) -> str:
    """The whole page; ``prefix`` is the path of the extension from the server's root."""
    shapes = {**asyncapi["components"]["schemas"], **openapi["components"]["schemas"]}
    groups = _groups(openapi)
    links = {tag: HEADINGS.get(tag, tag) for tag in groups}
    links |= {"told": "Pushed events", "asked": "Asked events", "shapes": "Shapes"}
    sections = [
        _section(tag, links[tag], "".join(_route(*route) for route in routes)) for tag, routes in groups.items()
    ]
    sections += _events(asyncapi, links)
    sections += [_section("shapes", links["shapes"], "".join(_shape(name, shapes[name]) for name in sorted(shapes)))]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Queue API</title><style>{STYLE}</style></head><body>"
        f"<nav>{''.join(_link(tag, text) for tag, text in links.items())}</nav><main>"
        f"<h1>Queue {escape(openapi['info']['version'])}</h1>{_files(prefix)}{''.join(sections)}</main></body></html>"
    )


def _files(prefix: str) -> str:
    base = escape(prefix)
    return (
        f"<p>REST below <code>{base}</code>; as a file: <a href='{base}/v1/openapi.json'>openapi.json</a>. "
        f"Socket events as a file: <a href='{base}/v1/asyncapi.json'>asyncapi.json</a>.</p>"
    )


def _link(anchor: str, text: str) -> str:
    return f"<a href='#{_id(anchor)}'>{escape(text)}</a>"


def _section(anchor: str, heading: str, content: str) -> str:
    return f"<section id='{_id(anchor)}'><h2>{escape(heading)}</h2>{content}</section>"


def _folded(head: str, text: str, content: str) -> str:
    return f"<details><summary>{head} <span>{escape(text)}</span></summary>{content}</details>"


def _groups(openapi: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            groups.setdefault((route.get("tags") or ["other"])[0], []).append((method.upper(), path, route))
    return groups


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    rows = [
        (each["name"], each.get("required", False), each.get("schema", {}), each.get("description"))
        for each in route.get("parameters", [])
    ]
    body = route.get("requestBody", {}).get("content", {})
    text = f"<p>{_prose(route['description'])}</p>" if route.get("description") else ""
    sent = "".join(f"<p>Body: {_type(said.get('schema', {}))}</p>" for said in body.values())
    answers = "".join(_answer(status, said) for status, said in route.get("responses", {}).items())
    head = f"<b class='{method.lower()}'>{method}</b> <code>{escape(path)}</code>"
    return _folded(head, route.get("summary", ""), text + _table(rows) + sent + answers)


def _answer(status: str, said: dict[str, Any]) -> str:
    shown = ""
    for kind, content in said.get("content", {}).items():
        named = _type(content["schema"]) if content.get("schema") else escape(kind)
        example = content.get("example")
        text = example if isinstance(example, str) else json.dumps(example, indent=1, ensure_ascii=False)
        shown += f" {named}" + (f"<pre>{escape(text)}</pre>" if example is not None else "")
    return f"<p><b>{escape(status)}</b> {_prose(said.get('description', ''))}{shown}</p>"


def _table(rows: Sequence[tuple[str, bool, dict[str, Any], str | None]]) -> str:
    """Rows of name, whether it is required, schema, meaning."""
    lines = ""
    for name, required, schema, text in rows:
        mark = "" if required else " <i>optional</i>"
        meaning = _prose(text or schema.get("description", ""))
        lines += f"<tr><td><code>{escape(name)}</code>{mark}<td>{_type(schema)}<td>{meaning}"
    return f"<table>{lines}</table>" if lines else ""


def _events(asyncapi: dict[str, Any], links: dict[str, str]) -> list[str]:
    messages = {name: each["payload"] for name, each in asyncapi["channels"]["queue"]["messages"].items()}
    told, asked = f"<p>{_prose(asyncapi['info']['description'])}</p>", ""
    for operation in asyncapi["operations"].values():
        name, summary = operation["title"], operation["summary"]
        head = f"<code>{escape(name)}</code>"
        if operation["action"] == "send":
            told += _folded(head, summary, f"<p>Payload: {_type(messages[name])}</p>")
        else:
            said, answer = _type(messages[f"{name}.ask"]), _type(messages[f"{name}.answer"])
            asked += _folded(head, summary, f"<p>Argument: {said}</p><p>Acknowledgement: {answer}</p>")
    return [_section("told", links["told"], told), _section("asked", links["asked"], asked)]


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [(field, field in required, said, None) for field, said in schema.get("properties", {}).items()]
    text = _prose(schema.get("description", ""))
    return f"<article id='shape-{_id(name)}'><h3>{escape(name)}</h3><p>{text}</p>{_table(rows)}</article>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the shapes it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#shape-{_id(name)}'>{escape(name)}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if "const" in schema or "enum" in schema:
        return " or ".join(escape(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object, by name: {_type(schema['additionalProperties'])}"
    return escape(" or ".join(kind) if isinstance(kind, list) else kind) + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    return "" if low is None or high is None else f" {low:g} to {high:g}"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)
