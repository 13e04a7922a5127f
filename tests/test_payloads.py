"""The general limits at the door, the summary of a payload, and what decides its duration."""

import json
import math

import pytest

from queue_ext.durations import PRIOR
from queue_ext.errors import InvalidRequest
from queue_ext.pipelines.payloads import MAX_DEPTH, check_payload, effort, passes, summary

PICTURE = "iVBORw0KGgo="


def faults(task, payload):
    with pytest.raises(InvalidRequest) as caught:
        check_payload(task, payload)
    return {tuple(e["loc"][1:]): e["msg"] for e in caught.value.errors}


def nested(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("payload", [None, [], "a cat", 3, True])
def test_a_payload_is_an_object(payload):
    assert "must be an object, not" in faults("txt2img", payload)[()]


def test_an_empty_payload_means_the_defaults_of_the_webui():
    assert check_payload("txt2img", {}) == {}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("prompt", [None, 5, "x" * 100_001, ["a"]]),
        ("negative_prompt", [None, False, "x" * 100_001]),
        ("width", [0, 15, 8193, 10**9, 10**5000, 64.5, 64.0, "512", True, None, -512, math.nan]),
        ("height", [0, 8193, False, None]),
        ("steps", [0, -5, 1001, 20.0, None, "20"]),
        ("batch_size", [0, -1, 1001, None, 1.5]),
        ("n_iter", [0, 1001, True, None]),
        ("cfg_scale", [-0.1, 1001, "7", math.nan, math.inf, None, True]),
        ("denoising_strength", [-0.1, 1.1, "1", True]),
        ("seed", [-2, 2**64, 1.0, "1", True]),
        ("subseed_strength", [2, None]),
        ("sampler_name", ["x" * 201, 7, ["Euler"]]),
        ("scheduler", ["x" * 201, {}]),
        ("sampler_index", [0]),
        ("styles", ["a", [1], {}]),
        ("hr_resize_x", [8, -1, 8193, 64.5]),
        ("hr_scale", [0, -1, 9, "2"]),
        ("hr_second_pass_steps", [-1, 1001]),
        ("override_settings", [[], "a"]),
        ("alwayson_scripts", [[], {"a": 1}]),
        ("script_name", [1, "x" * 201]),
        ("script_args", [{}, "a"]),
        ("enable_hr", [1, "yes"]),
    ],
)
def test_a_value_outside_the_limits_is_refused_by_name(field, values):
    for value in values:
        found = faults("txt2img", {field: value})
        assert found[(field,)].startswith("must be "), value
        assert len(found[(field,)]) < 250


@pytest.mark.parametrize(
    "payload",
    [
        {"prompt": "x" * 100_000, "negative_prompt": ""},
        {"width": 16, "height": 8192},
        {"width": 8192, "height": 8192},
        {"steps": 1, "batch_size": 10, "n_iter": 100, "cfg_scale": 0, "seed": 2**64 - 1},
        {"steps": 1000, "cfg_scale": 7.5, "seed": -1, "denoising_strength": 1},
        {"sampler_name": None, "scheduler": None, "styles": None, "script_name": None, "script_args": None},
        {"sampler_name": "Euler a", "styles": ["one"], "script_args": [1, None, "a", {"b": [2]}], "seed": None},
        {"override_settings": None, "alwayson_scripts": {"ControlNet": {"args": [{"enabled": True}]}}},
        {"enable_hr": True, "hr_resize_x": 0, "hr_resize_y": 1024, "hr_second_pass_steps": 0},
        {"some_field_of_another_host": {"deep": [1, 2, 3]}, "distilled_cfg_scale": 3.5},
        {"s_noise": 1.0, "image_cfg_scale": 1.5, "hr_cfg": 7.0, "mask_blur_x": 4, "do_not_save_grid": True, "eta": 0},
    ],
)
def test_what_a_host_takes_passes_unchanged(payload):
    assert check_payload("txt2img", json.loads(json.dumps(payload))) == payload


def test_all_faults_are_told_at_once():
    found = faults("txt2img", {"width": 0, "height": "a", "steps": 0, "prompt": None, "extra": math.inf})
    assert set(found) == {("width",), ("height",), ("steps",), ("prompt",), ("extra",)}
    assert found[("width",)] == "must be an integer from 16 to 8192, not 0"
    assert found[("prompt",)] == "must be a text of at most 100,000 characters, not null"


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("promt", "prompt"),
        ("stpes", "steps"),
        ("widht", "width"),
        ("negativ_prompt", "negative_prompt"),
        ("Seed", "seed"),
    ],
)
def test_a_usual_field_mistyped_is_told_instead_of_ignored(typo, meant):
    assert faults("txt2img", {typo: 1})[(typo,)] == f"is not a known field; did you mean {meant}?"


def test_batch_times_count_is_limited():
    assert "at most 1000 pictures" in faults("txt2img", {"batch_size": 40, "n_iter": 26})[("n_iter",)]


def test_hires_fix_may_not_exceed_the_largest_side():
    assert ("hr_scale",) in faults("txt2img", {"width": 4096, "enable_hr": True, "hr_scale": 4})
    check_payload("txt2img", {"width": 4096, "enable_hr": False, "hr_scale": 4})


@pytest.mark.parametrize("value", [[], None, "abc", [1], [""], ["http://10.0.0.1/x.png"]])
def test_img2img_needs_pictures(value):
    assert any(loc[0] == "init_images" for loc in faults("img2img", {"init_images": value}))


