"""The values of controls as JSON and back. What JSON cannot say becomes a file by content; no pickle, anywhere.

A value that is not plain JSON is an object with its kind under ``$``. Files appear as ``upload:<sha256>`` when a job is
made, and as base64 when it is run (``media.inline``).
"""

import base64
import dataclasses
import enum
import io
import math
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from ..pipelines.payloads import MAX_PIXELS, PICTURE_FIELDS

KIND = "$"
LONG_TEXT = 16_000  # characters from which a text lives in a file of its own
DEPTH = 20  # levels a value may be nested
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
PNG_SHAPES = {2: "L", 3: {3: "RGB", 4: "RGBA"}}
FILE_NAME = 120  # characters of a file's name that are kept

Save = Callable[[bytes, "tuple[int, int]"], str]
"""Stores bytes (with the width and height of a picture, else 0, 0) and answers with a reference."""


class Inexpressible(ValueError):
    """A value that cannot be kept; the text says what it is."""


# --- classes of a page -----------------------------------------------------------------------------------------------


class Classes:
    """The classes whose objects a page holds in its States: those alone are rebuilt, with the page's own as a model."""

    def __init__(self, held: Iterable[Any] = ()) -> None:
        self._models: dict[str, Any] = {}
        self._types: dict[str, type] = {}
        for value in held:
            self._meet(value)

    def __contains__(self, kind: type) -> bool:
        return self._types.get(_name(kind)) is kind

    def find(self, name: str) -> type:
        """Raises Inexpressible."""
        kind = self._types.get(name)
        if kind is None:
            raise Inexpressible(f"an object of {name}, which no control of this page holds")
        return kind

    def blank(self, kind: type) -> Any:
        """An object of the class, its fields as in the page's own; nothing of the class is called."""
        made: Any = object.__new__(kind)
        model = self._models.get(_name(kind))
        if model is not None and hasattr(model, "__dict__"):
            made.__dict__.update(vars(model))
        return made

    def _meet(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, (list, tuple)):
            for item in value[:100]:
                self._meet(item, depth + 1)
        if depth > 4 or not _is_rebuildable(type(value)):
            return
        known = _name(type(value)) in self._models
        self._learn(type(value))
        if known or isinstance(value, enum.Enum):
            return
        self._models[_name(type(value))] = value
        for item in _fields(value).values():
            self._meet(item, depth + 1)

    def _learn(self, kind: type) -> None:
        if _name(kind) in self._types:
            return
        self._types[_name(kind)] = kind
        for hint in _hints(kind):
            if _is_rebuildable(hint) and (issubclass(hint, enum.Enum) or dataclasses.is_dataclass(hint)):
                self._learn(hint)


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


NOT_OURS = {
    "builtins",
    "types",
    "typing",
    "functools",
    "io",
    "tempfile",
    "pathlib",
    "numpy",
    "PIL",
    "torch",
    "pandas",
    "gradio",
    "gradio_client",
}


def _is_rebuildable(kind: type) -> bool:
    """A plain class of somebody's own: not one of the language or of a library that holds more than fields."""
    return kind.__module__.partition(".")[0] not in NOT_OURS and not issubclass(kind, (type, PurePath, BaseException))


def _hints(kind: type) -> Iterator[type]:
    try:
        hints = typing.get_type_hints(kind)
    except Exception:
        return
    for hint in hints.values():
        yield from (part for part in (hint, *typing.get_args(hint)) if isinstance(part, type))


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not hasattr(value, "__dict__"):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(getattr(value, "__dict__", {}))


# --- to JSON ---------------------------------------------------------------------------------------------------------


