"""The demo pipeline: a picture that follows from prompt, seed and size, and forms out of noise step by step."""

import base64
import io
import threading
import time

import pytest
from PIL import Image, ImageChops, ImageStat

from queue_ext.errors import InvalidRequest, RequestRefused
from queue_ext.pipelines import Cancellation, Request
from queue_ext.pipelines.demo import LIGHTS, MOTIF_WORDS, MOTIFS, DemoPipeline, Forming, paint


def run(payload, task="txt2img", on_progress=None, cancelled=None, step_s=0.0):
    reports = []
    request = Request("job", task, payload)
    result = DemoPipeline(step_s).run(request, on_progress or reports.append, cancelled or Cancellation())
    return result, reports


def opened(picture):
    return Image.open(io.BytesIO(picture.data))


def encoded(image, form="PNG", prefix=""):
    out = io.BytesIO()
    image.save(out, form)
    return prefix + base64.b64encode(out.getvalue()).decode()


def distance(one, other):
    """Mean difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


SMALL = {"width": 64, "height": 48, "steps": 4}


def test_the_same_request_gives_the_same_bytes():
    payload = {**SMALL, "prompt": "a sea", "seed": 7}
    assert run(payload)[0].pictures[0].data == run(payload)[0].pictures[0].data


@pytest.mark.parametrize("change", [{"seed": 8}, {"prompt": "a mountain"}, {"width": 80}])
def test_another_prompt_seed_or_size_gives_another_picture(change):
    payload = {**SMALL, "prompt": "a sea", "seed": 7}
    assert run(payload)[0].pictures[0].data != run({**payload, **change})[0].pictures[0].data


@pytest.mark.parametrize("motif", sorted(MOTIFS))
@pytest.mark.parametrize("size", [(16, 16), (24, 400), (400, 24), (160, 120)])
def test_every_motif_paints_every_shape(motif, size):
    for seed in range(3):
        image = paint(MOTIF_WORDS[motif].split()[0], seed, size)
        assert (image.size, image.mode) == (size, "RGB")
    if min(size) > 100:
        assert max(ImageStat.Stat(image).stddev) > 8  # something is to be seen


@pytest.mark.parametrize("size", [(16, 8192), (8192, 16), (1500, 700)])
def test_extreme_sizes_come_out_exactly(size):
    assert paint("lake", 1, size).size == size


@pytest.mark.parametrize("prompt", ["", " ", "一只猫在月光下", "🐈", "x" * 100_000, "a\nb"])
def test_any_prompt_is_painted(prompt):
    result, _ = run({**SMALL, "prompt": prompt, "seed": 1})
    assert opened(result.pictures[0]).text["parameters"].startswith(prompt)


def test_words_choose_the_light():
    night, day = (ImageStat.Stat(paint(f"mountain {hour}", 3, (64, 64))).mean for hour in ("night", "day"))
    assert sum(night) < sum(day) / 2
    assert set(LIGHTS) >= {"night", "day"}


def test_the_infotext_is_the_webuis():
    payload = {"prompt": "a cat", "negative_prompt": "a dog", "steps": 20, "sampler_name": "Euler a", "seed": 1}
    picture = run({**payload, "cfg_scale": 7})[0].pictures[0]
    assert picture.infotext == (
        "a cat\nNegative prompt: a dog\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7.0, Seed: 1, Size: 512x512, Model: demo"
    )
    assert opened(picture).text["parameters"] == picture.infotext
    assert (picture.width, picture.height) == opened(picture).size == (512, 512)


def test_without_a_negative_prompt_its_line_is_missing():
    assert "Negative" not in run({**SMALL, "prompt": "a"})[0].pictures[0].infotext


def test_batch_times_count_pictures_with_consecutive_seeds():
    result, reports = run({**SMALL, "batch_size": 2, "n_iter": 3, "seed": 10})
    assert [p.seed for p in result.pictures] == [10, 11, 12, 13, 14, 15] == result.info["all_seeds"]
    assert len({p.data for p in result.pictures}) == 6
    assert [r.image for r in reports][::4] == [1, 2, 3, 4, 5, 6]
    assert result.info["infotexts"] == [p.infotext for p in result.pictures]


@pytest.mark.parametrize("seed", [-1, None])
def test_a_random_seed_is_drawn_and_told(seed):
    one, other = (run({**SMALL, "seed": seed})[0] for _ in range(2))
    assert one.info["seed"] == one.pictures[0].seed == one.parameters["seed"] >= 0
    assert one.info["seed"] != other.info["seed"]


def test_the_largest_seed_runs():
    assert len(run({**SMALL, "seed": 2**64 - 1, "n_iter": 2})[0].pictures) == 2


def test_progress_is_told_once_per_step():
    _, reports = run({**SMALL, "n_iter": 2})
    assert [(r.step, r.steps, r.image, r.images) for r in reports] == [
        (step, 4, image, 2) for image in (1, 2) for step in (1, 2, 3, 4)
    ]
    assert [r.fraction for r in reports] == pytest.approx([i / 8 for i in range(1, 9)])


def test_previews_are_small_jpegs_that_come_closer_to_the_picture():
    seen = []
    payload = {"width": 640, "height": 320, "steps": 5, "seed": 3, "prompt": "lake"}
    result, _ = run(payload, on_progress=lambda p: seen.append(Image.open(io.BytesIO(p.preview()))))
    assert {(image.format, image.size) for image in seen} == {("JPEG", (256, 128))}
    final = opened(result.pictures[0]).resize((256, 128))
    distances = [distance(image, final) for image in seen]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 25 and distances[-1] < 8


def test_a_preview_of_a_small_picture_is_not_enlarged():
    assert Forming(Image.new("RGB", (40, 16)), 1).at(0.5).size == (40, 16)


def test_cancelling_keeps_the_pictures_finished_so_far():
    cancelled = Cancellation()
    payload = {**SMALL, "n_iter": 3, "seed": 1}
    result, _ = run(payload, on_progress=lambda p: p.image == 2 and cancelled.cancel(), cancelled=cancelled)
    assert [p.seed for p in result.pictures] == [1] == result.info["all_seeds"]


def test_cancelling_does_not_wait_for_the_step_to_end():
    cancelled = Cancellation()
    timer = threading.Timer(0.05, cancelled.cancel)
    timer.start()
    started = time.monotonic()
    result, _ = run(SMALL, cancelled=cancelled, step_s=60)
    assert result.pictures == () and time.monotonic() - started < 10
    timer.join()


def test_skipping_leaves_one_picture_out():
    cancelled = Cancellation()
    skips = iter([True])

    def on_progress(progress):
        if progress.image == 2 and next(skips, False):
            cancelled.skip()

    result, _ = run({**SMALL, "n_iter": 3, "seed": 1}, on_progress=on_progress, cancelled=cancelled)
    assert [p.seed for p in result.pictures] == [1, 3]


@pytest.mark.parametrize(("form", "prefix"), [("PNG", ""), ("JPEG", "data:image/jpeg;base64,"), ("WEBP", "")])
def test_img2img_keeps_more_of_the_init_image_the_smaller_the_strength(form, prefix):
    init = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    payload = {"init_images": [encoded(init, form, prefix)], "width": 64, "height": 64, "steps": 10, "seed": 1}
    out = [opened(run({**payload, "denoising_strength": s}, "img2img")[0].pictures[0]) for s in (0, 0.4, 1)]
    distances = [distance(init, image) for image in out]
    assert distances == sorted(distances) and distances[0] < 6 < distances[-1]


def test_img2img_takes_steps_times_strength_and_says_so():
    payload = {**SMALL, "init_images": [encoded(Image.new("RGBA", (9, 9)))], "steps": 10, "denoising_strength": 0.5}
    result, reports = run(payload, "img2img")
    assert len(reports) == 5
    assert "Denoising strength: 0.5" in result.pictures[0].infotext
    assert result.parameters["init_images"] is None


def test_img2img_paints_only_where_the_mask_is_white():
    init, mask = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    payload = {"init_images": [encoded(init)], "mask": encoded(mask), "mask_blur": 0, "width": 64, "height": 64,
               "denoising_strength": 1, "steps": 2, "seed": 4, "prompt": "sea night"}  # fmt: skip
    image = opened(run(payload, "img2img")[0].pictures[0])
    assert image.getpixel((50, 30)) == (255, 0, 0) != image.getpixel((10, 30))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_img2img_fits_any_init_image(mode):
    payload = {**SMALL, "init_images": [encoded(Image.new("RGB", (200, 20), "blue"))], "resize_mode": mode}
    assert opened(run(payload, "img2img")[0].pictures[0]).size == (64, 48)


@pytest.mark.parametrize("text", ["not base64!", "AAAA", "", "data:image/png", encoded(Image.new("L", (4, 4)))[:40]])
def test_what_is_no_picture_is_refused(text):
    with pytest.raises(RequestRefused, match=r"init_images\[0\]"):
        run({**SMALL, "init_images": [text]}, "img2img")


def test_hires_fix_comes_out_larger_and_counts_its_steps():
    payload = {**SMALL, "enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 3, "prompt": "sea"}
    result, reports = run(payload)
    assert (result.pictures[0].width, result.pictures[0].height, len(reports)) == (128, 96, 7)
    assert "Size: 64x48" in result.pictures[0].infotext and "Hires resize: 128x96" in result.pictures[0].infotext


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        ({"upscaling_resize": 3}, (60, 30)),
        ({}, (40, 20)),
        ({"resize_mode": 1, "upscaling_resize_w": 50, "upscaling_resize_h": 50}, (50, 50)),
        ({"resize_mode": 1, "upscaling_resize_w": 50, "upscaling_resize_h": 50, "upscaling_crop": False}, (50, 25)),
    ],
)
def test_extras_enlarges(payload, size):
    result, reports = run({**payload, "image": encoded(Image.new("RGB", (20, 10), "red"))}, "extras")
    assert opened(result.pictures[0]).size == size
    assert f"{size[0]}x{size[1]}" in result.info["html_info"]
    assert reports[-1].fraction == 1.0


def test_extras_above_64_megapixels_is_refused_before_it_takes_the_memory():
    with pytest.raises(RequestRefused, match="64 megapixels"):
        run({"image": encoded(Image.new("1", (4000, 4000))), "upscaling_resize": 8}, "extras")


def test_the_prompt_can_ask_for_a_failure_and_for_a_refusal():
    with pytest.raises(RuntimeError, match="the prompt asked for a failure"):
        run({"prompt": "a cat !fail"})
    with pytest.raises(RequestRefused, match="asked to be refused"):
        run({"prompt": "!refuse"})


@pytest.mark.parametrize("sampler", ["Euler a", "euler", "DPM++ 2M Karras", "UniPC", None, ""])
def test_known_samplers_pass(sampler):
    DemoPipeline().check("txt2img", {"sampler_name": sampler})


def test_unknown_samplers_and_tasks_are_refused_by_name():
    with pytest.raises(InvalidRequest) as caught:
        DemoPipeline().check("txt2img", {"sampler_name": "Nonesuch"})
    assert caught.value.errors[0]["loc"] == ["payload", "sampler_name"] and "Euler a" in str(caught.value)
    with pytest.raises(InvalidRequest):
        DemoPipeline().check("ui:txt2img_generate", {})


def test_the_pipeline_is_never_busy_and_can_be_used_after_close():
    pipeline = DemoPipeline(0)
    pipeline.close()
    assert not pipeline.busy()
    assert pipeline.run(Request("a", "txt2img", SMALL), lambda p: None, Cancellation()).pictures


def test_painting_is_quick():
    """Generous limits: 512×512 takes 50 to 140 ms here, 64×64 3 to 9 ms, and CI machines are busy."""
    for size, limit in (((512, 512), 0.75), ((64, 64), 0.1)):
        best = []
        for _ in range(3):
            started = time.thread_time()
            paint("city night", 1, size)
            best.append(time.thread_time() - started)
        assert min(best) < limit