def test_missing_pictures_are_named():
    assert "missing" in faults("img2img", {})[("init_images",)]
    assert "missing" in faults("extras", {})[("image",)]


def test_an_address_instead_of_a_picture_is_refused_wherever_it_hides():
    units = {"ControlNet": {"args": [{"image": {"image": "HTTPS://example.com/a.png"}}]}}
    assert faults("txt2img", {"alwayson_scripts": units})
    assert faults("extras", {"image": "file:///etc/passwd"})
    assert check_payload("txt2img", {"prompt": "http://example.com"})


def test_img2img_and_extras_as_the_webui_takes_them():
    check_payload("img2img", {"init_images": [PICTURE, "data:image/png;base64," + PICTURE], "mask": None})
    check_payload("extras", {"image": PICTURE, "upscaling_resize": 4, "upscaler_1": "None", "resize_mode": 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [("upscaling_resize", 0), ("upscaling_resize", 8.1), ("upscaling_resize_w", 0), ("resize_mode", 2), ("image", 3)],
)
def test_extras_limits(field, value):
    assert (field,) in faults("extras", {"image": PICTURE, field: value})


def test_nan_and_infinity_are_refused_anywhere():
    found = faults("txt2img", {"alwayson_scripts": {"a": {"args": [1, {"weight": math.nan}]}}, "eta": -math.inf})
    assert set(found) == {("alwayson_scripts", "a", "args", 1, "weight"), ("eta",)}


def test_depth_is_limited_without_recursion():
    check_payload("txt2img", {"script_args": nested(MAX_DEPTH - 1)})
    assert "32 levels" in next(iter(faults("txt2img", {"script_args": nested(MAX_DEPTH)}).values()))
    assert faults("txt2img", {"script_args": nested(5000)})


def test_text_no_database_takes_is_refused():
    assert "lone surrogates" in faults("txt2img", {"prompt": "a\ud800b"})[("prompt",)]
    assert "NUL" in faults("txt2img", {"script_args": ["a\0b"]})[("script_args", 0)]
    assert faults("txt2img", {"\ud800": 1})
    check_payload("txt2img", {"prompt": "一只猫 🐈"})


def test_a_captured_button_is_checked_for_its_shape_only():
    check_payload("ui:txt2img_generate", {"width": "anything"})
    assert faults("ui:txt2img_generate", {"x": math.nan})


def test_the_number_of_faults_is_limited():
    with pytest.raises(InvalidRequest) as caught:
        check_payload("txt2img", {"script_args": [math.nan] * 5000})
    assert len(caught.value.errors) == 100


def test_summary_uses_the_defaults_of_the_webui():
    assert summary("txt2img", {}) == {
        "prompt": "", "width": 512, "height": 512, "steps": 50, "images": 1, "checkpoint": None,
    }  # fmt: skip


def test_summary_shows_what_comes_out():
    payload = {"prompt": "sea", "width": 640, "steps": 20, "batch_size": 2, "n_iter": 3, "enable_hr": True,
               "override_settings": {"sd_model_checkpoint": "v1-5"}}  # fmt: skip
    assert summary("txt2img", payload) == {
        "prompt": "sea", "width": 1280, "height": 1024, "steps": 20, "images": 6, "checkpoint": "v1-5",
    }  # fmt: skip
    assert summary("extras", {"image": PICTURE, "resize_mode": 1, "upscaling_resize_w": 100})["width"] == 100
    assert summary("extras", {"image": PICTURE})["width"] is None
    assert summary("ui:txt2img_generate", {"width": "?", "prompt": 3})["prompt"] == ""


def test_absurd_numbers_of_an_unchecked_payload_do_not_overflow():
    payload = {"steps": 10**400, "width": 1e308, "hr_scale": 1e308, "enable_hr": True}
    assert PRIOR.seconds(effort("ui:txt2img_generate", payload)) > 0


def test_an_effort_tells_what_decides_how_long_it_takes():
    payload = {
        "width": 640,
        "steps": 20,
        "batch_size": 2,
        "n_iter": 3,
        "override_settings": {"sd_model_checkpoint": "v1-5"},
    }
    assert effort("txt2img", payload) == {
        "kind": "txt2img", "passes": [[20, 640, 512]], "pictures": 6, "batch": 2, "checkpoint": "v1-5",
    }  # fmt: skip


def test_an_effort_holds_the_second_pass_of_hires_fix():
    payload = {"width": 1000, "height": 1000, "steps": 20, "enable_hr": True}
    assert effort("txt2img", payload)["passes"] == [[20, 1000, 1000], [20, 2000, 2000]]
    assert effort("txt2img", {**payload, "hr_second_pass_steps": 5})["passes"][1] == [5, 2000, 2000]
    assert passes("txt2img", {**payload, "hr_resize_y": 500})[1] == (20, (500, 500))


def test_an_effort_of_img2img_shrinks_with_denoising_strength():
    assert effort("img2img", {"steps": 20, "denoising_strength": 0.5})["passes"] == [[10, 512, 512]]


def test_an_effort_of_extras_is_what_comes_out():
    assert effort("extras", {"upscaling_resize": 4})["passes"] == [[0, 2048, 2048]]
    fixed = {"resize_mode": 1, "upscaling_resize_w": 1000, "upscaling_resize_h": 2000}
    assert effort("ui:extras_generate", fixed)["passes"] == [[0, 1000, 2000]]


def test_a_checkpoint_that_is_no_name_is_the_one_that_is_loaded():
    assert effort("ui:txt2img_generate", {"width": 512, "checkpoint": ["?"]})["checkpoint"] is None
