"""Pictures as files: what is taken in, what is refused and why, and what happens on a full disk."""

import base64
import errno
import io
import os
import threading
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from queue_ext import media as module
from queue_ext.errors import InvalidRequest, StorageUnavailable
from queue_ext.media import BadPicture, Intake, Media, decode, inline, inspect, references
from queue_ext.store import FileRef

from .support import png


@pytest.fixture
def media(tmp_path: Path) -> Media:
    folder = tmp_path / "media"
    folder.mkdir()
    return Media(folder)


def files(media: Media) -> list[str]:
    return sorted(path.name for path in media.folder.rglob("*") if path.is_file())


def age(media: Media, sha256: str, seconds: float = 7200) -> None:
    os.utime(media.path(sha256), (time.time() - seconds,) * 2)


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def halved(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(buffer, kind)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


def zipped(head: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.py", "print()")
    return head + buffer.getvalue()


def text_bomb() -> bytes:
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 200_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", zipped(), zipped(b"\x89PNG\r\n\x1a\n"), halved("PNG"), halved("JPEG"), b"GIF89a", b"%PDF-1.4", b"<svg/>",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100, bomb(30_000, 30_000), bomb(8001, 8001), bomb(2**31 - 1, 1), bomb(0, 10), text_bomb(),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_no_whole_picture_of_a_sane_size_is_refused(media: Media, data: bytes) -> None:
    with pytest.raises(BadPicture):
        media.add(data)
    assert files(media) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_common_pictures_are_taken_in_as_they_are(media: Media, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(buffer, kind)
    ref = media.add(buffer.getvalue())
    assert (ref.mime, ref.width, ref.height, ref.size) == (f"image/{kind.lower()}", 30, 20, len(buffer.getvalue()))
    assert media.read(ref.sha256) == buffer.getvalue()


def test_the_largest_picture_is_allowed() -> None:
    buffer = io.BytesIO()
    Image.new("L", (8000, 8000)).save(buffer, "PNG")
    assert inspect(buffer.getvalue()) == ("image/png", 8000, 8000)


def test_the_same_content_is_stored_once(media: Media) -> None:
    assert media.add(png()) == media.add(png())
    assert media.save(png()) == media.add(png()).sha256
    assert len(files(media)) == 1


def test_what_was_put_is_there_at_once_and_settled_when_it_is_asked_for(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    sha256 = media.put(png())
    assert (media.read(sha256), files(media), synced) == (png(), [sha256], [])
    media.settle(sha256)
    assert len(synced) == 1 and media.save(png()) == sha256
    media.path(sha256).unlink()
    media.settle(sha256)  # somebody has deleted it meanwhile
    assert media.save(png()) == sha256 and len(synced) == 2


def test_many_who_save_the_same_at_once_leave_one_whole_file(media: Media) -> None:
    data = png(400, 400)
    threads = [threading.Thread(target=media.save, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(media)) == 1 and media.read(files(media)[0]) == data


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:image/jpeg;base64,", "\n"])
def test_base64_is_read_with_or_without_its_address(prefix: str) -> None:
    text = base64.b64encode(png()).decode()
    assert decode(prefix + text[:50] + "\n" + text[50:]) == png()


@pytest.mark.parametrize(
    "text",
    [
        "%%%",
        "abc",
        "ü" * 20,
        "data:image/png,plain",
        "data:image/svg+xml;utf8,<svg>",
        "https://x/y.png",
        "file:///etc/passwd",
        "ftp://x",
    ],
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(BadPicture):
        decode(text)


# --- payloads ----------------------------------------------------------------------------------------------------------


def intake(media: Media, **uploads: FileRef) -> Intake:
    return Intake(media, uploads.get)


def test_pictures_of_a_payload_become_references_and_come_back(media: Media) -> None:
    encoded = base64.b64encode(png()).decode()
    large = base64.b64encode(png(200, 200)).decode()
    payload = {
        "prompt": "data:image/png;base64,AAAA", "init_images": [encoded, f"data:image/png;base64,{encoded}"], "mask": None,
        "alwayson_scripts": {"ControlNet": {"args": [{"image": large, "weight": 1}]}}, "note": "iVBORw0KGgo is how a PNG begins",
    }  # fmt: skip
    taker = intake(media)
    taken = taker.take(payload)
    assert taken["prompt"] == payload["prompt"] and taken["note"] == payload["note"]
    assert taken["init_images"][0] == taken["init_images"][1] and taken["init_images"][0].startswith("upload:")
    assert len(taker.files) == 2 and set(references(taken)) == set(taker.files)
    back = inline(taken, media.read)
    assert back["init_images"] == [encoded, encoded]
    assert back["alwayson_scripts"] == payload["alwayson_scripts"]


def test_every_bad_picture_of_a_payload_is_named(media: Media) -> None:
    payload = {
        "init_images": ["%%%", base64.b64encode(zipped()).decode()], "mask": "http://10.0.0.1/x.png",
        "alwayson_scripts": {"x": {"args": [{"image": "data:image/png;base64,!!!"}]}},
    }  # fmt: skip
    with pytest.raises(InvalidRequest) as refused:
        intake(media).take(payload)
    assert [fault["loc"] for fault in refused.value.errors] == [
        ["payload", "init_images", 0], ["payload", "init_images", 1], ["payload", "mask"],
        ["payload", "alwayson_scripts", "x", "args", 0, "image"],
    ]  # fmt: skip
    assert files(media) == []


def test_only_ones_own_uploads_can_be_referred_to(media: Media) -> None:
    ref = media.add(png())
    assert intake(media, **{ref.sha256: ref}).take({"mask": f"upload:{ref.sha256}"}) == {"mask": f"upload:{ref.sha256}"}
    for other in (f"upload:{ref.sha256}", "upload:", "upload:../../etc/passwd", "upload:ü", "upload:" + "a" * 64):
        with pytest.raises(InvalidRequest, match="upload of yours"):
            intake(media).take({"mask": other})


def test_a_payload_without_end_is_refused(media: Media) -> None:
    payload: dict[str, Any] = {}
    inner = payload
    for _ in range(50):
        inner["x"] = {}
        inner = inner["x"]
    with pytest.raises(InvalidRequest, match="nested"):
        intake(media).take(payload)


# --- collecting --------------------------------------------------------------------------------------------------------


def test_only_old_files_nothing_refers_to_are_collected_with_their_thumbnails(media: Media) -> None:
    kept, old, young = (media.save(png(colour=colour)) for colour in ("red", "green", "blue"))
    media.thumbnail(old)
    age(media, kept), age(media, old)
    part = media.path(old).parent / "crashed.part"
    part.write_bytes(b"x")
    os.utime(part, (0, 0))
    assert media.collect(lambda names: set(names) - {kept}) == 1
    assert files(media) == sorted([kept, young])


def test_a_file_that_is_saved_again_is_young_again(media: Media) -> None:
    sha256 = media.save(png())
    age(media, sha256)
    media.save(png())
    assert media.collect(set) == 0


def test_collecting_from_a_folder_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    assert Media(tmp_path / "gone").collect(set) == 0


def test_every_folder_a_picture_can_come_into_is_there_beforehand(tmp_path: Path) -> None:
    media = Media(tmp_path / "data" / "media")
    media.lay_out()
    sha256 = media.save(png())
    media.path(sha256).parent.with_name("00" if sha256[:2] != "00" else "01").rmdir()
    media.lay_out()  # as the next start does: what is there stays, what was lost is made
    assert len(list(media.folder.iterdir())) == 256
    assert all(media.path(f"{number:02x}" + "0" * 62).parent.is_dir() for number in range(256))
    assert files(media) == [sha256]


# --- disks -------------------------------------------------------------------------------------------------------------


def full(*_args: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_leaves_nothing_behind(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = media.save(png(colour="red"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            media.add(png())
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            media.thumbnail(stored)
    assert files(media) == [stored]
    media.add(png())
    assert media.thumbnail(stored).exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "media"
    blocked.write_text("a file stands where the folder should be")
    with pytest.raises(StorageUnavailable, match="folder"):
        Media(blocked).save(png())


def test_a_disk_that_is_full_at_the_start_stops_nobody_from_looking(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = media.save(png())
    made = Path.mkdir
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", lambda path, **how: made(path, **how) if path == media.folder else full())
        media.lay_out()
    assert media.read(sha256) == png()
    assert len(list(media.folder.iterdir())) == 1


def test_nothing_is_written_where_a_folder_vanished_until_it_is_back(media: Media) -> None:
    sha256 = media.save(png())
    media.folder.rename(media.folder.with_name("away"))
    for verb in (lambda: media.save(png()), lambda: media.read(sha256)):
        with pytest.raises(StorageUnavailable, match="missing"):
            verb()
    assert not media.folder.exists()
    media.folder.with_name("away").rename(media.folder)
    assert media.read(sha256) == png()


def test_a_thumbnail_is_small_keeps_its_shape_and_is_made_once(media: Media) -> None:
    for mode in ("RGB", "RGBA", "P", "L", "I;16", "CMYK"):
        buffer = io.BytesIO()
        Image.new(mode, (640, 160)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
        path = media.thumbnail(media.save(buffer.getvalue()))
        with Image.open(path) as small:
            assert small.format == "WEBP" and small.size == (320, 80)
    before = path.stat().st_mtime_ns
    assert media.thumbnail(path.stem) == path and path.stat().st_mtime_ns == before


def test_grace_is_long_enough_for_a_job_on_its_way() -> None:
    assert module.GRACE >= 600