class Encoder:
    """Makes JSON of the values of one page."""

    def __init__(self, save: Save, classes: Classes, is_file: Callable[[str], bool] = lambda path: False) -> None:
        from ..media import LOOKS_LIKE  # with the database behind it: nothing to load before somebody clicks

        self._looks_like = LOOKS_LIKE
        self._save = save
        self._classes = classes
        self._is_file = is_file

    def __call__(self, value: Any, key: str = "") -> Any:
        """The value as JSON; ``key`` is the name it will stand under. Raises Inexpressible."""
        return self._encode(value, 0, key in PICTURE_FIELDS)

    def _encode(self, value: Any, depth: int, guarded: bool) -> Any:
        if depth > DEPTH:
            raise Inexpressible(f"a value nested more than {DEPTH} levels deep")
        if isinstance(value, enum.Enum):
            return self._enum(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, np.generic):
            return self._encode(value.item(), depth, guarded)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {KIND: "float", "value": repr(float(value))}
        if isinstance(value, (str, PurePath)) or hasattr(value, "read"):
            return self._text_or_file(value, guarded)
        if isinstance(value, (bytes, bytearray)):
            return {KIND: "bytes", "file": self._save(bytes(value), (0, 0))}
        return self._compound(value, depth, guarded)

    def _enum(self, value: enum.Enum) -> dict[str, Any]:
        if type(value) not in self._classes:
            raise Inexpressible(f"a choice of {_name(type(value))}, which no control of this page holds at its start")
        return {KIND: "enum", "class": _name(type(value)), "name": value.name}

    def _text_or_file(self, value: Any, guarded: bool) -> Any:
        path = str(value) if isinstance(value, (str, PurePath)) else str(getattr(value, "name", ""))
        if not isinstance(value, str) or type(value) is not str or self._is_file(path):
            return self._file(value, path)
        odd = "\0" in value or len(value) > LONG_TEXT or not _is_unicode(value)
        if guarded or odd or value.startswith(self._looks_like):
            return {KIND: "text", "file": self._save(value.encode("utf-8", "surrogatepass"), (0, 0))}
        return value

    def _file(self, value: Any, path: str) -> dict[str, Any]:
        """A file somebody dropped on the page: a path, gradio 4's text with a ``name``, or gradio 3's open file."""
        form = (
            "path"
            if type(value) is str or isinstance(value, PurePath)
            else "named"
            if isinstance(value, str)
            else "open"
        )
        if form == "named":
            path = str(getattr(value, "name", value))
        if form != "open" and not self._is_file(path):
            if isinstance(value, str):
                return {KIND: "text", "file": self._save(str(value).encode("utf-8", "surrogatepass"), (0, 0))}
            raise Inexpressible(f"the path {path}, which is no file of this page")
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise Inexpressible(f"a file that cannot be read ({error.strerror})") from None
        name = PurePath(str(getattr(value, "orig_name", None) or path).replace("\\", "/")).name
        return {KIND: "file", "form": form, "name": name[-FILE_NAME:], "file": self._save(data, (0, 0))}

    def _compound(self, value: Any, depth: int, guarded: bool) -> Any:
        if isinstance(value, Image.Image):
            return self._image(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, (list, tuple, set, frozenset)):
            items = [self._encode(item, depth + 1, guarded) for item in value]
            return items if type(value) is list else {KIND: _sequence(value), "items": items}
        if isinstance(value, Mapping) and type(value) in (dict, typing.OrderedDict):
            return self._dict(value, depth, guarded)
        if type(value).__module__.startswith("pandas.") and type(value).__name__ == "DataFrame":
            return self._frame(value, depth)
        if type(value) in self._classes:
            fields = {
                name: self._encode(item, depth + 1, name in PICTURE_FIELDS) for name, item in _fields(value).items()
            }
            return {KIND: "object", "class": _name(type(value)), "fields": fields}
        raise Inexpressible(f"an object of {_name(type(value))}")

    def _dict(self, value: Mapping[Any, Any], depth: int, guarded: bool) -> Any:
        if all(isinstance(key, str) and _is_unicode(key) and "\0" not in key for key in value) and KIND not in value:
            return {key: self._encode(item, depth + 1, guarded or key in PICTURE_FIELDS) for key, item in value.items()}
        return {
            KIND: "dict",
            "items": [[self._encode(part, depth + 1, guarded) for part in pair] for pair in value.items()],
        }

    def _frame(self, frame: Any, depth: int) -> dict[str, Any]:
        return {
            KIND: "frame",
            "columns": [self._encode(name, depth + 1, False) for name in frame.columns],
            "rows": [
                [self._encode(cell, depth + 1, False) for cell in row] for row in frame.astype(object).values.tolist()
            ],
            "dtypes": [str(kind) for kind in frame.dtypes],
        }

    def _image(self, image: Image.Image) -> dict[str, Any]:
        _check_size(image)
        made: dict[str, Any] = {KIND: "image", "mode": image.mode}
        if image.mode in PNG_MODES:
            made["file"] = self._save(_png(image), image.size)
        else:
            made.update(size=list(image.size), file=self._save(image.tobytes(), (0, 0)))
        if info := self._info(image.info):
            made["info"] = info
        return made

    def _info(self, info: Mapping[Any, Any]) -> dict[str, Any]:
        """What a picture says of itself, its infotext above all; what cannot be kept of it is nobody's setting."""
        kept = {}
        for key, value in info.items():
            try:
                kept[str(key)] = self._encode(value, DEPTH - 3, str(key) in PICTURE_FIELDS)
            except Inexpressible:
                continue
        return kept

    def _array(self, array: np.ndarray) -> dict[str, Any]:
        mode = PNG_SHAPES.get(array.ndim)
        mode = mode.get(array.shape[2]) if isinstance(mode, dict) else mode
        if array.dtype == np.uint8 and mode and array.size:
            image = Image.fromarray(np.ascontiguousarray(array))
            _check_size(image)
            return {KIND: "array", "form": "png", "file": self._save(_png(image), image.size)}
        if array.dtype.hasobject:
            raise Inexpressible("an array of objects")
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return {KIND: "array", "form": "npy", "file": self._save(buffer.getvalue(), (0, 0))}


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Inexpressible(f"a picture of {image.width}x{image.height}; a picture may have 64 megapixels")


