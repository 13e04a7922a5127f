"""The tab without a browser: it builds, its texts are complete, and only the known library gets into the page."""

import base64
import hashlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from queue_ext.errors import StorageUnavailable, invalid
from queue_ext.identity import Owner
from queue_ext.pipelines.payloads import check_payload
from queue_ext.rest.tabfiles import shortened
from queue_ext.tab import vendor
from queue_ext.tab.form import FIELDS, queued, requests_of, submit
from queue_ext.tab.words import TEXTS, duration, say, words

STATIC = TEXTS.parent
FILLED = {
    "task": "txt2img", "prompt": "a lighthouse", "image": None, "denoising_strength": 0.75, "width": 512, "height": 512,
    "steps": 20, "n_iter": 1, "jobs": 1, "negative_prompt": "", "sampler_name": None, "cfg_scale": 7, "seed": -1,
}  # fmt: skip
ANNA = Owner("client-anna")


class FakeQueue:
    """Accepts what the general limits accept."""

    def __init__(self, error: Exception | None = None) -> None:
        self.accepted: list[dict[str, Any]] = []
        self.error = error

    def enqueue(self, _owner: Owner, requests: Sequence[Any], _batch: bool = False) -> list[str]:
        if self.error:
            raise self.error
        for request in requests:
            check_payload(request["task"], request["payload"])
        self.accepted += requests
        return [str(number) for number, _ in enumerate(requests)]

    def show(self, _owner: Owner, ids: Sequence[str], _lang: str = "en") -> list[dict[str, Any]]:
        return [{"ahead": 3, "eta_s": 40.2} for _ in ids]


def _app(error: Exception | None = None, pipeline: str = "demo") -> Any:
    return SimpleNamespace(
        queue=FakeQueue(error),
        pipeline=SimpleNamespace(name=pipeline),
        settings=SimpleNamespace(max_payload_mb=32.0),
        identity=None,
    )


# --- the form --------------------------------------------------------------------------------------------------------


def test_a_filled_form_queues_what_it_says_and_tells_the_place() -> None:
    app = _app()
    done = submit(app, ANNA, {**FILLED, "sampler_name": "Euler", "seed": None})
    assert (done.ok, done.text) == (True, "Queued: 3 before you, about 40 s")
    (request,) = app.queue.accepted
    assert request["task"] == "txt2img"
    assert request["payload"]["sampler_name"] == "Euler" and request["payload"]["seed"] == -1


def test_a_picture_to_start_from_goes_along(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "start.png")
    app = _app()
    assert submit(app, ANNA, {**FILLED, "task": "img2img", "image": str(tmp_path / "start.png")}).ok
    payload = app.queue.accepted[0]["payload"]
    assert base64.b64decode(payload["init_images"][0]) == (tmp_path / "start.png").read_bytes()
    assert payload["denoising_strength"] == 0.75


def test_several_jobs_with_a_fixed_seed_do_not_repeat_each_other() -> None:
    seeds = [request["payload"]["seed"] for request in requests_of({**FILLED, "jobs": 3, "n_iter": 4, "seed": 10})]
    assert seeds == [10, 14, 18]
    assert {request["payload"]["seed"] for request in requests_of({**FILLED, "jobs": 3})} == {-1}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"width": 5}, "Width: must be an integer from 16 to 8192, not 5"),
        (
            {"width": None, "steps": 0},
            "Steps: must be an integer from 1 to 1000, not 0\nWidth: must be an integer from 16 to 8192, not null",
        ),
        ({"jobs": None}, "Jobs: must be a whole number from 1 to 100"),
        ({"jobs": 0}, "Jobs: must be a whole number from 1 to 100"),
        ({"jobs": 2, "n_iter": 0}, "Pictures: must be an integer from 1 to 1000, not 0"),
        ({"task": "img2img"}, "Picture to start from: add one, img2img needs it"),
        ({"prompt": None}, "Prompt: must be a text of at most 100,000 characters, not null"),
    ],
)
def test_bad_input_names_the_field_as_the_form_does(changed: dict[str, Any], text: str) -> None:
    done = submit(_app(), ANNA, {**FILLED, **changed})
    assert (done.ok, done.text) == (False, text)


