"""A pipeline that needs no model: it paints a landscape from prompt and seed, and lets it form out of noise.

The words of the prompt choose motif and light ("sea", "mountain", "forest", "city", "flower", "cat", "desert",
"space", "flow"; "night", "dawn", "sunset", "autumn", "winter", …), the hash of prompt and seed everything else. The
picture depends on prompt, seed and size alone (with img2img also on what it starts from) and is drawn by Pillow and
``random.Random`` only: the same request gives the same bytes on every machine with the same version of Pillow, and a
picture the eye cannot tell apart with another one, since versions round edges and blurs differently.

To show what failures look like, a prompt holding the word ``!fail`` makes the attempt fail (it is retried), and
``!refuse`` makes it a refusal (it is not). Styles, scripts and checkpoints are accepted and change nothing.

What is measured (one core, CPU time): painting takes 40 to 140 ms for 512×512 by motif, 3 to 10 ms for 64×64, 250 ms
for 2048×2048, since beyond ``WORK_SIDE`` pixels a picture is painted smaller and enlarged; the PNG 25 ms for 512×512,
a preview 6 ms, only when somebody looks. The duration of a job is ``steps × step_s`` on top, whatever its size.
"""

import base64
import hashlib
import io
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from queue_ext.errors import RequestRefused, invalid
from queue_ext.pipelines import Cancellation, Picture, Progress, Request, Result, demo_api
from queue_ext.pipelines.payloads import MAX_PIXELS, MAX_SEED, images, passes

MODEL = "demo"
WORK_SIDE = 640  # pixels: the longer side of the canvas that is painted on
PREVIEW_SIDE = 256  # pixels: the longer side of a preview
EXTRAS_STEPS = 8
GRAIN_SIDE = 128  # pixels: the tile of film grain
SAMPLERS = (  # of AUTOMATIC1111 1.10 and Forge, so that a misspelt one shows here what it would show there
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler",
    "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS",
    "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM", "DDPM", "ER SDE",
)  # fmt: skip
SCHEDULES = ("karras", "exponential", "polyexponential", "sgm uniform", "uniform", "automatic")

Colour = tuple[int, int, int]
Size = tuple[int, int]
Points = Sequence[tuple[float, float]]


# --- Light -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Light:
    """The colours of one hour: the sky from top to horizon, the far haze, the near silhouettes, the sun or moon."""

    sky: tuple[Colour, ...]
    haze: Colour
    near: Colour
    disc: Colour
    stars: float = 0.0  # share of the sky's stars that are out


def _rgb(code: str) -> Colour:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


def _light(sky: str, haze: str, near: str, disc: str, stars: float = 0.0) -> Light:
    return Light(tuple(_rgb(code) for code in sky.split()), _rgb(haze), _rgb(near), _rgb(disc), stars)


LIGHTS = {
    "dawn": _light("33456f 7d6f9c d98c9a f8b195 ffdcae", "f3b7a0", "1c1f3d", "fff0cf", 0.1),
    "day": _light("2b78b8 63a9d8 a9d3e8 e3efe9 f6f0de", "c4dbe0", "163f45", "fffbe8"),
    "golden": _light("4a6a8a 8f9fa3 e0b584 f7c873 ffe6ac", "f0c68c", "32202b", "fff6d6"),
    "sunset": _light("1d1545 5a1f6e b02d6b f0595a ffa84f ffd98a", "ee7b5b", "150a22", "fff0b5", 0.15),
    "dusk": _light("0d1238 2a2b6b 63479b b06bb5 f3a9b4", "9a6fae", "0a0c24", "ffe9e0", 0.5),
    "night": _light("03060f 071430 0f2a52 1f4a73 3f7390", "2c587a", "02050d", "eef4ff", 1.0),
    "mist": _light("7fa5a6 a6c4bf cbdcd3 e8ede1 f5f3e6", "cddcd2", "15302f", "fffdf0"),
    "autumn": _light("5f8196 a9b5a8 ecd3a0 f6c58a fbe0b8", "e3b07c", "4a1a14", "fff3d0"),
    "winter": _light("5f86b3 93b3d1 c8d9e6 f0e6e6 fdf3ea", "cfdceb", "20324d", "ffffff"),
    "ember": _light("1a0a10 4a1118 931f1f d9552b ffb45e", "b23e2a", "120507", "ffe0a0", 0.3),
    "blossom": _light("6d8fc9 a9b7e0 e7c6de fbd3d6 fff0e2", "ecc4d3", "43264d", "fffaf0"),
}

LIGHT_WORDS = {
    "dawn": "dawn sunrise morning 日出 清晨 黎明",
    "day": "day noon sunny blue summer sky 白天 晴",
    "golden": "golden gold afternoon warm evening 黄昏",
    "sunset": "sunset red orange tropical vivid 日落 夕阳",
    "dusk": "dusk twilight purple violet dream cyberpunk neon 暮",
    "night": "night midnight moon moonlight stars starry aurora dark 夜 月 星 极光",
    "mist": "mist misty fog foggy green rain jade calm 雾 雨",
    "autumn": "autumn fall october leaves brown 秋",
    "winter": "winter snow snowy ice frozen christmas 雪 冬",
    "ember": "fire lava volcano mars hell dragon ember 火",
    "blossom": "spring blossom sakura cherry pastel pink 春 樱",
}


