"""What a page's controls may hold comes back as it was; what cannot be kept is refused; nothing is ever unpickled."""

import base64
import enum
import io
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from queue_ext.media import inline, references
from queue_ext.webui.values import Classes, Decoder, Encoder, Inexpressible, NamedFile


class Mode(enum.Enum):
    CALM = "calm"
    WILD = "wild"


@dataclass
class Unit:
    weight: float = 1.0
    mode: Mode = Mode.CALM
    picture: Any = None
    models: list[str] = field(default_factory=list)


class Stranger:
    pass


class Store:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def save(self, data: bytes, _size: tuple[int, int]) -> str:
        import hashlib

        name = hashlib.sha256(data).hexdigest()
        self.files[name] = data
        return f"upload:{name}"


def there_and_back(value: Any, *held: Any, key: str = "control", files: bool = True) -> Any:
    import json

    store, classes = Store(), Classes(held)
    kept = Encoder(store.save, classes, lambda path: files and os.path.isfile(path))(value, key)
    stored = json.loads(json.dumps({key: kept}, allow_nan=False))
    assert set(references(stored)) <= set(store.files)
    with Decoder(classes) as decode:
        back = decode(inline(stored, store.files.__getitem__)[key])
        if isinstance(back, list):
            return [_detached(item) for item in back]
        return _detached(back)


def _detached(value: Any) -> Any:
    """What a file held, since its path goes with the decoder."""
    if hasattr(value, "read"):
        return ("open", value.name.rpartition("/")[2], value.orig_name, value.read(), Path(value.name).read_bytes())
    if isinstance(value, str) and value.startswith(tempfile.gettempdir()):
        return (type(value), Path(value).name, Path(value).read_bytes())
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2.5,
        "",
        "a lighthouse",
        [],
        [1, "two", None],
        (1, (2, 3)),
        {"a": 1},
        {1: "x", ("a", 2): [3]},
        {"$": "image"},
        b"\x00\xff",
        "upload:" + "a" * 64,
        "data:image/png;base64,AAAA",
        "iVBORw0KGgo" + "A" * 300,
        "x" * 20_000,
        "nul\0",
        "half \ud800",
        float("inf"),
        2**70,
        {1, 2},
    ],
)
@pytest.mark.parametrize("key", ["control", "image", "mask", "prompt"])
def test_plain_values_come_back_as_they_were(value: Any, key: str) -> None:
    back = there_and_back(value, key=key)
    assert back == value
    assert type(back) is type(value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(PLAIN)
def test_whatever_json_like_value_comes_back_as_it_was(value: Any) -> None:
    assert there_and_back(value) == value


def test_not_a_number_stays_not_a_number() -> None:
    assert there_and_back(float("nan")) != there_and_back(float("nan"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "HSV", "YCbCr", "I;16"])
def test_pictures_of_every_mode_come_back_pixel_by_pixel(mode: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (5, 7, 4), dtype=np.uint8)
    picture = Image.new(mode, (7, 5)) if mode == "I;16" else Image.fromarray(noise, "RGBA").convert("RGB").convert(mode)
    picture.info["parameters"] = "a cat\nSteps: 4"
    back = there_and_back(picture)
    assert (back.mode, back.size, back.tobytes()) == (picture.mode, picture.size, picture.tobytes())
    assert back.info["parameters"] == "a cat\nSteps: 4"


def test_the_alpha_of_a_canvas_is_kept_where_it_is_fully_transparent() -> None:
    canvas = Image.new("RGBA", (3, 3), (12, 34, 56, 0))
    assert there_and_back(canvas).tobytes() == canvas.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.linspace(0, 1, 6).reshape(2, 3),
        np.zeros((0, 3), np.float32),
        np.array([True, False]),
        np.zeros((2, 2, 2), np.uint8),
    ],
)
def test_arrays_come_back_with_their_type(array: np.ndarray) -> None:
    back = there_and_back(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_the_sketch_of_gradio_3_and_the_editor_of_gradio_4_come_back() -> None:
    picture, mask = Image.new("RGB", (4, 4), "red"), Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    back = there_and_back(
        {"image": picture, "mask": mask, "layers": [np.zeros((2, 2, 4), np.uint8)], "composite": None}
    )
    assert back["image"].tobytes() == picture.tobytes()
    assert back["mask"].tobytes() == mask.tobytes()
    assert back["layers"][0].shape == (2, 2, 4)
    assert back["composite"] is None


def test_files_come_back_in_the_form_gradio_hands_them_over(tmp_path: Path) -> None:
    path = tmp_path / "a list.txt"
    path.write_bytes(b"one\ntwo")
    wrapper: Any = tempfile.NamedTemporaryFile(delete=False)  # noqa: SIM115
    wrapper.name, wrapper.orig_name = str(path), "their name.txt"
    assert there_and_back([wrapper]) == [("open", "their name.txt", "their name.txt", b"one\ntwo", b"one\ntwo")]
    assert there_and_back(NamedFile(path)) == (NamedFile, "a list.txt", b"one\ntwo")
    assert there_and_back(str(path)) == (str, "a list.txt", b"one\ntwo")


def test_the_path_of_some_other_file_of_the_server_stays_a_text() -> None:
    assert there_and_back("/etc/hostname", files=False) == "/etc/hostname"


def test_the_name_of_a_file_cannot_lead_out_of_its_folder() -> None:
    with Decoder(Classes()) as decode:
        made = decode(
            {"$": "file", "form": "path", "name": "../../evil\\..\\up.txt", "file": base64.b64encode(b"x").decode()}
        )
        assert Path(made).name == "up.txt"
        assert Path(made).resolve().is_relative_to(Path(tempfile.gettempdir()).resolve())
        folder = Path(made).parent
    assert not folder.exists()


def test_tables_come_back_with_their_columns_and_types() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"name": ["a", None], "n": [1, 2], "x": [0.5, float("nan")]})
    pandas.testing.assert_frame_equal(there_and_back(frame), frame)