def test_bad_input_is_told_in_the_language_of_the_page() -> None:
    done = submit(_app(), ANNA, {**FILLED, "width": 5}, "zh")
    assert (done.ok, done.text) == (False, "宽度：必须是 16 到 8192 的整数，而不是 5")
    assert submit(_app(StorageUnavailable(reason="the disk is full")), ANNA, FILLED, "zh").text.startswith(
        "队列目前无法保存：磁盘已满"
    )


@pytest.mark.parametrize(
    "error", [StorageUnavailable(reason="the disk is full"), RuntimeError("secret"), invalid("queue", msg="is odd")]
)
def test_whatever_fails_is_a_sentence_and_no_traceback(error: Exception) -> None:
    done = submit(_app(error), ANNA, FILLED)
    assert not done.ok and done.text and "secret" not in done.text and "Traceback" not in done.text


def test_the_sentence_counts() -> None:
    assert queued({"ahead": 0, "eta_s": 0.0}, 1, "en") == "Queued: yours is next"
    assert queued({"ahead": 1, "eta_s": None}, 1, "en") == "Queued: 1 before you"
    assert queued({"ahead": 2, "eta_s": 200.0}, 5, "en") == "Queued 5 jobs: 2 before you, about 3 min 20 s"
    assert queued({"ahead": 2, "eta_s": 30.0}, 1, "zh") == "已加入队列：前面还有 2 个，约 30 秒"


# --- texts -----------------------------------------------------------------------------------------------------------


def test_every_language_says_everything_with_the_same_values() -> None:
    english = words("en")
    for path in TEXTS.glob("*.json"):
        texts = json.loads(path.read_text("utf-8"))
        assert texts.keys() == english.keys(), path.name
        for key, text in texts.items():
            assert text.strip() or key == "comma"
            assert set(re.findall(r"{(\w+)}", text)) - {"n"} == set(re.findall(r"{(\w+)}", english[key])) - {"n"}, key


def test_every_text_the_browser_code_asks_for_exists() -> None:
    known = words("en")
    stems = known.keys() | {key.rsplit(".", 1)[0] for key in known}
    groups = {key.partition(".")[0] for key in known}
    asked = "\n".join(path.read_text("utf-8") for path in (STATIC / "js").rglob("*.js"))
    for key in re.findall(r"""["`]([a-z]+\.[a-z][\w.]*)["`]""", asked):
        assert key in stems or key.partition(".")[0] not in groups, key
    for key in set(re.findall(r"""\bt\(["`]([a-z_.]+)["`]""", asked)):
        assert key in stems, key
    for name in FIELDS:
        assert f"form.{name}" in known


def test_a_language_without_a_file_is_english() -> None:
    assert words("xx") == words("en") == words("../en")
    assert say("xx", "form.enqueue") == "Enqueue"
    assert [duration("en", seconds) for seconds in (0, 59, 60, 75, 320, 4000)] == [
        "1 s",
        "59 s",
        "1 min",
        "1 min 20 s",
        "5 min",
        "1 h 7 min",
    ]


# --- browser code ----------------------------------------------------------------------------------------------------


def test_no_module_turns_text_into_html() -> None:
    for path in (STATIC / "js").rglob("*.js"):
        assert not re.search(
            r"\.innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", path.read_text("utf-8")
        ), path.name


def test_code_travels_without_comments_and_says_the_same() -> None:
    code = '/** A\n * b\n */\n// c\nconst x = "http://y"; // d\n\n  f(`z`); /* e */\ng("; // h"); // i\n'
    assert shortened(code, ".js") == 'const x = "http://y";\nf(`z`); /* e */\ng("; // h");\n'
    assert shortened("/* a */\n.b :is(e) {\n  c: d 1px;\n}\n", ".css") == "\n.b :is(e){c:d 1px;}"
    for path in (STATIC / "js").rglob("*.js"):
        for line in shortened(path.read_text("utf-8"), ".js").splitlines():
            assert line.count("`") % 2 == 0, f"{path.name}: a text over several lines would lose its indentation"
    for path in TEXTS.glob("*.json"):
        text = path.read_text("utf-8")
        assert json.loads(shortened(text, ".json")) == json.loads(text)


