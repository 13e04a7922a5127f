"""The texts of the tab. A language is one file in ``static/texts``; the browser reads the same files."""

import json
from functools import lru_cache
from pathlib import Path

TEXTS = Path(__file__).parent / "static" / "texts"
MINUTE = 60  # seconds
EXACT = 300  # seconds; below it minutes are told with their tens of seconds


@lru_cache(maxsize=16)
def words(lang: str) -> dict[str, str]:
    """All texts of a language; English fills the gaps."""
    english = json.loads((TEXTS / "en.json").read_text("utf-8"))
    path = TEXTS / f"{lang}.json"
    return {**english, **json.loads(path.read_text("utf-8"))} if lang.isalpha() and path.is_file() else english


def say(lang: str, key: str, **values: object) -> str:
    """The text ``key``; with ``n`` the form for that number (``key.one``, ``key.other``)."""
    known = words(lang)
    plural = f"{key}.{'one' if values.get('n') == 1 else 'other'}"
    return known.get(plural, known.get(key, key)).format(**values)


def duration(lang: str, seconds: float) -> str:
    """Seconds as a person says them: "40 s", "3 min 20 s", "1 h 20 min"."""
    if seconds < MINUTE:
        return say(lang, "time.s", s=max(1, round(seconds)))
    tens = round(seconds / 10) * 10
    if tens < EXACT and tens % MINUTE:
        return say(lang, "time.min_s", min=tens // MINUTE, s=tens % MINUTE)
    minutes = round(seconds / MINUTE)
    if minutes < MINUTE:
        return say(lang, "time.min", min=minutes)
    return say(lang, "time.h", h=minutes // 60, min=minutes % 60)
