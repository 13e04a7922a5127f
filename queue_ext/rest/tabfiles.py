"""The tab's browser files as they travel: without comments and indentation, and compressed. Each is prepared once."""

import gzip
import hashlib
import re
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
COMMENTS = {
    ".js": re.compile(
        r"^[ \t]*(?:/\*\*.*?\*/|//[^\n]*)[ \t]*\n|(?<=[;,{}()]) +//[^\n\"'`]*$", re.DOTALL | re.MULTILINE
    ),
    ".css": re.compile(r"/\*.*?\*/", re.DOTALL),
}
STYLE_SPACE = re.compile(r"\s*([{};])\s*|(?<=:) +")
INDENTATION = re.compile(r"^[ \t]+|[ \t]+$|\n(?=\n)", re.MULTILINE)


def shortened(text: str, suffix: str) -> str:
    """The same code with fewer bytes: comments and space that means nothing go. A comment behind code goes where no
    quote follows it: what looks like one inside a string stays."""
    if suffix in COMMENTS:
        text = COMMENTS[suffix].sub("", text)
    if suffix == ".css":
        text = STYLE_SPACE.sub(r"\1", text)
    return INDENTATION.sub("", text)


class TabFiles(StaticFiles):
    """Files of a folder; browsers ask each time whether theirs is still the one."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._folder = directory.resolve()
        self._prepared: dict[Path, tuple[float, bytes, bytes]] = {}

    async def get_response(self, path: str, scope: Scope) -> Response:
        file = (self._folder / path).resolve()
        if file.suffix not in TYPES or not file.is_file() or self._folder not in file.parents:
            return await super().get_response(path, scope)
        return self._answer(file, Headers(scope=scope))

    def _answer(self, file: Path, asked: Headers) -> Response:
        plain, packed = self._prepare(file)
        headers = {
            "ETag": f'"{hashlib.sha256(plain).hexdigest()[:24]}"', "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff",
        }  # fmt: skip
        if headers["ETag"] in asked.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in asked.get("accept-encoding", ""):
            return Response(plain, media_type=TYPES[file.suffix], headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(packed, media_type=TYPES[file.suffix], headers=headers)

    def _prepare(self, file: Path) -> tuple[bytes, bytes]:
        changed = file.stat().st_mtime
        known = self._prepared.get(file)
        if known is None or known[0] != changed:
            data = file.read_bytes()
            if "vendor" not in file.relative_to(self._folder).parts:
                data = shortened(data.decode("utf-8"), file.suffix).encode()
            known = self._prepared[file] = (changed, data, gzip.compress(data, 9, mtime=0))
        return known[1:]