# --- Brushes ---------------------------------------------------------------------------------------------------------


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """``one`` with ``share`` of ``other`` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _pick(stops: Sequence[Colour], place: float) -> Colour:
    """The colour at ``place`` (0.0 to 1.0) of a gradient."""
    at = min(max(place, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    return _mix(stops[low], stops[low + 1], at - low)


def _gradient(size: Size, stops: Sequence[Colour]) -> Image.Image:
    """From top to bottom."""
    column = Image.new("RGB", (1, 64))
    column.putdata([_pick(stops, row / 63) for row in range(64)])
    return column.resize((1, size[1]), Image.Resampling.BICUBIC).resize(size)


def _ramp(size: Size, top: float, bottom: float) -> Image.Image:
    """A mask that goes from ``top`` to ``bottom`` (0.0 to 1.0)."""
    column = Image.new("L", (1, 64))
    column.putdata([round(255 * (top + (bottom - top) * row / 63)) for row in range(64)])
    return column.resize((1, size[1]), Image.Resampling.BICUBIC).resize(size)


@lru_cache(maxsize=8)
def _falloff(power: float) -> Image.Image:
    """A soft round light, 255 in the middle and 0 from the rim on."""
    curve = [round(255 * max(0.0, 1 - d / 255) ** power) for d in range(256)]
    # 256 pixels wide, its distances reach 255 at the middle of each edge only after scaling by √2.
    return Image.radial_gradient("L").point([min(255, round(d * 1.4142)) for d in range(256)]).point(curve)


def _clouds(rng: random.Random, size: Size, cells: Size, octaves: int = 4) -> Image.Image:
    """Value noise: coarse random fields and ever finer, fainter ones, enlarged and blended."""
    half = max(1, size[0] // 2), max(1, size[1] // 2)  # clouds have no edges to lose
    clouds = Image.new("L", half)
    for octave in range(octaves):
        grid = min(cells[0] << octave, half[0]), min(cells[1] << octave, half[1])
        dots = Image.frombytes("L", grid, rng.randbytes(grid[0] * grid[1]))
        clouds = Image.blend(clouds, dots.resize(half, Image.Resampling.BICUBIC), 1 / (1 + 1.1 * octave))
    return clouds.resize(size, Image.Resampling.BICUBIC)


def _contrast(mask: Image.Image, low: float, high: float) -> Image.Image:
    """Stretch what lies between ``low`` and ``high`` (0.0 to 1.0) over the whole range, smoothly."""
    places = [min(1.0, max(0.0, (v / 255 - low) / (high - low))) for v in range(256)]
    return mask.point([round(255 * p * p * (3 - 2 * p)) for p in places])


def _ridge(rng: random.Random, points: int, roughness: float) -> list[float]:
    """Midpoint displacement (Fournier, Fussell and Carpenter, 1982): ``points + 1`` heights from 0.0 to 1.0."""
    heights, spread = [rng.random(), rng.random()], 0.5
    while len(heights) <= points:
        middles = [(a + b) / 2 + rng.uniform(-spread, spread) for a, b in pairwise(heights)]
        heights = [h for pair in zip(heights, middles, strict=False) for h in pair] + heights[-1:]
        spread *= roughness
    low, high = min(heights), max(heights)
    return [(h - low) / ((high - low) or 1.0) for h in heights]


def _tinted(mask: Image.Image, colour: Colour) -> Image.Image:
    return Image.merge("RGB", [mask.point([v * part // 255 for v in range(256)]) for part in colour])


@dataclass
class Canvas:
    """What a motif paints on. Places are shares of the canvas, 0.0 to 1.0 from the top left corner."""

    image: Image.Image
    rng: random.Random
    light: Light
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.image.size

    @property
    def unit(self) -> float:
        """Pixels that one hundredth of the shorter side has."""
        return min(self.size) / 100

    def x(self, share: float) -> float:
        return share * self.size[0]

    def y(self, share: float) -> float:
        return share * self.size[1]

    def fill(self, mask: Image.Image, paint: "Image.Image | Colour") -> None:
        self.image.paste(paint, (0, 0, *self.size), mask)

    def many(self, count: int) -> int:
        """``count`` for a canvas of 512 pixels, fewer for a small one: nobody sees 240 strokes on 64 pixels."""
        return max(3, round(count * min(1.0, math.sqrt(self.size[0] * self.size[1]) / 512)))

    def polygon(self, *shapes: Points) -> Image.Image:
        """A mask of shapes given in pixels, with smooth edges."""
        mask, (left, top, right, bottom) = Image.new("L", self.size), self._box(shapes)
        if right > left and bottom > top:
            part = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
            draw = ImageDraw.Draw(part)
            for shape in shapes:
                draw.polygon([((px - left) * 2, (py - top) * 2) for px, py in shape], fill=255)
            mask.paste(part.reduce(2), (left, top))
        return mask

    def _box(self, shapes: Sequence[Points]) -> tuple[int, int, int, int]:
        """The part of the canvas that the shapes touch, in pixels."""
        xs, ys = [px for shape in shapes for px, _ in shape], [py for shape in shapes for _, py in shape]
        width, height = self.size
        return max(0, int(min(xs))), max(0, int(min(ys))), min(width, int(max(xs)) + 2), min(height, int(max(ys)) + 2)

    def shine(self, x: float, y: float, radius: float, colour: Colour, power: float = 2.0) -> None:
        """Add light around a place; ``radius`` in pixels."""
        left, top, side = round(x - radius), round(y - radius), max(2, round(radius * 2))
        box = max(0, left), max(0, top), min(self.size[0], left + side), min(self.size[1], top + side)
        if box[2] > box[0] and box[3] > box[1]:
            zoom = 256 / side
            seen = (box[0] - left) * zoom, (box[1] - top) * zoom, (box[2] - left) * zoom, (box[3] - top) * zoom
            glow = _falloff(power).resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC, box=seen)
            self.image.paste(ImageChops.screen(self.image.crop(box), _tinted(glow, colour)), box)

    def screen(self, mask: Image.Image, colour: Colour) -> None:
        """Add light of one colour where the mask is bright."""
        self.image = ImageChops.screen(self.image, _tinted(mask, colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        box = Image.new("L", (round(radius * 8) + 8,) * 2)
        ImageDraw.Draw(box).ellipse((4, 4, box.width - 4, box.height - 4), fill=255)
        mask = box.resize((max(1, round(radius * 2)),) * 2, Image.Resampling.LANCZOS)
        self.image.paste(colour, (round(x - radius), round(y - radius)), mask)


# --- Parts of a landscape --------------------------------------------------------------------------------------------


def _sky(canvas: Canvas, horizon: float = 0.7) -> None:
    height = max(1, round(canvas.y(horizon)))
    canvas.image.paste(canvas.light.haze, (0, 0, *canvas.size))
    canvas.image.paste(_gradient((canvas.size[0], height), canvas.light.sky), (0, 0))
    if canvas.light.stars:
        _stars(canvas, horizon, canvas.light.stars)


def _stars(canvas: Canvas, horizon: float, share: float) -> None:
    rng, sky = canvas.rng, Image.new("L", canvas.size)
    for _ in range(canvas.many(round(260 * share))):
        x, y, glow = rng.random(), rng.random() ** 1.4 * horizon, rng.random()
        sky.putpixel((int(canvas.x(x)), int(canvas.y(y))), round((70 + 185 * glow**3) * (1 - y / horizon) ** 0.5))
        if glow > 0.96:
            canvas.shine(canvas.x(x), canvas.y(y), canvas.unit * 1.6, (200, 215, 255), 3.0)
    canvas.screen(sky, (255, 250, 240))


def _sun(canvas: Canvas, x: float, y: float, size: float = 5.0) -> None:
    """A disc of ``size`` hundredths with two halos."""
    px, py, radius, disc = canvas.x(x), canvas.y(y), size * canvas.unit, canvas.light.disc
    glare = 0.85 - 0.6 * sum(canvas.light.sky[2]) / 765  # a bright sky would swallow the disc
    canvas.shine(px, py, radius * 11, _mix((0, 0, 0), canvas.light.sky[-1], glare), 2.6)
    canvas.shine(px, py, radius * 4, _mix((0, 0, 0), disc, glare * 0.9), 2.2)
    canvas.disc(px, py, radius, disc)


def _haze_clouds(canvas: Canvas, low: float = 0.48, strength: float = 0.75) -> None:
    """Streaks of cloud that take the colour of the horizon."""
    clouds = _contrast(_clouds(canvas.rng, canvas.size, (3, 7)), low, 0.85)
    fade = ImageChops.multiply(clouds, _ramp(canvas.size, strength, 0.0))
    canvas.fill(fade, _mix(canvas.light.sky[-1], canvas.light.disc, 0.35))


def _hills(canvas: Canvas, base: float, height: float, roughness: float, paint: Colour, fade: float) -> list[float]:
    """One range of hills, its foot at ``base``: ``paint`` at the crest, ``fade`` of it lost in haze at the foot."""
    width, depth = canvas.size
    heights = _ridge(canvas.rng, 128, roughness)
    crest = [(base - height * h) * depth for h in heights]
    line = [(width * i / (len(crest) - 1), y) for i, y in enumerate(crest)]
    mask = canvas.polygon([*line, (width, depth), (0, depth)])
    top = max(0, int(min(crest)))
    body = Image.new("RGB", canvas.size, paint)
    foot = max(1, round(height * depth * 1.3))
    body.paste(_gradient((width, foot), (paint, _mix(paint, canvas.light.haze, fade))), (0, top))
    body.paste(_mix(paint, canvas.light.haze, fade), (0, top + foot, width, max(depth, top + foot)))
    canvas.fill(mask, body)
    return crest


def _ranges(canvas: Canvas, first: float, last: float, count: int, height: float, roughness: float) -> None:
    """Ranges one behind the other; the farther, the more they take the colour of the air."""
    for i in range(count):
        near = (i + 1) / count
        paint = _mix(canvas.light.haze, canvas.light.near, 0.12 + 0.88 * near**1.5)
        rise = height * (1.1 - 0.45 * near)
        _hills(canvas, first + (last - first) * near + rise * 0.3, rise, roughness, paint, 0.5 * (1 - near) + 0.12)


def _birds(canvas: Canvas, low: float, high: float) -> None:
    draw, rng, ink = ImageDraw.Draw(canvas.image), canvas.rng, _mix(canvas.light.near, canvas.light.haze, 0.25)
    x, y = rng.uniform(0.2, 0.7), rng.uniform(low, high)
    for _ in range(rng.randint(3, 7)):
        px, py = canvas.x(x + rng.uniform(-0.1, 0.1)), canvas.y(y + rng.uniform(-0.05, 0.05))
        wing = canvas.unit * rng.uniform(0.8, 1.6)
        points = [(px - wing, py - wing * 0.55), (px - wing * 0.4, py - wing * 0.5), (px, py),
                  (px + wing * 0.4, py - wing * 0.5), (px + wing, py - wing * 0.55)]  # fmt: skip
        draw.line(points, fill=ink, width=max(1, round(canvas.unit * 0.28)))


def _pine(x: float, foot: float, height: float, rng: random.Random) -> list[tuple[float, float]]:
    """The outline of a conifer; all in pixels."""
    tiers = 9
    left: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for tier in range(tiers):
        y = foot - height * (1 - tier / tiers)
        reach = height * 0.24 * ((tier + 1) / tiers) ** 0.9 * rng.uniform(0.8, 1.15)
        drop = height / tiers * 1.15
        left += [(x - reach * 0.45, y + drop * 0.35), (x - reach, y + drop)]
        right += [(x + reach * 0.45, y + drop * 0.35), (x + reach, y + drop)]
    return [(x, foot - height), *right, (x, foot + height * 0.1), *reversed(left)]


def _pines(canvas: Canvas, foot: float, height: float, count: int, paint: Colour, ground: float = 0.05) -> None:
    """A row of conifers on uneven ground."""
    rng, count = canvas.rng, canvas.many(count)
    shapes: list[Points] = []
    lift = _ridge(rng, 16, 0.55)
    for i in range(count):
        share = (i + rng.uniform(-0.6, 0.6)) / max(1, count - 1)
        rise = lift[min(16, max(0, int(share * 16)))] * ground
        tall = canvas.unit * 100 * height * rng.uniform(0.5, 1.1)
        shapes.append(_pine(canvas.x(share), canvas.y(foot - rise + 0.02), tall, rng))
    line = [(canvas.x(i / 16), canvas.y(foot - h * ground)) for i, h in enumerate(lift)]
    canvas.fill(canvas.polygon([*line, canvas.size, (0, canvas.size[1])], *shapes), paint)


def _mist(canvas: Canvas, place: float, spread: float, strength: float) -> None:
    """A bank of mist around the height ``place``."""
    width, height = canvas.size
    band = max(2, round(height * spread))
    veil = Image.new("L", canvas.size)
    veil.paste(_ramp((width, band // 2), 0.0, strength), (0, round(canvas.y(place)) - band // 2))
    veil.paste(_ramp((width, band - band // 2), strength, 0.0), (0, round(canvas.y(place))))
    clouds = _contrast(_clouds(canvas.rng, canvas.size, (3, 3), 3), 0.2, 0.75)
    canvas.fill(ImageChops.multiply(veil, clouds), _mix(canvas.light.haze, canvas.light.sky[-1], 0.5))


def _water(canvas: Canvas, horizon: float, x: "float | None" = None, calm: float = 1.0) -> None:
    """Everything below ``horizon`` mirrors what is above it; ``x`` is where the sun lays its path."""
    width, height = canvas.size
    top = min(height - 1, max(1, round(canvas.y(horizon))))
    depth = height - top
    above = canvas.image.crop((0, max(0, top - round(depth * 1.25)), width, top))
    mirror = ImageOps.flip(above).resize((width, depth), Image.Resampling.BICUBIC)
    canvas.image.paste(_rippled(canvas, mirror, calm), (0, top))
    tint = Image.new("L", canvas.size)
    tint.paste(_ramp((width, depth), 0.1, 0.62), (0, top))
    canvas.fill(tint, _mix(canvas.light.near, canvas.light.sky[0], 0.45))
    if x is not None:
        _glitter(canvas, x, top)


def _rippled(canvas: Canvas, mirror: Image.Image, calm: float) -> Image.Image:
    """Rows shifted sideways, the more the nearer they are."""
    depth = mirror.height
    out, row, phase = mirror.copy(), 0, canvas.rng.uniform(0, 6.28)
    while row < depth:
        near = row / depth
        rows = 1 + int(near * canvas.unit * 0.8)
        wave = math.sin(phase + 70 * math.sqrt(near + 0.02)) + canvas.rng.uniform(-0.6, 0.6)
        shift = round(wave * canvas.unit * (0.25 + 2.2 * near) / calm)
        out.paste(_shifted(mirror, shift, row, rows), (0, row))
        row += rows
    return out


def _shifted(image: Image.Image, shift: int, row: int, rows: int) -> Image.Image:
    return ImageChops.offset(image.crop((0, row, image.width, row + rows)), shift, 0)


def _glitter(canvas: Canvas, x: float, top: int) -> None:
    """Short strokes of light below the sun."""
    rng, height = canvas.rng, canvas.size[1]
    spark = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(spark)
    for _ in range(canvas.many(240)):
        near = rng.random() ** 1.3
        y = top + near * (height - top)
        px = canvas.x(x) + rng.gauss(0, 1) * canvas.unit * (2.2 + 9 * near)
        half = canvas.unit * rng.uniform(0.4, 1.6) * (0.5 + 1.8 * near)
        line, thick = (px - half, y, px + half, y), max(1, round(canvas.unit * 0.3))
        draw.line(line, fill=round(rng.uniform(70, 235)), width=thick)
    canvas.screen(spark.filter(ImageFilter.GaussianBlur(canvas.unit * 0.12)), canvas.light.disc)


# --- Motifs ----------------------------------------------------------------------------------------------------------


def _paint_mountain(canvas: Canvas) -> None:
    rng, x = canvas.rng, canvas.rng.uniform(0.25, 0.75)
    _sky(canvas, 0.72)
    _haze_clouds(canvas)
    _sun(canvas, x, rng.uniform(0.2, 0.42), rng.uniform(4, 7))
    _ranges(canvas, 0.52, 0.8, 4, 0.34, 0.56)
    _mist(canvas, 0.72, 0.3, 0.55)
    _birds(canvas, 0.2, 0.4)
    _pines(canvas, 0.97, 0.2, 16, canvas.light.near, 0.1)


def _paint_lake(canvas: Canvas) -> None:
    rng, x, shore = canvas.rng, canvas.rng.uniform(0.25, 0.75), canvas.rng.uniform(0.6, 0.68)
    _sky(canvas, shore)
    _haze_clouds(canvas)
    _sun(canvas, x, shore - rng.uniform(0.26, 0.4), rng.uniform(3.5, 6))
    _ranges(canvas, shore - 0.12, shore - 0.03, 3, 0.3, 0.55)
    _pines(canvas, shore + 0.005, 0.08, 46, _mix(canvas.light.near, canvas.light.haze, 0.12), 0.02)
    _water(canvas, shore, x, 1.6)
    _mist(canvas, shore, 0.12, 0.6)


def _paint_sea(canvas: Canvas) -> None:
    rng, x, horizon = canvas.rng, canvas.rng.uniform(0.25, 0.75), canvas.rng.uniform(0.52, 0.64)
    _sky(canvas, horizon)
    _haze_clouds(canvas, 0.42, 0.9)
    _sun(canvas, x, horizon - rng.uniform(0.04, 0.22), rng.uniform(5, 9))
    _islands(canvas, horizon)
    _water(canvas, horizon, x, 0.9)
    _sail(canvas, 1 - x + rng.uniform(-0.1, 0.1), horizon + rng.uniform(0.03, 0.09), rng.uniform(6, 11))
    _birds(canvas, 0.15, 0.35)


def _islands(canvas: Canvas, horizon: float) -> None:
    for side in (canvas.rng.uniform(-0.1, 0.2), canvas.rng.uniform(0.75, 1.0)):
        heights = _ridge(canvas.rng, 32, 0.5)
        wide, tall = canvas.rng.uniform(0.2, 0.4), canvas.rng.uniform(0.04, 0.1)
        line = [
            (canvas.x(side + wide * (i / 32 - 0.5)), canvas.y(horizon - tall * h * math.sin(math.pi * i / 32)))
            for i, h in enumerate(heights)
        ]
        canvas.fill(canvas.polygon(line), _mix(canvas.light.haze, canvas.light.near, canvas.rng.uniform(0.3, 0.6)))


def _sail(canvas: Canvas, x: float, y: float, size: float) -> None:
    px, py, u = canvas.x(x), canvas.y(y), size * canvas.unit
    hull = [(px - u * 0.5, py - u * 0.12), (px + u * 0.55, py - u * 0.12), (px + u * 0.35, py), (px - u * 0.35, py)]
    main = [(px + u * 0.03, py - u * 1.15), (px + u * 0.06, py - u * 0.18), (px + u * 0.5, py - u * 0.18)]
    jib = [(px - u * 0.02, py - u * 1.05), (px - u * 0.03, py - u * 0.2), (px - u * 0.42, py - u * 0.2)]
    canvas.fill(canvas.polygon(main, jib), _mix(canvas.light.disc, canvas.light.haze, 0.25))
    canvas.fill(canvas.polygon(hull), canvas.light.near)


def _paint_forest(canvas: Canvas) -> None:
    rng, x = canvas.rng, canvas.rng.uniform(0.3, 0.7)
    _sky(canvas, 0.8)
    _sun(canvas, x, rng.uniform(0.22, 0.36), rng.uniform(4, 7))
    _hills(canvas, 0.62, 0.2, 0.5, _mix(canvas.light.haze, canvas.light.near, 0.16), 0.6)
    for i, (foot, height, count) in enumerate(((0.64, 0.17, 36), (0.74, 0.25, 24), (0.85, 0.36, 14), (0.98, 0.56, 7))):
        _pines(canvas, foot, height, count, _mix(canvas.light.haze, canvas.light.near, (0.3, 0.52, 0.78, 1.0)[i]), 0.06)
        if i < 3:
            _mist(canvas, foot + 0.02, 0.34, 0.75 - 0.15 * i)
    _birds(canvas, 0.15, 0.3)


AURORAS = (
    ((60, 255, 170), (90, 120, 255)),
    ((90, 255, 140), (220, 80, 220)),
    ((60, 230, 220), (140, 90, 255)),
)


def _paint_aurora(canvas: Canvas) -> None:
    shore = canvas.rng.uniform(0.66, 0.74)
    _sky(canvas, shore)
    low, high = canvas.rng.choice(AURORAS)
    curtains = [_curtain(canvas, shore, 0.9 - 0.2 * i) for i in range(3)]
    for sheets, colour in zip(zip(*curtains, strict=True), (low, high), strict=True):
        glow = ImageChops.screen(ImageChops.screen(sheets[0], sheets[1]), sheets[2])
        canvas.screen(glow.resize(canvas.size, Image.Resampling.BICUBIC), colour)
    _ranges(canvas, shore - 0.07, shore - 0.01, 2, 0.22, 0.56)
    _pines(canvas, shore + 0.005, 0.1, 40, canvas.light.near, 0.03)
    _water(canvas, shore, None, 1.8)


def _curtain(canvas: Canvas, shore: float, strength: float) -> list[Image.Image]:
    """Rays that rise from a winding line: a small mask of their lower and one of their upper light."""
    rng, (width, height) = canvas.rng, canvas.size
    strips, rows = max(12, min(96, width // 5)), max(16, min(112, height // 4))
    wave = [rng.uniform(0, 6.28) for _ in range(3)]
    feet, rays = shore * rng.uniform(0.42, 0.68), _ridge(rng, strips, 0.8)
    sheet = [Image.new("L", (strips, rows)), Image.new("L", (strips, rows))]
    for i in range(strips):
        u = i / strips
        foot = feet + 0.1 * math.sin(wave[0] + 4 * u) + 0.05 * math.sin(wave[1] + 9 * u)
        power = strength * (0.4 + 0.6 * rays[i]) * (0.6 + 0.4 * math.sin(wave[2] + 5 * u))
        _ray(sheet, i, foot * rows, rows * (0.3 + 0.3 * rays[i]), power)
    return sheet


def _ray(sheet: list[Image.Image], column: int, foot: float, length: float, power: float) -> None:
    low, high = sheet
    for row in range(max(0, int(foot - length)), min(sheet[0].height, int(foot) + 6)):
        rise = (foot - row) / length
        glow = math.exp(-3.2 * rise) if rise >= 0 else math.exp(22 * rise)
        low.putpixel((column, row), round(235 * power * glow))
        high.putpixel((column, row), round(360 * power * max(0.0, rise) * math.exp(-2.2 * max(0.0, rise))))


def _paint_city(canvas: Canvas) -> None:
    rng, x, shore = canvas.rng, canvas.rng.uniform(0.2, 0.8), canvas.rng.uniform(0.74, 0.8)
    _sky(canvas, shore)
    _haze_clouds(canvas, 0.5, 0.6)
    _sun(canvas, x, rng.uniform(0.18, 0.4), rng.uniform(6, 10))
    for near, tall in ((0.25, 0.5), (0.55, 0.42), (1.0, 0.34)):
        _skyline(canvas, shore, tall, near, _mix(canvas.light.haze, canvas.light.near, 0.15 + 0.8 * near))
        glare = _mix((60, 30, 20), canvas.light.haze, 0.2)
        canvas.shine(canvas.x(0.5), canvas.y(shore), canvas.size[0] * 0.5, glare, 2.5)
    _water(canvas, shore, None, 1.1)


def _skyline(canvas: Canvas, shore: float, tall: float, near: float, paint: Colour) -> None:
    rng, x = canvas.rng, -0.02
    towers: list[tuple[float, float, float, float]] = []
    windows: list[tuple[float, float]] = []
    while x < 1.02:
        wide = rng.uniform(0.025, 0.06) * (0.7 + 0.6 * near)
        high = tall * (0.25 + 0.75 * rng.random() ** 1.7) * (1 - 0.5 * abs(x - 0.5))
        box = (canvas.x(x), canvas.y(shore - high), canvas.x(x + wide), canvas.y(shore))
        towers.append(box)
        windows.extend(_windows(canvas, box, near))
        x += wide * rng.uniform(0.8, 1.25)
    _towers(canvas, towers, shore, paint)
    _lit(canvas, windows, near)


def _towers(canvas: Canvas, towers: list[tuple[float, float, float, float]], shore: float, paint: Colour) -> None:
    shapes: list[Points] = []
    for left, top, right, foot in towers:
        shapes.append([(left, foot), (left, top), (right, top), (right, foot)])
        if canvas.rng.random() < 0.3:
            middle, mast = (left + right) / 2, (right - left) * canvas.rng.uniform(0.4, 1.3)
            west, east, eaves = middle - (right - left) * 0.28, middle + (right - left) * 0.28, top - mast * 0.3
            shapes.append([(west, top), (west, eaves), (middle, top - mast), (east, eaves), (east, top)])
    body = _gradient(canvas.size, (paint, paint, _mix(paint, canvas.light.haze, 0.45)))
    canvas.fill(canvas.polygon(*shapes), body)


def _windows(canvas: Canvas, box: tuple[float, float, float, float], near: float) -> Iterator[tuple[float, float]]:
    left, top, right, foot = box
    pitch = max(2.5, canvas.unit * (0.7 + 0.7 * near))
    columns, rows = int((right - left - pitch * 0.6) / pitch), int((foot - top - pitch) / (pitch * 1.25))
    for row in range(rows):
        for column in range(columns):
            if canvas.rng.random() < 0.34:
                yield left + pitch * (column + 0.7), top + pitch * (0.8 + row * 1.25)


def _lit(canvas: Canvas, windows: list[tuple[float, float]], near: float) -> None:
    lamps = Image.new("L", canvas.size)
    draw, side = ImageDraw.Draw(lamps), max(0.0, canvas.unit * (0.25 + 0.3 * near) - 1)
    dark = 1.0 - 0.6 * (sum(canvas.light.sky[0]) / 765)
    for x, y in windows:
        draw.rectangle((x, y, x + side, y + side * 1.2), fill=round(canvas.rng.uniform(60, 255) * dark))
    canvas.screen(lamps, (255, 205, 130))
    canvas.screen(lamps.filter(ImageFilter.GaussianBlur(canvas.unit * 0.9)), (255, 160, 80))


def _paint_desert(canvas: Canvas) -> None:
    rng, x = canvas.rng, canvas.rng.uniform(0.25, 0.75)
    _sky(canvas, 0.62)
    _sun(canvas, x, rng.uniform(0.28, 0.44), rng.uniform(6, 10))
    _hills(canvas, 0.62, 0.14, 0.55, _mix(canvas.light.haze, canvas.light.near, 0.22), 0.4)
    for i in range(5):
        _dune(canvas, 0.6 + 0.09 * i, (i + 1) / 5)
    _birds(canvas, 0.15, 0.3)


def _dune(canvas: Canvas, base: float, near: float) -> None:
    """A smooth crest whose lee side lies in a shadow that fades towards the foot."""
    rng, (width, height) = canvas.rng, canvas.size
    a, b, c = rng.uniform(0, 6.28), rng.uniform(0, 6.28), rng.uniform(2.5, 4.5)
    crest = [base - 0.05 * math.sin(a + c * i / 64) - 0.022 * math.sin(b + 7.3 * i / 64) for i in range(65)]
    sand = _mix(_mix(canvas.light.sky[-2], canvas.light.haze, 0.4), canvas.light.near, 0.05 + 0.4 * near)
    line = [(width * i / 64, height * y) for i, y in enumerate(crest)]
    body = canvas.polygon([*line, (width, height), (0, height)])
    canvas.fill(body, sand)
    canvas.shine(canvas.x(rng.random()), canvas.y(base + 0.05), width * 0.4, _mix((0, 0, 0), canvas.light.disc, 0.12))
    lee = [max(0.0, math.cos(a + c * i / 64 + 0.6)) * (0.05 + 0.12 * near) for i in range(65)]
    foot = [(x + width * deep * 0.5, y + height * deep) for (x, y), deep in zip(line, lee, strict=True)]
    shade = canvas.polygon([*line, *reversed(foot)]).filter(ImageFilter.GaussianBlur(canvas.unit * (0.6 + 1.6 * near)))
    shade = ImageChops.multiply(shade.point([min(255, v * 3 // 2) * 190 // 255 for v in range(256)]), body)
    canvas.fill(shade, _mix(sand, canvas.light.near, 0.62))


def _paint_flower(canvas: Canvas) -> None:
    rng, light = canvas.rng, canvas.light
    canvas.image.paste(_gradient(canvas.size, (*light.sky[:3], light.haze, _mix(light.haze, light.near, 0.55))), (0, 0))
    for _ in range(canvas.many(26)):
        _bokeh(canvas, rng.choice((light.disc, light.sky[-1], light.haze, light.sky[1])))
    canvas.image = canvas.image.filter(ImageFilter.GaussianBlur(canvas.unit * 0.6))
    hues = rng.sample(("f2547d", "ffb04a", "8f6bd8", "ffffff", "e8403a", "5aa7e8", "f7d74a", "f59ac0"), 3)
    spots = ((0.24, 0.66, 12.0), (0.8, 0.72, 10.0), (rng.uniform(0.44, 0.58), rng.uniform(0.38, 0.46), 25.0))
    for (x, y, size), hue in zip(spots, hues, strict=True):
        _stem(canvas, x, y)
        _blossom(canvas, x, y, size, _rgb(hue))


def _bokeh(canvas: Canvas, colour: Colour) -> None:
    """The faint round image of a light that is out of focus."""
    rng, radius = canvas.rng, canvas.unit * canvas.rng.uniform(2, 9)
    x, y, glow = canvas.x(rng.random()), canvas.y(rng.random()), round(rng.uniform(14, 60))
    ring = [(x + radius * math.cos(t / 12 * math.pi), y + radius * math.sin(t / 12 * math.pi)) for t in range(24)]
    canvas.fill(canvas.polygon(ring).point([v * glow // 255 for v in range(256)]), colour)


def _stem(canvas: Canvas, x: float, y: float) -> None:
    lean, thick, u = canvas.rng.uniform(-0.06, 0.06), canvas.unit * 0.7, canvas.unit
    spine = [(canvas.x(x + lean * (t / 20) ** 2), canvas.y(y + (1.02 - y) * t / 20)) for t in range(21)]
    stalk = [*((px - thick, py) for px, py in spine), *((px + thick, py) for px, py in reversed(spine))]
    px, py = spine[12]
    bend = [(t / 12, math.sin(math.pi * t / 12)) for t in range(13)]
    upper = [(px + u * 13 * t, py - u * (9 * t + 4.5 * swell)) for t, swell in bend]
    lower = [(px + u * 13 * t, py - u * (9 * t - swell)) for t, swell in reversed(bend)]
    canvas.fill(canvas.polygon(stalk, upper + lower), _mix((58, 120, 62), canvas.light.near, 0.35))


def _blossom(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """Rings of petals, the inner ones smaller and lighter, around a heart of seeds; drawn large, then reduced."""
    rng, px, py, radius = canvas.rng, canvas.x(x), canvas.y(y), size * canvas.unit
    canvas.shine(px, py, radius * 2.2, _mix((0, 0, 0), colour, 0.35), 2.4)
    left, top, side = int(px - radius) - 1, int(py - radius) - 1, round(radius * 2) + 3
    flower = canvas.image.crop((left, top, left + side, top + side)).resize((side * 2, side * 2))
    draw, cx, cy = ImageDraw.Draw(flower), (px - left) * 2, (py - top) * 2
    petals, turn = rng.randint(8, 14), rng.random()
    for ring in range(3):
        for i in range(petals):
            angle = turn + math.tau * (i + 0.5 * ring) / petals
            deep = _mix(colour, (70, 10, 50), 0.32 - 0.13 * ring)
            tone = _mix(deep, (255, 255, 255), 0.16 * ring + rng.uniform(0, 0.1))
            _petal(draw, (cx, cy), radius * 2 * (1 - 0.24 * ring), angle, math.pi / petals * 1.15, tone)
    _heart(draw, cx, cy, radius * 0.52, canvas.many(110))
    canvas.image.paste(flower.reduce(2), (left, top))


def _petal(
    draw: ImageDraw.ImageDraw, root: tuple[float, float], reach: float, angle: float, wide: float, tone: Colour
) -> None:
    (x, y), edge = root, []
    for t in range(17):
        u = t / 8 - 1
        out = reach * (1 - abs(u) ** 2.6 * 0.82) * (1 - 0.06 * (1 - abs(u)) ** 6)
        edge.append((x + out * math.cos(angle + u * wide), y + out * math.sin(angle + u * wide)))
    draw.polygon([root, *edge], fill=tone, outline=_mix(tone, (60, 10, 50), 0.28))
    inner = [(x + (ex - x) * 0.72, y + (ey - y) * 0.72) for ex, ey in edge[5:12]]
    draw.polygon([root, *inner], fill=_mix(tone, (80, 10, 50), 0.14))


def _heart(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, seeds: int) -> None:
    """Vogel's sunflower spiral (1979): each seed turns by the golden angle."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(92, 50, 22))
    for i in range(seeds):
        out, angle = radius * math.sqrt(i / seeds), i * 2.399963
        sx, sy, r = x + out * math.cos(angle), y + out * math.sin(angle), max(0.6, radius * 0.07)
        draw.ellipse((sx - r, sy - r, sx + r, sy + r), fill=_mix((250, 200, 70), (150, 80, 20), i / seeds))


