"""What the code says in English, in other languages: known there, whole, and told to who reads them."""

import re
from pathlib import Path

import pytest

from queue_ext.errors import InvalidRequest, JobNotFound, StorageUnavailable, invalid
from queue_ext.sentences import PHRASES, SENTENCES, STATES, told, translated

ROOT = Path(__file__).parent.parent / "queue_ext"
PLACE = r"{(\w+)}"


@pytest.fixture(scope="module")
def code() -> str:
    """All that the code says, without what quotes and line ends do to it."""
    files = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "sentences.py"]
    text = "".join(path.read_text(encoding="utf-8").replace('\\"', '"') for path in files)
    return text + text.replace("_", " ")


def known(lang: str) -> dict[str, str]:
    return {**SENTENCES[lang], **PHRASES[lang], **STATES[lang]}


@pytest.mark.parametrize("lang", SENTENCES)
def test_every_sentence_is_one_the_code_says(lang: str, code: str) -> None:
    """Else a sentence that was worded anew would stay English, and nobody would see it."""
    gone = [
        sentence
        for sentence in known(lang)
        if not all(part.strip() in code for part in re.split(r"{\w+}|; ", sentence) if len(part.strip()) > 3)
    ]
    assert not gone


@pytest.mark.parametrize("lang", SENTENCES)
def test_every_translation_says_what_its_sentence_puts_in(lang: str) -> None:
    for sentence, translation in known(lang).items():
        assert sorted(re.findall(PLACE, sentence)) == sorted(re.findall(PLACE, translation)), sentence
        assert sentence.isascii() and (not translation.isascii() or sentence in PHRASES[lang]), sentence


@pytest.mark.parametrize(
    ("sentence", "chinese"),
    [
        ("must be an integer from 16 to 8192, not 0", "必须是 16 到 8192 的整数，而不是 0"),
        ("must be an integer from 1 to 1000, not a text of 100 characters", "必须是 1 到 1000 的整数，而不是 100 个字符的文本"),
        ("must be a sampler of this WebUI, not 'Eulr'; nearest: Euler, Euler a",
         "必须是此 WebUI 的采样器，而不是 'Eulr'；最接近的：Euler, Euler a"),
        ("is not a known field; did you mean priority?", "不是已知的字段；是否指 priority？"),
        ("the minute '61' is not one; allowed are 0 to 59", "分钟 '61' 无效；允许 0 到 59"),
        ("cancelled by its owner", "由其所有者取消"),
        ("must be one of {braces}", "必须是以下之一：{braces}"),
        ("must be txt2img, img2img, extras or ui:<elem_id>", "必须是 txt2img、img2img、extras 或 ui:<elem_id>"),
        ("must be an integer from 1 to 1000, not a list of 0", "必须是 1 到 1000 的整数，而不是含 0 项的列表"),
        ("must be a list of 1 to 1000 requests, not 0", "必须是含 1 到 1000 个请求的列表，而不是 0 个"),
        ("the weekday '8' is not one; allowed are 0 to 7 and names such as mon", "星期 '8' 无效；允许 0 到 7 和名称，例如 mon"),
        ("must be one of scheduled, failed", "必须是以下之一：scheduled, failed"),
        ("must be a checkpoint of this WebUI, not 'dog or cat, 2'", "必须是此 WebUI 的模型，而不是 'dog or cat, 2'"),
        ("Job x is succeeded; this needs it to be scheduled or enqueued.", "任务 x 的状态是完成；此操作要求其状态为已计划或等待中。"),
        ("显存 不足, or not", "显存 不足, or not"),
        ("out of memory, or not", "out of memory, or not"),
        ("CUDA error: device-side assert triggered", "CUDA error: device-side assert triggered"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_sentence_is_translated_with_what_it_puts_in(sentence: str, chinese: str) -> None:
    assert translated("zh", sentence) == chinese
    assert translated("en", sentence) == sentence
    assert translated("fr", sentence) == sentence


def test_whatever_somebody_writes_is_looked_through_without_trouble() -> None:
    for strange in (
        "must be " + "a, " * 160,
        "must be " + "a or " * 90,
        "a of " * 99,
        "must be a, not " * 30,
        "must be " + "a, " * 9000,
    ):
        assert "a" in translated("zh", strange)


def test_an_error_is_told_whole_in_the_language() -> None:
    error = invalid("payload", "width", msg="must be an integer from 16 to 8192, not 0")
    assert told("zh", error) == (
        "payload.width: 必须是 16 到 8192 的整数，而不是 0",
        [{"loc": ["payload", "width"], "msg": "必须是 16 到 8192 的整数，而不是 0"}],
    )
    assert told("en", error) == (error.detail, error.errors)
    assert told("zh", JobNotFound(job_id="abc"))[0] == "任务 abc 不存在。"
    full = StorageUnavailable(reason="the disk is full")
    assert told("zh", full)[0] == "队列目前无法保存：磁盘已满。没有任何更改；请稍后重试。"
    many = InvalidRequest([{"loc": ["name", n], "msg": "must not be null"} for n in range(9)])
    assert told("zh", many)[0].count("不能为 null") == 5 and len(told("zh", many)[1]) == 9
