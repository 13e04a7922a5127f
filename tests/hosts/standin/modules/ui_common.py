"""Texts as HTML."""

import html


def plaintext_to_html(text, classname=None):
    lines = "<br>\n".join(html.escape(line) for line in (text or "").split("\n"))
    return f"<p class='{classname}'>{lines}</p>" if classname else f"<p>{lines}</p>"