def test_an_object_of_a_class_that_the_page_holds_is_rebuilt_field_by_field() -> None:
    value = Unit(0.4, Mode.WILD, np.ones((2, 2, 3), np.uint8), ["a"])
    back = there_and_back(value, Unit())
    assert (back.weight, back.mode, back.models) == (0.4, Mode.WILD, ["a"])
    assert np.array_equal(back.picture, value.picture)


def test_fields_that_an_update_added_or_took_away_are_no_obstacle() -> None:
    kept = Encoder(Store().save, Classes([Unit()]))(Unit(0.4))
    kept["fields"]["gone"] = 1
    del kept["fields"]["models"]
    with Decoder(Classes([Unit(models=["default"])])) as decode:
        back = decode(kept)
    assert (back.weight, back.models) == (0.4, ["default"])
    assert not hasattr(back, "gone")


@pytest.mark.parametrize(
    "value", [Stranger(), [Stranger()], {"a": Stranger()}, lambda: 1, Mode.CALM, np.array([object()]), 1j, type]
)
def test_what_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(Inexpressible):
        Encoder(Store().save, Classes([Unit] if value is type else []))(value)


@pytest.mark.parametrize(
    "forged",
    [
        {"$": "object", "class": f"{__name__}:Stranger", "fields": {}},
        {"$": "object", "class": "os:system", "fields": {}},
        {"$": "object", "class": f"{__name__}:Mode", "fields": {}},
        {"$": "enum", "class": f"{__name__}:Unit", "name": "mro"},
        {"$": "enum", "class": f"{__name__}:Mode", "name": "__class__"},
        {"$": "pickle", "file": "gASV"},
        {"$": "array", "form": "npy", "file": base64.b64encode(b"\x93NUMPY broken").decode()},
        {"$": "image", "mode": "RGB", "file": "!!"},
        {"$": ["image"]},
        {"$": "image"},
    ],
)
def test_a_forged_value_makes_nothing(forged: dict[str, Any]) -> None:
    with Decoder(Classes([Unit()])) as decode, pytest.raises(Inexpressible):
        decode(forged)


def test_an_array_of_pickled_objects_is_not_loaded() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with Decoder(Classes()) as decode, pytest.raises(Inexpressible):
        decode({"$": "array", "form": "npy", "file": base64.b64encode(buffer.getvalue()).decode()})


def test_a_loop_of_values_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Inexpressible):
        Encoder(Store().save, Classes())(loop)
