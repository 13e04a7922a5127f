"""The socket events as AsyncAPI 3 (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from typing import Any

from .. import __version__
from ..compat import json_schemas
from ..wire import CLIENT_EVENTS, SERVER_EVENTS, Handshake, Refused

PLACE = "#/components/schemas/{model}"
MESSAGES = "#/channels/queue/messages/"
DESCRIPTION = """Socket.IO, protocol 5, path `/queue-ext/socket.io`, namespace `/queue`, by WebSocket or polling.
A message is a Socket.IO event: its name is the event's, its payload the one argument. Every event a client sends is
answered by an acknowledgement, either with `ok: true` or with `ok: false` and `error`; what is unknown or of a wrong
shape is answered too and never ends the connection. `job`, `result`, `failed` and `removed` carry `seq`; a client that
connects again says the last one it heard as `since` and gets what it missed, or is told to begin anew (`snapshot`)."""


def asyncapi() -> dict[str, Any]:
    """The document. The server's host is filled in when it is served."""
    schemas, definitions = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Queue", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"queue": _server(schemas["handshake"])},
        "channels": {
            "queue": {
                "address": "/queue",
                "title": "The Socket.IO namespace /queue",
                "servers": [{"$ref": "#/servers/queue"}],
                "messages": {
                    **{name: _message(name, told.when, schemas[name]) for name, told in SERVER_EVENTS.items()},
                    **{f"{name}.ask": _message(name, asked.does, schemas[f"{name}.ask"]) for name, asked in CLIENT_EVENTS.items()},
                    **{f"{name}.answer": _answer(name, schemas) for name in CLIENT_EVENTS},
                },
            }
        },
        "operations": {
            **{f"tell_{name}": _tell(name, told.to, told.when) for name, told in SERVER_EVENTS.items()},
            **{f"ask_{name}": _ask(name, asked.does) for name, asked in CLIENT_EVENTS.items()},
        },
        "components": {"schemas": definitions},
    }  # fmt: skip


def _schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    return json_schemas(
        {
            "handshake": Handshake,
            "refused": Refused,
            **{name: told.payload for name, told in SERVER_EVENTS.items()},
            **{f"{name}.ask": asked.argument for name, asked in CLIENT_EVENTS.items()},
            **{f"{name}.answer": asked.answer for name, asked in CLIENT_EVENTS.items()},
        },
        PLACE,
    )


def _server(handshake: dict[str, Any]) -> dict[str, Any]:
    return {
        "host": "127.0.0.1:7861",
        "pathname": "/queue-ext/socket.io",
        "protocol": "ws",
        "description": f"`auth` of the connection is a `{handshake['$ref'].rpartition('/')[2]}`: it says who one is where"
        " no login does, and no cookie of the queue's own pages.",
    }


def _message(name: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "title": name, "summary": summary, "payload": schema}


def _answer(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    either = {"oneOf": [schemas[f"{name}.answer"], schemas["refused"]]}
    return {"name": name, "title": f"{name}: the acknowledgement", "payload": either}


def _tell(name: str, to: str, when: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/queue"},
        "title": name,
        "summary": f"To {to}: {when}.",
        "messages": [{"$ref": MESSAGES + name}],
    }


def _ask(name: str, does: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/queue"},
        "title": name,
        "summary": does,
        "messages": [{"$ref": f"{MESSAGES}{name}.ask"}],
        "reply": {"channel": {"$ref": "#/channels/queue"}, "messages": [{"$ref": f"{MESSAGES}{name}.answer"}]},
    }
