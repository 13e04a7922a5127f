"""Pictures of jobs: one, its thumbnail, all as a zip; and uploads."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from ..errors import PictureNotFound, RangeNotSatisfiable, invalid
from ..views import Row
from .doors import Caller, caller, work
from .examples import PROBLEM

router = APIRouter(tags=["pictures"])
CHUNK = 256 * 1024  # bytes
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "image/bmp": "bmp"}


async def viewer(request: Request) -> "Caller | None":
    """Nobody in particular for an address that carries our signature; else whoever is asking."""
    place = request.path_params
    path = f"/v1/jobs/{place['job_id']}/images/{place['number']}" + (
        "/thumbnail" if request.url.path.endswith("/thumbnail") else ""
    )
    query = request.query_params
    if request.app.state.queue.signer.valid(path, query.get("expires", ""), query.get("signature", "")):
        return None
    return await caller(request)


def _picture(request: Request, who: "Caller | None", job_id: str, number: int, role: str = "picture") -> Row:
    queue = request.app.state.queue
    if who is not None:
        queue.job(who.owner, job_id)
    found = [file for file in queue.store.files([job_id], role).get(job_id, ()) if file["number"] == number]
    if not found or not queue.media.path(found[0]["sha256"]).exists():
        raise PictureNotFound(job_id=job_id, number=number)
    return found[0]


@router.get("/jobs/{job_id}/images/{number}", summary="A picture", responses={404: PROBLEM, 416: PROBLEM})
async def show_picture(request: Request, job_id: str, number: int, who: "Any" = Depends(viewer)) -> Response:
    file = await work(_picture, request, who, job_id, number)
    path = request.app.state.queue.media.path(file["sha256"])
    headers = {"Content-Disposition": f'inline; filename="{job_id}-{number}.{SUFFIXES.get(file["mime"], "bin")}"'}
    return _send(request, path, file["sha256"], file["mime"], headers)


@router.get("/jobs/{job_id}/images/{number}/thumbnail", summary="A small WebP of a picture", responses={404: PROBLEM})
async def show_thumbnail(request: Request, job_id: str, number: int, who: "Any" = Depends(viewer)) -> Response:
    file = await work(_picture, request, who, job_id, number)
    path = await work(request.app.state.queue.media.thumbnail, file["sha256"])
    return _send(request, path, file["sha256"] + "-t", "image/webp", {})


@router.get(
    "/jobs/{job_id}/inputs/{number}/thumbnail",
    summary="A small WebP of a picture a job starts from",
    responses={404: PROBLEM},
)
async def show_input(request: Request, job_id: str, number: int, who: Caller = Depends(caller)) -> Response:
    file = await work(_picture, request, who, job_id, number, "input")
    path = await work(request.app.state.queue.media.thumbnail, file["sha256"])
    return _send(request, path, file["sha256"] + "-t", "image/webp", {})


def _send(request: Request, path: Path, content: str, mime: str, headers: dict[str, str]) -> Response:
    """A file with ETag, by range where asked for. The content never changes, so browsers may keep it."""
    headers = {
        **headers, "ETag": f'"{content}"', "Cache-Control": "private, max-age=86400, immutable",
        "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return FileResponse(path, media_type=mime, headers=headers)
    first, last = _range(wanted, path.stat().st_size)
    headers |= {"Content-Range": f"bytes {first}-{last}/{path.stat().st_size}", "Content-Length": str(last - first + 1)}
    return StreamingResponse(_read(path, first, last), 206, headers, media_type=mime)


def _range(wanted: str, size: int) -> tuple[int, int]:
    """First and last byte of a ``Range`` header with one range. Raises RangeNotSatisfiable."""
    unit, _, span = wanted.partition("=")
    first, dash, last = span.strip().partition("-")
    try:
        if unit.strip() != "bytes" or not dash or "," in span:
            raise ValueError
        low = int(first) if first else max(0, size - int(last))
        high = min(int(last) if first and last else size - 1, size - 1)
        if not 0 <= low <= high:
            raise ValueError
    except ValueError:
        raise RangeNotSatisfiable(range=wanted[:60], size=size) from None
    return low, high


def _read(path: Path, first: int, last: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        left = last - first + 1
        while left > 0 and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            yield data


@router.get("/jobs/{job_id}/images.zip", summary="All pictures of a job", responses={404: PROBLEM})
async def zip_pictures(request: Request, job_id: str, who: Caller = Depends(caller)) -> Response:
    data = await work(_zip, who, job_id)
    return Response(
        data, media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
    )


def _zip(who: Caller, job_id: str) -> bytes:
    who.queue.job(who.owner, job_id)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in who.queue.store.files([job_id]).get(job_id, ()):
            path = who.queue.media.path(file["sha256"])
            if path.exists():
                archive.write(path, f"{job_id}-{file['number']}.{SUFFIXES.get(file['mime'], 'bin')}")
    return buffer.getvalue()


@router.post(
    "/uploads",
    status_code=201,
    summary="Keep a picture for a payload to refer to",
    responses={413: PROBLEM, 422: PROBLEM},
)
async def upload(request: Request, who: Caller = Depends(caller)) -> JSONResponse:
    """The picture as the raw body, or as the field ``file`` of a form."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        data = await _form_file(request)
    else:
        data = await request.body()
    if not data:
        raise invalid("body", msg="must be a picture: the raw body, or the field file of a form")
    return who.answer(await work(who.queue.upload, who.owner, data), 201)


async def _form_file(request: Request) -> bytes:
    try:
        form = await request.form()
    except Exception:
        raise invalid("body", msg="is not a whole form") from None
    file: Any = form.get("file")
    if file is None or isinstance(file, str):
        raise invalid("file", msg="must be a file of the form")
    return await file.read()