def test_imports_of_the_modules_name_files_that_exist() -> None:
    for path in (STATIC / "js").rglob("*.js"):
        for name in re.findall(r'from "(\.[^"]+)"', path.read_text("utf-8")):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


# --- the Gradio page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [True, False])
def test_the_tab_builds_with_a_place_for_the_browser_code(form: bool) -> None:
    gradio = pytest.importorskip("gradio")
    from queue_ext.tab import build_tab

    blocks = build_tab(_app(pipeline="remote http://gpu:7860"), form)
    parts = blocks.get_config_file()["components"]
    values = [str(part["props"].get("value")) for part in parts]
    assert isinstance(blocks, gradio.Blocks)
    assert any('id="queue_ext"' in value for value in values)
    assert any("http://gpu:7860" in value for value in values) is form
    assert any(value == "Enqueue" for value in values) is form


def test_who_clicked_is_known_by_the_cookie() -> None:
    pytest.importorskip("gradio")
    from queue_ext.tab.blocks import visitor

    request = SimpleNamespace(
        headers={"Cookie": "a=1; queue_client=abcdefghijklmnop", "X-Other": "y"},
        client=SimpleNamespace(host="10.0.0.9"),
    )
    found = visitor(request)  # type: ignore[arg-type]
    assert found.cookies["queue_client"] == "abcdefghijklmnop"
    assert found.headers["x-other"] == "y" and found.address == "10.0.0.9"


# --- the socket library ----------------------------------------------------------------------------------------------

LIBRARY = b"export const io = () => {};"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(vendor, "FILE_SHA384", hashlib.sha384(LIBRARY).hexdigest())
    return LIBRARY


def _tarball(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_the_library_is_fetched_once(known: bytes, tmp_path: Path) -> None:
    asked: list[int] = []

    def source() -> bytes:
        asked.append(1)
        return known

    first = vendor.ensure(tmp_path / "vendor", [source])
    assert first is not None and first.read_bytes() == known
    assert vendor.ensure(tmp_path / "vendor", [source]) == first
    assert asked == [1] and [path.name for path in first.parent.iterdir()] == [vendor.FILE]


def test_a_library_with_other_bytes_is_refused_in_one_line(
    known: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.js"
    other.write_bytes(known + b" evil()")
    with caplog.at_level(logging.INFO):
        assert vendor.ensure(tmp_path / "vendor", [lambda: vendor.from_cdn(other.as_uri())]) is None
    assert not (tmp_path / "vendor").exists()
    assert len(caplog.records) == 1 and "not the one that was expected" in caplog.text


def test_the_next_source_is_tried_when_one_fails(known: bytes, tmp_path: Path) -> None:
    good = tmp_path / "good.js"
    good.write_bytes(known)

    def nowhere() -> bytes:
        raise ConnectionError("no network")

    assert (
        vendor.ensure(tmp_path / "vendor", [nowhere, lambda: b"other", lambda: vendor.from_cdn(good.as_uri())])
        is not None
    )


def test_a_file_that_was_changed_on_disk_is_replaced(known: bytes, tmp_path: Path) -> None:
    (tmp_path / vendor.FILE).write_bytes(b"changed")
    found = vendor.ensure(tmp_path, [lambda: known])
    assert found is not None and found.read_bytes() == known


def test_a_package_with_another_checksum_is_not_opened(known: bytes) -> None:
    tarball = _tarball(f"package/dist/{vendor.FILE}", known)
    with pytest.raises(vendor.IntegrityError):
        vendor.unpack(tarball)
    assert vendor.unpack(tarball, base64.b64encode(hashlib.sha512(tarball).digest()).decode()) == known


def test_a_folder_that_cannot_be_written_is_told_and_no_error(
    known: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert vendor.ensure(tmp_path / "file" / "vendor", [lambda: known]) is None
    assert len(caplog.records) == 1