def _sequence(value: Any) -> str:
    return "set" if isinstance(value, (set, frozenset)) else "tuple" if isinstance(value, tuple) else "list"


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(
        buffer,
        "PNG",
        compress_level=3,
        **({"transparency": image.info["transparency"]} if "transparency" in image.info else {}),
    )
    return buffer.getvalue()


# --- from JSON -------------------------------------------------------------------------------------------------------


class NamedFile(str):
    """As gradio 4 hands over a file: its path, which also is its ``name``."""

    @property
    def name(self) -> str:
        return str(self)

    @property
    def orig_name(self) -> str:
        return PurePath(self).name


class Decoder:
    """Makes values of JSON. Files of paths live in a folder that goes when the context ends."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._count = 0

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def __call__(self, value: Any) -> Any:
        """The value that was kept. Raises Inexpressible for what nobody here has written."""
        if isinstance(value, list):
            return [self(item) for item in value]
        if not isinstance(value, dict):
            return value
        if KIND not in value:
            return {key: self(item) for key, item in value.items()}
        kind = value[KIND]
        if not isinstance(kind, str) or kind not in KINDS:
            raise Inexpressible(f"a value of the unknown kind {kind!r}")
        try:
            return getattr(self, f"_{kind}")(value)
        except Inexpressible:
            raise
        except Exception as error:
            raise Inexpressible(f"a damaged {kind} ({type(error).__name__})") from error

    def _float(self, value: dict[str, Any]) -> float:
        return float(value["value"])

    def _bytes(self, value: dict[str, Any]) -> bytes:
        return base64.b64decode(value["file"], validate=True)

    def _text(self, value: dict[str, Any]) -> str:
        return self._bytes(value).decode("utf-8", "surrogatepass")

    def _tuple(self, value: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self(item) for item in value["items"])

    def _set(self, value: dict[str, Any]) -> set[Any]:
        return {self(item) for item in value["items"]}

    def _list(self, value: dict[str, Any]) -> list[Any]:
        return [self(item) for item in value["items"]]

    def _dict(self, value: dict[str, Any]) -> dict[Any, Any]:
        return {self(key): self(item) for key, item in value["items"]}

    def _frame(self, value: dict[str, Any]) -> Any:
        import pandas

        frame = pandas.DataFrame(
            [[self(cell) for cell in row] for row in value["rows"]], columns=[self(name) for name in value["columns"]]
        )
        for column, kind in zip(list(frame.columns), value["dtypes"], strict=True):
            try:
                frame[column] = frame[column].astype(kind)
            except (TypeError, ValueError):
                continue
        return frame

    def _enum(self, value: dict[str, Any]) -> Any:
        kind = self._classes.find(value["class"])
        if not issubclass(kind, enum.Enum):
            raise Inexpressible(f"a choice of {value['class']}, which has none")
        if value["name"] not in kind.__members__:
            raise Inexpressible(f"the choice {value['name']}, which {value['class']} does not have any more")
        return kind[value["name"]]

    def _object(self, value: dict[str, Any]) -> Any:
        kind = self._classes.find(value["class"])
        if issubclass(kind, enum.Enum):
            raise Inexpressible(f"an object of {value['class']}, which is a choice")
        made = self._classes.blank(kind)
        known = set(_fields(made)) or set(value["fields"])
        for name, item in value["fields"].items():
            if name in known:  # a field that an update took away is nobody's any more
                object.__setattr__(made, name, self(item))
        return made

    def _image(self, value: dict[str, Any]) -> Image.Image:
        data = self._bytes(value)
        if "size" in value:
            image = Image.frombytes(value["mode"], tuple(value["size"]), data)
        else:
            image = _open(data)
            if image.mode != value["mode"]:
                image = image.convert(value["mode"])
        image.info = {key: self(item) for key, item in value.get("info", {}).items()}
        return image

    def _array(self, value: dict[str, Any]) -> np.ndarray:
        if value["form"] == "png":
            return np.array(_open(self._bytes(value)))
        return np.load(io.BytesIO(self._bytes(value)), allow_pickle=False)

    def _file(self, value: dict[str, Any]) -> Any:
        path = self._place(str(value["name"]))
        path.write_bytes(self._bytes(value))
        if value["form"] != "open":
            return NamedFile(path) if value["form"] == "named" else str(path)
        file: Any = tempfile._TemporaryFileWrapper(self._stack.enter_context(path.open("rb")), str(path), delete=False)
        file.orig_name = path.name
        return file

    def _place(self, name: str) -> Path:
        """A path of its own for each file, with the name it had."""
        if self._folder is None:
            self._folder = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="queue-ext-", ignore_cleanup_errors=True))
            )
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder / (PurePath(name.replace("\\", "/")).name.replace("\0", "")[-FILE_NAME:] or "file")


KINDS = {"float", "bytes", "text", "tuple", "set", "list", "dict", "frame", "enum", "object", "image", "array", "file"}


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    _check_size(image)
    image.load()
    made = image.copy()  # not a PngImageFile any more, which hosts would take for a file that was read
    return made
