"""What the queue says of errors and states, in other languages: each English sentence as it is written where it is said.

The sentences stay English in the code, the log and the database; a door translates them for who reads them. A language
is one more dictionary: a sentence of the code, with ``{names}`` where it puts something in, and the same in the language.
What is put in is looked up in its turn, so that "must be {what}" needs to be there only once.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from .errors import QueueExtError, summary

LONGEST = 500  # characters; what is longer holds much that is not ours, and would take long to look through
PLACE = re.compile(r"{(\w+)}")
IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")
LETTER = re.compile(r"[A-Za-z0-9'\"/]")
Patterns = list[tuple["re.Pattern[str]", str]]

CHINESE = {
    # what a field must be
    "must be {what}, not {value}; nearest: {names}": "必须是{what}，而不是 {value}；最接近的：{names}",
    "must be {what}, not {value}; there are {names}": "必须是{what}，而不是 {value}；可用的有：{names}",
    "must be at least {low}": "不能小于 {low}",
    "must be at most {high}": "不能大于 {high}",
    "must be at most {limit} ids": "至多 {limit} 个 id",
    "must be a list of 1 to {limit} requests, not {count}": "必须是含 1 到 {limit} 个请求的列表，而不是 {count} 个",
    "must be the next_cursor of a list in the same order": "必须是同样排序的列表给出的 next_cursor",
    "must be the name of a queue": "必须是队列的名称",
    "must be the id of a job": "必须是任务的 id",
    "must be the cursor or seq of an earlier message, a whole number": "必须是先前消息的 cursor 或 seq（整数）",
    "must be nested at most {limit} levels deep": "嵌套不能超过 {limit} 层",
    "is nested more than {limit} levels deep": "嵌套超过 {limit} 层",
    "must go to a host that the administrator allows (setting webhook_hosts)": "必须发往管理员允许的主机（设置 webhook_hosts）",
    "must not go to a private address (setting webhook_private)": "不能发往内网地址（设置 webhook_private）",
    "must begin with https:// or http:// and name a host": "必须以 https:// 或 http:// 开头并包含主机名",
    "must hold no user name, password or fragment": "不能包含用户名、密码或片段",
    'must be JSON, sent with the header "Content-Type: application/json"': "必须是 JSON，并带有请求头 Content-Type: application/json",
    'give exactly one of "to" (front or back), "before" or "after" (a job id)':
        "to（front 或 back）、before、after（任务 id）必须且只能给出一个",
    'give either "ids" or "filter"': "ids 和 filter 必须且只能给出一个",
    "is needed to {action}": "执行 {action} 时必填",
    "would be more than {limit} for a job": "每个任务不能超过 {limit} 个",
    "job {job_id} does not exist": "任务 {job_id} 不存在",
    "a job it names did not end as {state} and never will": "所指的任务没有、也不会以 {state} 结束",
    "{number} is not the number of a request before this one in the same batch": "{number} 不是同一批中此前请求的编号",
    "has no meaning in a schedule": "在计划中没有意义",
    "{pipeline} cannot run {task}; it runs {names}": "{pipeline} 不能运行 {task}；它能运行 {names}",
    "is not a known parameter; there are none here": "不是已知的参数；此处没有参数",
    "must be {what}, not {value}": "必须是{what}，而不是 {value}",
    "must be {what}; not {value}": "必须是{what}；而不是 {value}",
    "must be {what}; it is missing": "必须是{what}；此项缺失",
    "must be {what}": "必须是{what}",
    "must not be null": "不能为 null",
    "is required": "必填",
    "is not a known field": "不是已知的字段",
    "is not a known field; did you mean {name}?": "不是已知的字段；是否指 {name}？",
    "is not a known field; known are {names}": "不是已知的字段；已知的有：{names}",
    "is not a known parameter; known are {names}": "不是已知的参数；已知的有：{names}",
    "is not an always-on script of this WebUI": "不是此 WebUI 的常驻脚本",
    "is not a setting of this WebUI": "不是此 WebUI 的设置",
    "may not be set by a request in this WebUI": "在此 WebUI 中不能由请求设置",
    "is a button this page does not have (any more): {name}": "此页面没有（或不再有）这个按钮：{name}",
    "choose at least one": "请至少选择一个",
    # pictures
    "is an address; send the picture itself as base64, or upload it first": "是一个网址；请以 base64 发送图片本身，或先上传",
    "is not a whole form": "不是完整的表单",
    "is a data: URL without base64": "是不含 base64 的 data: URL",
    "is not valid base64": "不是有效的 base64",
    "is not a picture, or is damaged; allowed are {names}": "不是图片，或已损坏；允许的格式：{names}",
    "is {size}; a picture may have {limit} megapixels": "为 {size}；图片最多 {limit} 百万像素",
    "is too large; a picture may have {limit} megapixels": "太大；图片最多 {limit} 百万像素",
    "is not an upload of yours, or has expired; send it to POST /uploads again":
        "不是您上传的图片，或已过期；请重新上传到 POST /uploads",
    # time
    "must name its offset from UTC, such as {example}": "必须注明与 UTC 的偏移，例如 {example}",
    "must lie between the years 1970 and 9999 (UTC)": "必须在 1970 年到 9999 年之间（UTC）",
    "give only one of run_at, delay_s and after": "run_at、delay_s 和 after 只能给出一个",
    "never comes: there is no such date; allowed are {what}": "永远不会到来：没有这样的日期；允许的是{what}",
    "the {field} {value} is not understood; allowed are {what}": "{field} {value} 无法理解；允许的是{what}",
    "the {field} {value} ends before it begins": "{field} {value} 的终点在起点之前",
    "the {field} {value} is not one; allowed are {what}": "{field} {value} 无效；允许{what}",
    "{zone} is not a known time zone; allowed are IANA names such as {example}":
        "{zone} 不是已知的时区；请用 IANA 名称，例如 {example}",
    "leaves no run: the next would be at {time}": "不会再运行：下一次本应在 {time}",
    # errors
    "Job {job_id} does not exist.": "任务 {job_id} 不存在。",
    "Queue {queue} does not exist.": "队列 {queue} 不存在。",
    "Schedule {schedule_id} does not exist.": "计划 {schedule_id} 不存在。",
    "Job {job_id} has no picture {number}.": "任务 {job_id} 没有第 {number} 张图片。",
    "There is nothing at {path}; {docs} describes what there is.": "{path} 处没有内容；可用内容见 {docs}。",
    "Job {job_id} is {state}; this needs it to be {expected}.": "任务 {job_id} 的状态是 {state}；此操作要求其状态为 {expected}。",
    "Queue {queue} still holds {waiting} unfinished jobs; clear it first.": "队列 {queue} 还有 {waiting} 个未完成的任务；请先清空。",
    "Queue {queue} always exists and cannot be deleted.": "队列 {queue} 始终存在，不能删除。",
    "{action} is for {who} only.": "{action}：仅限{who}。",
    "Limit {limit} of {value} is reached; try again in {retry_after} s.":
        "已达到限制 {limit}（{value}）；请在 {retry_after} 秒后重试。",
    "The body is larger than {limit_mb} MB (setting max_payload_mb).": "请求大于 {limit_mb} MB（设置 max_payload_mb）。",
    "The queue cannot store this now: {reason}. Nothing was changed; try again later.":
        "队列目前无法保存：{reason}。没有任何更改；请稍后重试。",
    "{pipeline} is not reachable: {reason}. The job keeps waiting.": "无法连接 {pipeline}：{reason}。任务将继续等待。",
    "A filter failed at {moment}: {error}. Nothing was changed.": "过滤器在 {moment} 时失败：{error}。没有任何更改。",
    "{method} is not allowed here; allowed is {names}": "此处不允许 {method}；允许 {names}",
    "This token is not one of ours; get another from POST /v1/tokens.": "此令牌不是由本队列签发的；请通过 POST /v1/tokens 重新获取。",
    "the queue has a defect here; its log says more": "队列在此处有缺陷；详情见日志",
    # why a job is in its state
    "cancelled by its owner": "由其所有者取消",
    "cancelled by an admin": "由管理员取消",
    "cancelled by somebody else": "由他人取消",
    "cancelled while it ran": "运行时被取消",
    "cancelled while its worker was lost": "其工作进程丢失时被取消",
    "interrupted in the WebUI": "在 WebUI 中被中断",
    "its time has come": "时间已到",
    "waited too long": "等待过久",
    "requeued by hand": "手动重新排队",
    "put off": "已推迟",
    "brought forward": "已提前",
    "the process stopped": "进程已停止",
    "its worker was lost during attempt {attempt}": "第 {attempt} 次尝试期间其工作进程丢失",
    "the process died {crashes} times while it ran this job": "运行此任务时进程崩溃了 {crashes} 次",
    "the attempt took longer than {seconds} s": "此次尝试超过了 {seconds} 秒",
    # what became of a schedule's run
    "a run was left out: the one before it had not ended": "跳过了一次运行：上一次尚未结束",
    "{left} of {missed} runs that were missed were left out": "错过的 {missed} 次运行中有 {left} 次被跳过",
    "it has run {times} times, as it was to": "已按计划运行了 {times} 次",
}  # fmt: skip
CHINESE_PHRASES = {
    "an integer from {low} to {high}": "{low} 到 {high} 的整数",
    "an integer from {low} to {high}, or 0 for none": "{low} 到 {high} 的整数，或 0 表示不使用",
    "a whole number": "整数",
    "a whole number from {low} to {high}": "{low} 到 {high} 的整数",
    "a number from {low} to {high}": "{low} 到 {high} 的数",
    "a number from {low} to {high} (seconds)": "{low} 到 {high} 的数（秒）",
    "a number above 0, at most {high}": "大于 0 且不超过 {high} 的数",
    "a finite number": "有限的数",
    "at least {low}": "至少 {low}",
    "at most {high}": "至多 {high}",
    "a text of at most {limit} characters": "不超过 {limit} 个字符的文本",
    "text of {least} to {limit} characters": "{least} 到 {limit} 个字符的文本",
    "a text of {length} characters": "{length} 个字符的文本",
    "text": "文本",
    "true or false": "true 或 false",
    "an object": "对象",
    "an object of {length}": "含 {length} 项的对象",
    "a list": "列表",
    "a list of {length}": "含 {length} 项的列表",
    "a list of texts": "文本列表",
    "up to {limit} labels of 1 to 64 characters": "至多 {limit} 个标签，每个 1 到 64 个字符",
    "1 to 32 characters a-z, 0-9, _ or -": "1 到 32 个字符，只能用 a-z、0-9、_ 或 -",
    "Unicode text without NUL characters and lone surrogates": "不含 NUL 和孤立代理项的 Unicode 文本",
    "a picture: base64, a data: URL, or the id of an upload": "图片：base64、data: URL 或上传的 id",
    "a list of at least one picture: base64, a data: URL, or the id of an upload":
        "至少含一张图片的列表：base64、data: URL 或上传的 id",
    "such that the picture has at most 64 megapixels (8192x8192)": "使图片不超过 6400 万像素（8192x8192）的值",
    "such that no side becomes longer than {limit} pixels": "使任何一边都不超过 {limit} 像素的值",
    "at most {limit} pictures together with batch_size": "与 batch_size 相乘不超过 {limit} 张的数量",
    "a sampler of this WebUI": "此 WebUI 的采样器",
    "a scheduler of this WebUI": "此 WebUI 的调度器",
    "an upscaler of this WebUI": "此 WebUI 的放大算法",
    "a checkpoint of this WebUI": "此 WebUI 的模型",
    "a style of this WebUI": "此 WebUI 的预设样式",
    "a VAE of this WebUI": "此 WebUI 的 VAE",
    "a VAE or text encoder of this WebUI": "此 WebUI 的 VAE 或文本编码器",
    "a script of this WebUI": "此 WebUI 的脚本",
    "an ISO 8601 date and time with offset, such as {example}": "带时区偏移的 ISO 8601 日期时间，例如 {example}",
    "five fields: minute hour day month weekday (0 or 7 is Sunday), such as {example}, or a macro such as {macro}":
        "五个字段：分、时、日、月、星期（0 或 7 为星期日），例如 {example}，或宏，例如 {macro}",
    "minute": "分钟",
    "hour": "小时",
    "day": "日期",
    "month": "月份",
    "admins": "管理员",
    "Moving a job in a line it shares with others": "在与他人共用的队列中移动任务",
    "the disk is full": "磁盘已满",
    "the database is not reachable or refused the change": "数据库无法连接或拒绝了更改",
    "the disk has an I/O error": "磁盘读写出错",
    "the database is locked": "数据库被锁定",
    "a readonly database": "数据库只读",
    "the database file is missing": "数据库文件不存在",
    "the folder for pictures is missing": "图片文件夹不存在",
    "the folder for pictures is missing or cannot be written": "图片文件夹不存在或无法写入",
    "one of {names}": "以下之一：{names}",
    "names such as {name}": "名称，例如 {name}",
    "{low} to {high}": "{low} 到 {high}",
    "{low} to {high} and names such as {name}": "{low} 到 {high} 和名称，例如 {name}",
    "1 to {limit} job ids (in a batch also numbers of requests before it)": "1 到 {limit} 个任务 id（在一批中也可以是此前请求的编号）",
    "16 to 128 printable ASCII characters without spaces": "16 到 128 个可打印的 ASCII 字符，不含空格",
    "a picture: the raw body, or the field file of a form": "图片：请求体本身，或表单的 file 字段",
    "a picture itself: base64, a data: URL, or the id of an upload": "图片本身：base64、data: URL 或上传的 id",
    "an address to fetch": "要抓取的网址",
    "weekday": "星期",
}  # fmt: skip
CHINESE_LISTS = {"{first}, {second}": "{first}、{second}", "{first} or {second}": "{first} 或 {second}"}
CHINESE_STATES = {
    "waiting": "等待中",
    "running": "运行中",
    "scheduled": "已计划",
    "awaiting": "等待其他任务",
    "enqueued": "等待中",
    "processing": "运行中",
    "succeeded": "完成",
    "failed": "失败",
    "deleted": "已取消",
}
SENTENCES = {"zh": CHINESE}
PHRASES = {"zh": CHINESE_PHRASES}  # what is only ever put into a sentence
STATES = {"zh": CHINESE_STATES}  # and what stands for a state, where it is not what a request must say
STATE_PLACES = ("state", "expected")
LISTS = {"zh": CHINESE_LISTS}  # and of what the code lists itself, never of a name somebody chose
LISTED_PLACES = ("what", *STATE_PLACES)
PART_PLACES = ("first", "second")  # what a list is put in for, its parts are


def translated(lang: str, text: str) -> str:
    """A sentence of ours in a language; as it is where the language does not know it."""
    return _translated(lang, text, "") if lang in SENTENCES and len(text) <= LONGEST else text


def _translated(lang: str, text: str, place: str) -> str:
    """``place`` is the name of what it is put in for; none for a whole sentence."""
    for pattern, sentence in _patterns(lang, place):
        if found := pattern.fullmatch(text):
            put_in = {
                name: _translated(lang, put, place if name in PART_PLACES else name)
                for name, put in found.groupdict().items()
            }
            return _filled(sentence, put_in)
    return text


def _filled(sentence: str, put_in: Mapping[str, str]) -> str:
    said = ""
    for index, part in enumerate(PLACE.split(sentence)):
        said = _joined(said, put_in[part] if index % 2 else part)
    return said


def _joined(left: str, right: str) -> str:
    """Chinese has a space beside what is written in other letters, and nowhere else."""
    ends, begins = left.rstrip(" ")[-1:], right.lstrip(" ")[:1]
    if IDEOGRAPH.match(ends) and IDEOGRAPH.match(begins):
        return left.rstrip(" ") + right.lstrip(" ")
    apart = (IDEOGRAPH.match(ends) and LETTER.match(begins)) or (LETTER.match(ends) and IDEOGRAPH.match(begins))
    return left.rstrip(" ") + " " + right.lstrip(" ") if apart else left + right


def told(lang: str, error: QueueExtError) -> tuple[str, list[dict[str, Any]]]:
    """``detail`` and ``errors`` of an error in a language."""
    faults = [{**fault, "msg": translated(lang, fault["msg"])} for fault in error.errors]
    return summary(faults) if faults else translated(lang, error.detail), faults


@cache
def _patterns(lang: str, place: str) -> Patterns:
    """What says most of its sentence itself comes first."""
    known = dict(SENTENCES[lang])
    if place:
        known |= PHRASES[lang]
    if place in LISTED_PLACES:
        known |= LISTS[lang]
    if place in STATE_PLACES:
        known |= STATES[lang]
    ordered = sorted(known.items(), key=lambda item: -len(PLACE.sub("", item[0])))
    return [(_pattern(sentence), translation) for sentence, translation in ordered]


@cache  # each stands in the patterns of many places
def _pattern(sentence: str) -> "re.Pattern[str]":
    parts = PLACE.split(sentence)
    return re.compile(
        "".join(f"(?P<{part}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)), re.S
    )
