"""Emails from one Markdown source for the tests, and values that could upset them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from commcast.model.incident import Channel
from commcast.rendering.render import EmailContent, Renderer
from commcast.rendering.templates import Wording

PAGE = "<i>{{ preheader }}</i><b>{{ label }}</b><main>{{ body }}</main><footer>{{ foot }}</footer>"
LINK = "https://a.example/"


def mail(body: str, page: str = PAGE, *, subject: str = "Subject: s", **values: Any) -> EmailContent:
    """Return the email that a template makes; `reader` are the reader's values, all others the context's."""
    reader = values.pop("reader", {})
    source = f"{subject}\n\n{body}" if subject else body
    sources = {"user:t.md.j2": source, "user:layout.html.j2": page}
    wording = Wording(Channel.EMAIL, "user:t.md.j2", "user:layout.html.j2", "user", sources)
    return Renderer(wording).email(values, reader)


def message(body: str, **values: Any) -> tuple[str, str]:
    """Return (text, HTML) of what a body makes."""
    made = mail(body, "<main>{{ body }}</main>{{ foot }}", **values)
    return made.text.removesuffix("\n"), made.html.strip().removeprefix("<main>").removesuffix(
        "</main>"
    ).strip()


class Seen(HTMLParser):
    """The tags of a page, and the words that are seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A span, and a dir, only say on which side words begin.
        attrs = [("dir", "auto") if each == ("dir", "rtl") else each for each in attrs]
        if tag == "br":  # between a value's lines
            self.words += " "
        elif tag != "span" or attrs != [("dir", "auto")]:
            self.tags.append(f"{tag} {[each for each in attrs if each[0] != 'href']}")
            self.words += "" if tag in ("a", "strong", "em") else " "

    def handle_endtag(self, tag: str) -> None:
        if tag != "span":
            self.tags.append(f"/{tag}")
            self.words += "" if tag in ("a", "strong", "em") else " "

    def handle_data(self, data: str) -> None:
        self.words += data


# Each line is a value: Markdown, HTML, references, other directions, private-use characters of both planes.
HOSTILE = (
    *(
        "*",
        "**",
        "**a**",
        "_a_",
        "`",
        "```",
        "# a",
        "> a",
        "- a",
        "1. a",
        "---",
        "===",
        "[a](b)",
        "](x)",
        "![a](b)",
    ),
    *(
        "<b>",
        "</p>",
        "<script>x</script>",
        "-->",
        "<!--",
        "&amp;",
        "&#42;",
        "&",
        "\\",
        "\\*",
        "<https://a.b>",
    ),
    *(
        "a\nb",
        "a\n\nb",
        "a\n- b",
        "\n> a\n",
        "a\r\nb",
        "a  \nb",
        "a\n---",
        "a\n===",
        " a ",
        "\ta",
        "    a",
        "",
        " ",
    ),
    *(
        "\U00100000",
        "\U001007d0",
        "\U0010ffff",
        "\U000f0000",
        "a\U00100001b",
        "\U000f0001\U00100002",
        "\ue000",
    ),
    *(
        "שלום",
        "مرحبا\nabc",
        "abc שלום",
        "\u200f",
        "\u2067a",
        "é😀",
        "{{ x }}",
        "{% if %}",
        "Subject: x",
        "|",
        "~",
    ),
    *(
        "{{ body }}",
        "https://a.example",
        "javascript:x",
        "22. November",
        "5*3*2",
        "'",
        '"',
        "\u00a0",
        "…",
        "a" * 999,
    ),
)