def _paint_cat(canvas: Canvas) -> None:
    """A cat on a hill before a great moon."""
    x, y, foot = canvas.rng.uniform(0.42, 0.58), canvas.rng.uniform(0.4, 0.46), 0.8
    _sky(canvas, 0.85)
    _haze_clouds(canvas, 0.5, 0.6)
    _sun(canvas, x, y, 27)
    _craters(canvas, x, y, 27)
    _ranges(canvas, 0.74, 0.86, 3, 0.12, 0.5)
    hill = [(canvas.x(i / 32), canvas.y(foot + 0.35 * (i / 32 - x) ** 2)) for i in range(33)]
    canvas.fill(canvas.polygon([*hill, canvas.size, (0, canvas.size[1])]), canvas.light.near)
    _grass(canvas, foot, x)
    _cat(canvas, canvas.x(x), canvas.y(foot) + canvas.unit, 17 * canvas.unit, canvas.rng.choice((-1, 1)))


def _craters(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Soft grey plains on the moon."""
    rng, px, py, radius = canvas.rng, canvas.x(x), canvas.y(y), size * canvas.unit
    spots, moon = Image.new("L", canvas.size), Image.new("L", canvas.size)
    draw = ImageDraw.Draw(spots)
    for _ in range(canvas.many(22)):
        out, angle, r = radius * math.sqrt(rng.random()) * 0.85, rng.uniform(0, 6.28), radius * rng.uniform(0.04, 0.2)
        cx, cy = px + out * math.cos(angle), py + out * math.sin(angle)
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=round(rng.uniform(20, 70)))
    ImageDraw.Draw(moon).ellipse((px - radius, py - radius, px + radius, py + radius), fill=255)
    soft = ImageChops.multiply(spots.filter(ImageFilter.GaussianBlur(canvas.unit * 0.8)), moon)
    canvas.fill(soft, _mix(canvas.light.disc, canvas.light.sky[2], 0.7))


def _grass(canvas: Canvas, foot: float, x: float) -> None:
    draw, rng = ImageDraw.Draw(canvas.image), canvas.rng
    for _ in range(canvas.many(150)):
        share = rng.random()
        px, py = canvas.x(share), canvas.y(foot + 0.35 * (share - x) ** 2) + 1
        tip = px + canvas.unit * rng.uniform(-1.2, 1.2), py - canvas.unit * rng.uniform(0.8, 3.2)
        draw.line((px, py, *tip), fill=canvas.light.near, width=max(1, round(canvas.unit * 0.25)))


CAT_BODY = (
    (-0.55, 0.0), (-0.6, 0.25), (-0.5, 0.6), (-0.3, 0.95), (-0.18, 1.25),
    (0.2, 1.3), (0.3, 1.0), (0.33, 0.6), (0.36, 0.0),
)  # fmt: skip
CAT_EARS = ((-0.27, 1.5), (-0.3, 2.0), (0.0, 1.76)), ((0.33, 1.5), (0.36, 2.0), (0.06, 1.76))
CAT_ROUNDS = (0.03, 1.5, 0.34, 0.29), (-0.28, 0.3, 0.36, 0.32), (0.3, 0.04, 0.16, 0.07)  # head, haunch, paws


def _cat(canvas: Canvas, x: float, foot: float, u: float, side: int) -> None:
    """A sitting cat; ``u`` pixels are about half its height."""

    def at(places: Points) -> list[tuple[float, float]]:
        return [(x + side * px * u, foot - py * u) for px, py in places]

    def oval(cx: float, cy: float, rx: float, ry: float) -> list[tuple[float, float]]:
        turns = [t / 12 * math.pi for t in range(24)]
        return at([(cx + rx * math.cos(turn), cy + ry * math.sin(turn)) for turn in turns])

    tail = [oval(*_tail(t / 28), 0.105 - 0.04 * t / 28, 0.105 - 0.04 * t / 28) for t in range(29)]
    rounds = [oval(*oval_) for oval_ in CAT_ROUNDS]
    canvas.fill(canvas.polygon(at(CAT_BODY), *map(at, CAT_EARS), *rounds, *tail), canvas.light.near)


def _tail(share: float) -> tuple[float, float]:
    """Out along the ground, then up, the tip curled outwards; in units of the cat."""
    return -0.5 - 0.42 * math.sin(2.3 * share) - 0.64 * max(0.0, share - 0.6) ** 1.2, 0.1 + 0.95 * share**2.2


def _paint_space(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.image.paste(_gradient(canvas.size, ((4, 5, 16), (9, 8, 30), (5, 6, 18))), (0, 0))
    for colour in rng.sample(((200, 70, 150), (70, 90, 230), (40, 170, 190), (230, 130, 60), (130, 70, 220)), 3):
        cloud = _contrast(_clouds(rng, canvas.size, (3, 3), 4), 0.35, 0.85)
        veil = ImageChops.multiply(cloud, _contrast(_clouds(rng, canvas.size, (2, 2), 2), 0.3, 0.8))
        canvas.screen(veil, colour)
    _stars(canvas, 1.0, 1.6)
    _planet(canvas, rng.uniform(0.35, 0.65), rng.uniform(0.42, 0.6), rng.uniform(19, 25))


def _planet(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Lit from one side, with a ring that passes behind and in front."""
    px, py, r = canvas.x(x), canvas.y(y), size * canvas.unit
    light = LIGHTS[canvas.rng.choice(("golden", "sunset", "dusk", "winter", "ember", "blossom"))]
    canvas.shine(px, py, r * 1.9, _mix(light.sky[-2], (0, 0, 0), 0.55), 2.5)
    ring, tint = _ring(canvas, px, py, r), _mix(light.sky[-1], (255, 255, 255), 0.2)
    canvas.fill(ring, tint)
    ball = _ball(canvas.rng, light, max(2, round(r * 2)))
    disc = Image.new("L", (ball.width * 4, ball.width * 4))
    ImageDraw.Draw(disc).ellipse((0, 0, disc.width - 1, disc.width - 1), fill=255)
    canvas.image.paste(ball, (round(px - r), round(py - r)), disc.reduce(4))
    front = canvas.polygon(_turned(px, py, ((-3 * r, 0), (3 * r, 0), (3 * r, 2 * r), (-3 * r, 2 * r))))
    canvas.fill(ImageChops.multiply(ring, front), tint)


def _ball(rng: random.Random, light: Light, side: int) -> Image.Image:
    """A square of swirling bands, bright at the upper left; ``side`` in pixels."""
    bands = _gradient((side, side), [rng.choice(light.sky) for _ in range(12)])
    swirl = ImageOps.colorize(_clouds(rng, (side, side), (2, 14), 3), light.sky[1], light.sky[-1])
    ball = Image.blend(bands, swirl, 0.35).rotate(-18, Image.Resampling.BICUBIC)
    lit = _falloff(0.7).resize((side, side), Image.Resampling.BICUBIC, box=(94, 94, 228, 228))
    return ImageChops.multiply(ball, Image.merge("RGB", [_contrast(lit, 0.15, 0.85)] * 3))


def _turned(x: float, y: float, points: Points, angle: float = -0.31) -> list[tuple[float, float]]:
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in points]


