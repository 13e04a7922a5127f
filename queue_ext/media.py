"""Pictures as files named by their content: uploads, inputs, results, thumbnails."""

import base64
import binascii
import contextlib
import errno
import hashlib
import io
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from .errors import InvalidRequest, StorageUnavailable, invalid
from .store import FileRef

log = logging.getLogger(__name__)

MEGAPIXELS = 64  # largest picture that is taken in
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp", "GIF": "image/gif"}
THUMBNAIL = 320  # pixels of the longer side
GRACE = 3600.0  # seconds a file nobody refers to is kept: its job may be on its way into the database
PICTURE_FIELDS = {"init_images", "mask", "image", "input_image", "mask_image"}
LOOKS_LIKE = ("data:image/", "upload:", "iVBORw0KGgo", "/9j/", "UklGR")
LEAST = 256  # characters from which a text in an unknown field may be taken for a picture
UPLOAD = "upload:"
PARENT = "parent:"  # a picture that a parent of the job will have made
PARENT_REFERENCE = re.compile(r"parent:(\d{1,4}):(\d{1,4})")
DEPTH = 32  # levels of nesting that are looked into


class BadPicture(ValueError):
    """What was sent is not a picture we take; the text says why."""


class Media:
    """A folder of files. Synchronous; safe from any thread and process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lay_out(self) -> None:
        """Make the folder, and those in it: a job's end would wait for each. One of these that cannot be made now is
        made when it is wanted. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            there = {entry.name for entry in os.scandir(self.folder)}
            for place in (self.path(f"{number:02x}").parent for number in range(256)):
                if place.name not in there:
                    place.mkdir(exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def read(self, sha256: str) -> bytes:
        """Raises StorageUnavailable where all pictures are out of reach, FileNotFoundError where this one is."""
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError:
            if self.folder.is_dir():
                raise
            raise StorageUnavailable(reason="the folder for pictures is missing") from None

    def save(self, data: bytes) -> str:
        """Store bytes, once for each content; the SHA-256 in hex. Raises StorageUnavailable."""
        return self._save(data, True)

    def put(self, data: bytes) -> str:
        """As ``save``, without waiting for the disk: what is there survives the death of the process, and that of the
        machine when ``settle`` has returned."""
        return self._save(data, False)

    def settle(self, sha256: str) -> None:
        """Wait until the disk has what was ``put``, unless it was deleted again. Raises StorageUnavailable."""
        with storage_errors(), contextlib.suppress(FileNotFoundError), self.path(sha256).open("r+b") as file:
            os.fsync(file.fileno())

    def _save(self, data: bytes, settled: bool) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        with storage_errors():
            if path.exists():
                os.utime(path)
            else:
                self._write(path, data, settled)
        return sha256

    def _write(self, path: Path, data: bytes, settled: bool = True) -> None:
        """Whole or not at all, whenever the process dies, or the machine if it is ``settled``."""
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            with self._created(part) as file:
                file.write(data)
                if settled:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _created(self, path: Path) -> BinaryIO:
        try:
            return path.open("xb")
        except FileNotFoundError:
            self._make_folders(path.parent)
            return path.open("xb")

    def _make_folders(self, wanted: Path) -> None:
        """The folder itself is made at start only: where it has gone, its pictures have, and may come back with it."""
        place = self.folder
        for part in wanted.relative_to(self.folder).parts:
            place = place / part
            place.mkdir(exist_ok=True)

    def add(self, data: bytes) -> FileRef:
        """Store a picture somebody brought. Raises BadPicture, StorageUnavailable."""
        mime, width, height = inspect(data)
        return FileRef(self.save(data), mime, len(data), width, height)

    def thumbnail(self, sha256: str) -> Path:
        """A small WebP of a stored picture, made when it is first asked for."""
        path = self.folder / "thumbnails" / sha256[:2] / f"{sha256}.webp"
        if not path.exists():
            with Image.open(self.path(sha256)) as picture:
                small = picture if picture.mode in ("RGB", "RGBA", "L") else picture.convert("RGB")
                small.thumbnail((THUMBNAIL, THUMBNAIL))
                buffer = io.BytesIO()
                small.convert("RGB").save(buffer, "WEBP", quality=80)
            with storage_errors():
                self._write(path, buffer.getvalue())
        return path

    def collect(self, unreferenced: Callable[[list[str]], set[str]], now: float | None = None) -> int:
        """Delete files that no job and no upload refers to and that are older than GRACE; how many."""
        limit = (now or time.time()) - GRACE
        removed = 0
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            old = [path for path in folder.iterdir() if path.stat().st_mtime < limit]
            for path in old:
                if path.suffix == ".part":
                    path.unlink(missing_ok=True)
            names = [path.name for path in old if not path.suffix]
            for sha256 in unreferenced(names) if names else ():
                self.path(sha256).unlink(missing_ok=True)
                (self.folder / "thumbnails" / sha256[:2] / f"{sha256}.webp").unlink(missing_ok=True)
                removed += 1
        return removed


class storage_errors:
    """Turn a full or unwritable disk into StorageUnavailable with a reason a person understands."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, StorageUnavailable):
            log.warning("a file could not be stored: %s", error)
            full = (
                error.errno in (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else error.errno == errno.ENOSPC
            )
            reason = "the disk is full" if full else "the folder for pictures is missing or cannot be written"
            raise StorageUnavailable(reason=reason) from error


def inspect(data: bytes) -> tuple[str, int, int]:
    """Type, width and height of a picture that is whole and not too large. Raises BadPicture."""
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as picture:
            width, height = picture.size
            if width * height > MEGAPIXELS * 1_000_000:
                raise BadPicture(f"is {width}x{height}; a picture may have {MEGAPIXELS} megapixels")
            picture.load()
            return FORMATS[str(picture.format)], width, height
    except BadPicture:
        raise
    except Image.DecompressionBombError:
        raise BadPicture(f"is too large; a picture may have {MEGAPIXELS} megapixels") from None
    except Exception:
        raise BadPicture(f"is not a picture, or is damaged; allowed are {', '.join(FORMATS)}") from None


def decode(text: str) -> bytes:
    """The bytes of base64 text, with or without ``data:...;base64,`` before it. Raises BadPicture."""
    if re.match(r"(https?|ftp|file):", text):
        raise BadPicture("is an address; send the picture itself as base64, or upload it first")
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise BadPicture("is a data: URL without base64")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadPicture("is not valid base64") from None


class Intake:
    """Takes the pictures out of one payload: each becomes a file and an ``upload:<sha256>`` reference."""

    def __init__(self, media: Media, find_upload: Callable[[str], FileRef | None], parents: int = 0) -> None:
        self._media = media
        self._parents = parents  # how many jobs the payload may take pictures from
        self._find_upload = find_upload
        self._faults: list[dict[str, Any]] = []
        self.files: dict[str, FileRef] = {}

    def take(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload with references. Raises InvalidRequest for each picture at fault, by its place."""
        taken = self._walk(payload, ("payload",), None)
        if self._faults:
            raise InvalidRequest(self._faults)
        return taken

    def _walk(self, value: Any, where: tuple[Any, ...], field: str | None) -> Any:
        if len(where) > DEPTH:
            self._faults.append({"loc": list(where[:4]), "msg": f"is nested more than {DEPTH} levels deep"})
            return None
        if isinstance(value, dict):
            return {key: self._walk(item, (*where, key), key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item, (*where, number), field) for number, item in enumerate(value)]
        return self._text(value, where, field) if isinstance(value, str) else value

    def _text(self, text: str, where: tuple[Any, ...], field: str | None) -> str:
        if field in ("prompt", "negative_prompt"):
            return text
        if (parent := PARENT_REFERENCE.fullmatch(text)) and int(parent[1]) < self._parents:
            return text
        known = field in PICTURE_FIELDS and text not in ("", "none", "None")
        if not known and not (text.startswith(LOOKS_LIKE) and (len(text) >= LEAST or text.startswith(UPLOAD))):
            return text
        try:
            return self._picture(text)
        except BadPicture as error:
            if known or text.startswith(("data:", UPLOAD)):
                self._faults.append({"loc": list(where), "msg": str(error)})
            return text

    def _picture(self, text: str) -> str:
        if text.startswith(UPLOAD):
            ref = self._find_upload(text[len(UPLOAD) :])
            if ref is None:
                raise BadPicture("is not an upload of yours, or has expired; send it to POST /uploads again")
        else:
            ref = self._media.add(decode(text))
        self.files[ref.sha256] = ref
        return UPLOAD + ref.sha256


def references(value: Any) -> Iterator[str]:
    """The contents (SHA-256) a stored payload refers to."""
    if isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, str) and re.fullmatch(UPLOAD + "[0-9a-f]{64}", value):
        yield value[len(UPLOAD) :]


