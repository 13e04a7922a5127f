"""The sentences a person reads, in one place. A language is one more dictionary; English fills its gaps."""

import re

ENGLISH = {
    "next": "Submitted. Yours is next.",
    "ahead_one": "Submitted. 1 job is ahead of yours.",
    "ahead": "Submitted. {ahead} jobs are ahead of yours.",
    "eta": "about {eta}",
    "paused": "The queue {queue} is paused: nothing in it starts until it is resumed.",
    "unserved": "No worker serves the queue {queue} now: nothing in it starts until one does.",
    "scheduled": "Your job starts at {time} at the earliest.",
    "retry": "Attempt {attempt} failed; the next one starts at {time}.",
    "awaiting": "Your job waits for other jobs to finish.",
    "processing": "Your job is running.",
    "cancelling": "Your job is being cancelled.",
    "succeeded": "Your job is done.",
    "failed": "Your job failed: {reason}",
    "deleted": "Your job has ended: {reason}",
    "deleted_plain": "Your job was cancelled.",
    "capture_not_started": "The queue has not started yet; try again in a moment.",
    "capture_broken": "This could not be queued; the WebUI's log says why.",
    "capture_front": "Enqueueing at the front",
    "capture_inexpressible": "holds {what}; a queue cannot keep that",
    "capture_large": "a file larger than {limit} MB (setting max_payload_mb)",
}
CHINESE = {
    "next": "已提交，您的任务是下一个。",
    "ahead_one": "已提交，前面还有 1 个任务。",
    "ahead": "已提交，前面还有 {ahead} 个任务。",
    "eta": "约 {eta}",
    "paused": "队列 {queue} 已暂停，恢复之前其中的任务不会开始。",
    "unserved": "目前没有工作进程服务队列 {queue}，其中的任务暂时不会开始。",
    "scheduled": "您的任务最早将于 {time} 开始。",
    "retry": "第 {attempt} 次尝试失败，下一次将于 {time} 开始。",
    "awaiting": "您的任务正在等待其他任务完成。",
    "processing": "您的任务正在运行。",
    "cancelling": "正在取消您的任务。",
    "succeeded": "您的任务已完成。",
    "failed": "您的任务失败：{reason}",
    "deleted": "您的任务已结束：{reason}",
    "deleted_plain": "您的任务已取消。",
    "capture_not_started": "队列尚未启动，请稍后再试。",
    "capture_broken": "未能加入队列，原因见 WebUI 日志。",
    "capture_front": "插到队首",
    "capture_inexpressible": "包含无法保存到队列的内容：{what}",
    "capture_large": "大于 {limit} MB 的文件（设置 max_payload_mb）",
}
LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def language(accept: str | None) -> str:
    """The best language we have for an ``Accept-Language`` header."""
    wanted = []
    for part in (accept or "").split(","):
        found = re.fullmatch(r"\s*([A-Za-z]+)(?:-[\w-]+)?\s*(?:;\s*q=([01](?:\.\d+)?))?\s*", part)
        if found:
            wanted.append((float(found[2] or 1), found[1].lower()))
    wanted.sort(key=lambda item: -item[0])
    return next((name for quality, name in wanted if quality > 0 and name in LANGUAGES), "en")


def say(lang: str, key: str, **values: object) -> str:
    """The sentence ``key`` in a language."""
    return (LANGUAGES.get(lang, ENGLISH).get(key) or ENGLISH[key]).format(**values)