def _ring(canvas: Canvas, x: float, y: float, r: float) -> Image.Image:
    rings = Image.new("L", canvas.size)
    circle = [(r * math.cos(t / 60 * math.tau), r * 0.24 * math.sin(t / 60 * math.tau)) for t in range(61)]
    for out in [1.35 + 0.035 * i for i in range(22)]:
        path = _turned(x, y, [(px * out, py * out) for px, py in circle])
        ImageDraw.Draw(rings).line(path, fill=round(canvas.rng.uniform(20, 200)), width=max(1, round(r * 0.04)))
    return rings.filter(ImageFilter.GaussianBlur(canvas.unit * 0.2))


def _paint_flow(canvas: Canvas) -> None:
    """Strands that follow a field of sines, in the colours of the hour."""
    rng, light, (width, height) = canvas.rng, canvas.light, canvas.size
    stops, count = (light.near, *light.sky, light.disc), canvas.many(330)
    waves = [(rng.uniform(1.5, 5), rng.uniform(1.5, 5), rng.uniform(0, 6.28)) for _ in range(3)]
    sheet = _gradient((width * 2, height * 2), (_mix(light.near, light.sky[0], 0.5), light.near))
    draw = ImageDraw.Draw(sheet)
    for i in range(count):
        tone = _mix(_pick(stops, rng.random()), light.near, 0.5 * (1 - i / count))
        path = [(x * 2, y * 2) for x, y in _strand(canvas, waves, rng.uniform(-0.15, 1.05), rng.uniform(-0.05, 1.05))]
        draw.line(path, fill=tone, width=max(1, round(canvas.unit * rng.choice((0.5, 0.8, 1.4, 2.6)))))
    canvas.image = sheet.reduce(2)