def name_parents(value: Any, parents: int, *where: Any) -> Any:
    """A payload with each ``{"$parent": n, "image": m}`` written as ``parent:n:m``. Raises InvalidRequest."""
    if isinstance(value, list):
        return [name_parents(item, parents, *where, number) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "$parent" not in value:
        return {key: name_parents(item, parents, *where, key) for key, item in value.items()}
    number, image = value["$parent"], value.get("image", 0)
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in (number, image))
    if not whole or set(value) - {"$parent", "image"} or number >= parents:
        raise invalid(
            "payload", *where, msg=f'must be {{"$parent": number of a job in after (there are {parents}), "image": 0}}'
        )
    return f"{PARENT}{number}:{image}"


def show_parents(value: Any) -> Any:
    """The reverse of ``name_parents``."""
    if isinstance(value, dict):
        return {key: show_parents(item) for key, item in value.items()}
    if isinstance(value, list):
        return [show_parents(item) for item in value]
    if isinstance(value, str) and (found := PARENT_REFERENCE.fullmatch(value)):
        return {"$parent": int(found[1]), "image": int(found[2])}
    return value


def inline(value: Any, read: Callable[[str], bytes], of_parent: Callable[[int, int], bytes] | None = None) -> Any:
    """A stored payload as the pipeline takes it: references replaced by base64."""
    if isinstance(value, dict):
        return {key: inline(item, read, of_parent) for key, item in value.items()}
    if isinstance(value, list):
        return [inline(item, read, of_parent) for item in value]
    if isinstance(value, str) and re.fullmatch(UPLOAD + "[0-9a-f]{64}", value):
        return base64.b64encode(read(value[len(UPLOAD) :])).decode()
    if of_parent is not None and isinstance(value, str) and (found := PARENT_REFERENCE.fullmatch(value)):
        return base64.b64encode(of_parent(int(found[1]), int(found[2]))).decode()
    return value