def _strand(canvas: Canvas, waves: list[tuple[float, float, float]], x: float, y: float) -> list[tuple[float, float]]:
    path = []
    for _ in range(24):
        path.append((canvas.x(x), canvas.y(y)))
        angle = sum(math.sin(a * x + c) * math.cos(b * y - c) for a, b, c in waves)
        x, y = x + 0.016 * math.cos(angle), y + 0.016 * math.sin(angle)
    return path


MOTIFS: dict[str, Callable[[Canvas], None]] = {
    "mountain": _paint_mountain,
    "lake": _paint_lake,
    "sea": _paint_sea,
    "forest": _paint_forest,
    "aurora": _paint_aurora,
    "city": _paint_city,
    "desert": _paint_desert,
    "flower": _paint_flower,
    "cat": _paint_cat,
    "space": _paint_space,
    "flow": _paint_flow,
}

MOTIF_WORDS = {
    "cat": "cat cats kitten kitty portrait animal pet 猫",
    "flower": "flower flowers rose tulip blossom garden bouquet sunflower sakura 花",
    "space": "space planet galaxy nebula saturn cosmos astronaut universe 太空 行星 宇宙",
    "aurora": "aurora borealis northern 极光",
    "city": "city skyline town street cyberpunk tower building buildings skyscraper urban 城市",
    "sea": "sea ocean beach island boat ship sail sailing wave waves coast 海 船",
    "lake": "lake river reflection pond water fjord 湖",
    "forest": "forest tree trees wood woods pine jungle 森林 树",
    "desert": "desert dune dunes sand mars sahara 沙漠",
    "mountain": "mountain mountains hill hills peak alps valley landscape volcano 山",
    "flow": "abstract flow pattern art swirl hair silk music 抽象",
}


# --- A picture -------------------------------------------------------------------------------------------------------


def _chosen(prompt: str, words: dict[str, str]) -> "str | None":
    """The first name of which a word stands in the prompt; Chinese is written without spaces, so it need only occur."""
    text = prompt.lower()
    said = set("".join(c if c.isalnum() else " " for c in text).split())
    for name, known in words.items():
        if any(word in said if word.isascii() else word in text for word in known.split()):
            return name
    return None


def _scene(prompt: str, rng: random.Random) -> tuple[str, Light]:
    motif, hour = rng.choice(sorted(MOTIFS)), rng.choice(sorted(LIGHTS))
    motif = _chosen(prompt, MOTIF_WORDS) or motif
    hour = _chosen(prompt, LIGHT_WORDS) or hour
    if motif == "aurora":
        hour = "night"
    return motif, LIGHTS[hour]


def _work_size(size: Size) -> Size:
    scale = min(1.0, WORK_SIDE / max(size))
    return max(16, round(size[0] * scale)), max(16, round(size[1] * scale))


def paint(prompt: str, seed: int, size: Size) -> Image.Image:
    """The finished picture (RGB, ``size`` pixels), a function of its arguments alone."""
    text = f"{prompt}\n{seed}".encode("utf-8", "replace")
    rng = random.Random(int.from_bytes(hashlib.sha256(text).digest(), "big"))
    motif, light = _scene(prompt, rng)
    canvas = Canvas(Image.new("RGB", _work_size(size)), rng, light)
    MOTIFS[motif](canvas)
    image = _vignetted(canvas.image)
    return _grained(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC), rng)


def _vignetted(image: Image.Image) -> Image.Image:
    """Darken the corners by a third or so."""
    edge = _falloff(0.5).resize(image.size, Image.Resampling.BICUBIC, box=(64, 64, 192, 192))
    return ImageChops.multiply(image, Image.merge("RGB", [edge.point([150 + v * 105 // 255 for v in range(256)])] * 3))


def _grained(image: Image.Image, rng: random.Random) -> Image.Image:
    """Faint film grain, the same for all colours; it also hides the steps of the gradients."""
    dots = rng.randbytes(GRAIN_SIDE * GRAIN_SIDE)
    tile = Image.frombytes("L", (GRAIN_SIDE, GRAIN_SIDE), dots).point([v // 52 for v in range(256)])
    grain = Image.new("L", image.size)
    for y in range(0, image.height, GRAIN_SIDE):
        for x in range(0, image.width, GRAIN_SIDE):
            grain.paste(tile, (x, y))
    return ImageChops.add(image, Image.merge("RGB", [grain] * 3), 1, -2)


def _encoded(image: Image.Image, infotext: str, seed: "int | None" = None, chunk: str = "parameters") -> Picture:
    text, out = PngInfo(), io.BytesIO()
    if infotext:
        text.add_text(chunk, infotext)
    # Grain compresses badly: more effort costs three times the CPU and saves a twentieth.
    image.save(out, "PNG", pnginfo=text, compress_level=1)
    return Picture(out.getvalue(), image.width, image.height, seed, infotext)


class Forming:
    """The previews of one picture: coarse shapes under thick noise, finer ones under less, at last the picture."""

    def __init__(self, image: Image.Image, seed: int) -> None:
        scale = min(1.0, PREVIEW_SIDE / max(image.size))
        self.size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        self.image = image.resize(self.size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        self.seed = seed

    def at(self, share: float) -> Image.Image:
        """The preview when ``share`` (0.0 to 1.0) of the steps are done."""
        left = 1.0 - share
        coarse = self.image.filter(ImageFilter.GaussianBlur(max(self.size) / 9 * left**2)) if left else self.image
        return Image.blend(coarse, self._noise(), left**1.8)

    def jpeg(self, share: float) -> bytes:
        out = io.BytesIO()
        self.at(share).save(out, "JPEG", quality=80)
        return out.getvalue()

    def _noise(self) -> Image.Image:
        """Blotches of colour as wide as the cells of a latent, and fine noise on them."""
        rng, (width, height) = random.Random(self.seed), self.size
        grid = max(1, width // 8), max(1, height // 8)
        coarse = Image.frombytes("RGB", grid, rng.randbytes(grid[0] * grid[1] * 3)).resize(self.size)
        return Image.blend(coarse, Image.frombytes("RGB", self.size, rng.randbytes(width * height * 3)), 0.4)


# --- Requests --------------------------------------------------------------------------------------------------------


def _refused(reason: str) -> RequestRefused:
    return RequestRefused(reason=reason)


def _opened(text: object, where: str) -> Image.Image:
    """The picture in base64 (a ``data:`` prefix is fine) as RGB. Raises ``RequestRefused`` naming ``where``."""
    try:
        body = str(text).partition(",")[2] if str(text).startswith("data:") else str(text)
        image = Image.open(io.BytesIO(base64.b64decode("".join(body.split()), validate=True)))
        if image.width * image.height > MAX_PIXELS:
            raise _refused(f"{where} has {image.width}x{image.height} pixels; at most 64 megapixels are allowed")
        return _flattened(ImageOps.exif_transpose(image) or image)
    except RequestRefused:
        raise
    except Exception as error:  # the decoders of Pillow raise whatever a broken file brings about
        raise _refused(f"{where} is not a picture in base64") from error


def _flattened(image: Image.Image) -> Image.Image:
    """On white, as the WebUI does it."""
    if image.mode not in ("RGBA", "LA", "PA", "P"):
        return image.convert("RGB")
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), clear).convert("RGB")


def _text(payload: dict[str, Any], name: str, default: str = "") -> str:
    value = payload.get(name)
    return value if isinstance(value, str) and value else default


def _number(payload: dict[str, Any], name: str, default: float) -> float:
    value = payload.get(name)
    return float(default if value is None else value)


@dataclass(frozen=True)
class Plan:
    """One generation request, its defaults filled in and its seed drawn."""

    task: str
    payload: dict[str, Any]
    prompt: str
    negative: str
    seed: int
    first_size: Size  # what the infotext tells
    size: Size  # what comes out, larger with hires fix
    steps: int  # what the infotext tells
    samples: int  # steps that are taken, of all passes
    images: int
    sampler: str
    cfg: float
    strength: "float | None"

    @classmethod
    def of(cls, task: str, payload: dict[str, Any]) -> "Plan":
        sampling, seed = passes(task, payload), payload.get("seed")
        return cls(
            task=task,
            payload=payload,
            prompt=_text(payload, "prompt"),
            negative=_text(payload, "negative_prompt"),
            seed=random.SystemRandom().randrange(2**32) if seed is None or seed == -1 else int(seed),
            first_size=sampling[0][1],
            size=sampling[-1][1],
            steps=int(_number(payload, "steps", 50)),
            samples=sum(steps for steps, _ in sampling),
            images=images(payload),
            sampler=_text(payload, "sampler_name") or _text(payload, "sampler_index", "Euler"),
            cfg=_number(payload, "cfg_scale", 7.0),
            strength=_number(payload, "denoising_strength", 0.75) if task == "img2img" else None,
        )

    def seed_of(self, number: int) -> int:
        return (self.seed + number) & MAX_SEED

    def infotext(self, seed: int) -> str:
        """As the WebUI writes it into the PNG."""
        values = {
            "Steps": self.steps,
            "Sampler": self.sampler,
            "Schedule type": _text(self.payload, "scheduler") or None,
            "CFG scale": self.cfg,
            "Seed": seed,
            "Size": "{}x{}".format(*self.first_size),
            "Model": MODEL,
            "Denoising strength": self.strength,
            "Hires resize": "{}x{}".format(*self.size) if self.size != self.first_size else None,
        }
        line = ", ".join(f"{name}: {value}" for name, value in values.items() if value is not None)
        return "\n".join([self.prompt, *([f"Negative prompt: {self.negative}"] if self.negative else []), line])

    def picture(self, seed: int, number: int) -> Image.Image:
        image = paint(self.prompt, seed, self.size)
        return image if self.task != "img2img" else self._over_init(image, number)

    def _over_init(self, image: Image.Image, number: int) -> Image.Image:
        """The init image, recoloured and then overpainted, the more the larger ``denoising_strength``."""
        sources, strength = self.payload.get("init_images") or [], self.strength or 0.0
        if not sources:
            raise _refused("init_images holds no picture")
        at = number % len(sources)
        init = self._fitted(_opened(sources[at], f"init_images[{at}]"))
        out = Image.blend(init, Image.blend(ImageChops.soft_light(init, image), image, strength**2), strength)
        mask = self.payload.get("mask")
        return Image.composite(out, init, self._mask(mask)) if mask else out

    def _fitted(self, init: Image.Image) -> Image.Image:
        """``resize_mode``: 0 stretch, 1 crop, 2 and 3 fill."""
        mode = self.payload.get("resize_mode", 0)
        if mode == 1:
            return ImageOps.fit(init, self.size, Image.Resampling.LANCZOS)
        if mode == 2:
            backdrop = ImageOps.fit(init, self.size).filter(ImageFilter.GaussianBlur(12))
            inner = ImageOps.contain(init, self.size, Image.Resampling.LANCZOS)
            backdrop.paste(inner, ((self.size[0] - inner.width) // 2, (self.size[1] - inner.height) // 2))
            return backdrop
        return init.resize(self.size, Image.Resampling.LANCZOS)

    def _mask(self, text: object) -> Image.Image:
        """White is painted anew, unless ``inpainting_mask_invert``."""
        mask = _opened(text, "mask").convert("L").resize(self.size)
        mask = ImageOps.invert(mask) if self.payload.get("inpainting_mask_invert") else mask
        return mask.filter(ImageFilter.GaussianBlur(min(64.0, _number(self.payload, "mask_blur", 4))))

    def info(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """The WebUI's ``info``; its lists have one entry for each picture that was finished."""
        seeds = [picture.seed for picture in pictures]
        return {
            "prompt": self.prompt,
            "all_prompts": [self.prompt] * len(pictures),
            "negative_prompt": self.negative,
            "all_negative_prompts": [self.negative] * len(pictures),
            "seed": self.seed,
            "all_seeds": seeds,
            "subseed": self.seed,
            "all_subseeds": seeds,
            "subseed_strength": 0,
            "width": self.size[0],
            "height": self.size[1],
            "sampler_name": self.sampler,
            "cfg_scale": self.cfg,
            "steps": self.steps,
            "batch_size": self.payload.get("batch_size", 1),
            "restore_faces": False,
            "face_restoration_model": None,
            "sd_model_name": MODEL,
            "sd_model_hash": None,
            "denoising_strength": self.strength,
            "extra_generation_params": {},
            "index_of_first_image": 0,
            "infotexts": [picture.infotext for picture in pictures],
            "styles": self.payload.get("styles") or [],
            "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
            "clip_skip": 1,
            "is_using_inpainting_conditioning": False,
            "version": "demo",
        }

    def parameters(self) -> dict[str, Any]:
        """The request as it was run, without its pictures, as the WebUI answers it."""
        ran = {"prompt": self.prompt, "negative_prompt": self.negative, "seed": self.seed, "steps": self.steps,
               "width": self.first_size[0], "height": self.first_size[1], "cfg_scale": self.cfg,
               "sampler_name": self.sampler, "batch_size": 1, "n_iter": 1}  # fmt: skip
        dropped: dict[str, Any] = dict.fromkeys(("init_images", "mask")) if self.task == "img2img" else {}
        return {**ran, **self.payload, "seed": self.seed, **dropped}


class DemoPipeline:
    """Runs a request by painting. ``step_s`` is the time one step takes, in seconds."""

    name = "demo"
    tasks: tuple[str, ...] = ("txt2img", "img2img", "extras")

    def __init__(self, step_s: float = 0.05) -> None:
        self.step_s = step_s
        self._running: Progress | None = None

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """Raise ``InvalidRequest`` for a task or a sampler that does not exist."""
        if task not in self.tasks:
            raise invalid("task", msg=f"must be one of {', '.join(self.tasks)} for the demo pipeline, not {task!r}")
        for name in ("sampler_name", "sampler_index"):
            sampler = payload.get(name)
            if sampler and not _is_sampler(str(sampler)):
                raise invalid("payload", name, msg=f"must be one of {', '.join(SAMPLERS)}, not {sampler!r}")

    def run(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        """Paint what was asked for; after a cancellation the pictures finished so far.

        Raises ``RuntimeError`` for ``!fail`` in the prompt, ``RequestRefused`` for ``!refuse`` and unreadable pictures.
        """

        def seen(progress: Progress) -> None:
            self._running = progress
            on_progress(progress)

        _obey(_text(request.payload, "prompt"))
        self._running = Progress(0.0)
        try:
            return self._made(request, seen, cancelled)
        finally:
            self._running = None

    def _made(self, request: Request, on_progress: Callable[[Progress], None], cancelled: Cancellation) -> Result:
        if request.task == "extras":
            return self._upscale(request.payload, on_progress, cancelled)
        plan = Plan.of(request.task, request.payload)
        pictures: list[Picture] = []
        for number in range(plan.images):
            picture = self._sample(plan, number, on_progress, cancelled)
            if cancelled.is_set():
                break
            pictures += [picture] if picture else []
        return Result(tuple(pictures), plan.info(pictures), plan.parameters())

    def forward(self, method: str, path: str, _query: str, body: bytes, _headers: Any = None) -> tuple[int, str, bytes]:
        """What a WebUI with nothing but this demo would answer at ``/sdapi/v1/<path>``: status, content type, body."""
        status, said = demo_api.answer(method, path, body, SAMPLERS, self._running)
        return status, "application/json", json.dumps(said).encode()

    def busy(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def _sample(
        self, plan: Plan, number: int, on_progress: Callable[[Progress], None], cancelled: Cancellation
    ) -> "Picture | None":
        """One picture, or none when it was skipped or the attempt stopped."""
        seed = plan.seed_of(number)
        image = plan.picture(seed, number)
        if not self._steps(image, seed, plan.samples, (number, plan.images), on_progress, cancelled):
            return None
        return _encoded(image, plan.infotext(seed), seed)

    def _steps(
        self,
        image: Image.Image,
        seed: int,
        steps: int,
        place: tuple[int, int],
        on_progress: Callable[[Progress], None],
        cancelled: Cancellation,
    ) -> bool:
        """Let the picture form; false as soon as it is not wanted any more."""
        forming, (number, count) = Forming(image, seed), place
        for step in range(1, steps + 1):
            if cancelled.wait(self.step_s) or cancelled.take_skip():
                return False
            fraction = (number * steps + step) / (count * steps)
            preview = partial(forming.jpeg, step / steps)
            on_progress(Progress(fraction, step, steps, number + 1, count, preview))
        return not cancelled.is_set()

    def _upscale(
        self, payload: dict[str, Any], on_progress: Callable[[Progress], None], cancelled: Cancellation
    ) -> Result:
        source = _opened(payload.get("image"), "image")
        image, how = _enlarged(source, payload)
        if not self._steps(image, 0, EXTRAS_STEPS, (0, 1), on_progress, cancelled):
            return Result()
        size = f"{source.width}x{source.height} → {image.width}x{image.height}"
        parameters = {**payload, "image": None}
        picture = _encoded(image, f"{how}, Postprocess upscaler: Lanczos", chunk="postprocessing")
        return Result((picture,), {"html_info": f"<p>Upscaled by Lanczos: {size}</p>"}, parameters)


def _is_sampler(name: str) -> bool:
    """Older clients append the schedule: "DPM++ 2M Karras"."""
    known, plain = {sampler.lower() for sampler in SAMPLERS}, name.lower()
    return plain in known or any(plain.removesuffix(f" {schedule}") in known for schedule in SCHEDULES)


def _obey(prompt: str) -> None:
    """The two words that show what failures look like."""
    if "!refuse" in prompt:
        raise _refused("the prompt asked to be refused")
    if "!fail" in prompt:
        raise RuntimeError("the prompt asked for a failure")


def _enlarged(source: Image.Image, payload: dict[str, Any]) -> tuple[Image.Image, str]:
    """The enlarged picture and how it was done. Raises ``RequestRefused`` above 64 megapixels."""
    if payload.get("resize_mode") == 1:
        size = int(_number(payload, "upscaling_resize_w", 512)), int(_number(payload, "upscaling_resize_h", 512))
        fit = ImageOps.contain if payload.get("upscaling_crop") is False else ImageOps.fit
        return fit(source, size, Image.Resampling.LANCZOS), "Postprocess upscale to: {}x{}".format(*size)
    factor = _number(payload, "upscaling_resize", 2.0)
    size = max(1, round(source.width * factor)), max(1, round(source.height * factor))
    if size[0] * size[1] > MAX_PIXELS:
        raise _refused("upscaling_resize would make {}x{} pixels; at most 64 megapixels are allowed".format(*size))
    return source.resize(size, Image.Resampling.LANCZOS), f"Postprocess upscale by: {factor:g}"
