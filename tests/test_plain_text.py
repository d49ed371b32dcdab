import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ocr_assets.plain_text import code_span, markdown_text, printable

HOSTILE = (
    "<img src=x onerror=alert(1)>.mp4",
    "[x](javascript:alert(1))|a.mp4",
    "![](//evil.org/a.png)",
    "two\nlines\r\n.mp4",
    "\x1b[2J\x1b]0;title\x07.mp4",
    "gpj.\u202e4pm.exe",
    "`code`` and ~~more~~.mp4",
    "www.evil.org/a https://evil.org WWW.evil.org a.b@evil.org mailto:a@evil.org",
    "&lt;&#60;\\|\\\\| \\",
    "   # a heading   ",
    "1. a list",
    "- [ ] a task[^1]",
    "===",
    "\ud800\udfff\x00\x85\u2028",
)
# What Markdown means something by is rare among all characters.
texts = st.one_of(
    st.text(),
    st.text("<>[]()!|`*_~#&;:/@\\ \n\t.-+=1aw\u202e\x1b"),
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(["www.", "http://", "@", "|", "\\", "`", "a.b", " "])).map("".join),
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# Those that remark-gfm looks for in every piece of text when all else is done.
AUTOLINKS = (
    re.compile(r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", re.IGNORECASE),
    re.compile(r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)"),
)


def shown(inline: Token) -> str:
    """What a paragraph or a cell shows, if it is nothing but text and code, and has no links."""
    children: Sequence[Token] = inline.children or ()
    assert {child.type for child in children} <= {"text", "code_inline"}
    for child in children:
        if child.type == "text":
            assert not any(pattern.search(child.content) for pattern in AUTOLINKS)
    return "".join(child.content for child in children)


@given(texts)
@example("".join(HOSTILE))
def test_printable_text_is_one_line_of_characters_that_are_seen(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text).splitlines()) <= 1
    assert printable(text).encode("utf-8").decode() == printable(text)  # no surrogates


@given(texts.filter(str.isprintable))
def test_what_is_printable_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("two\nlines\r\t.mp4", r"two\nlines\r\t.mp4"),
        ("\x1b[2J\x9b2J", r"\x1b[2J\x9b2J"),
        ("a\u202eb\u2066c\u200b", r"a\u202eb\u2066c\u200b"),
        ("\ud800\u2028\U000e0001", r"\ud800\u2028\U000e0001"),
        ("straße 東京 שלום.mp4", "straße 東京 שלום.mp4"),
    ],
)
def test_what_is_not_seen_is_shown_by_its_escape(text: str, seen: str) -> None:
    assert printable(text) == seen


@given(texts)
@example("&#32;")
def test_markdown_shows_the_printable_text_and_nothing_else_in_a_paragraph(text: str) -> None:
    tokens = MARKDOWN.parse(markdown_text(text))
    if not text:
        assert tokens == []
        return
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert shown(tokens[1]) == printable(text)


@given(texts, texts)
def test_markdown_shows_the_printable_text_and_nothing_else_in_cells_of_a_table(
    first: str, second: str
) -> None:
    row = f"| {markdown_text(first)} | {markdown_text(second)} |"
    tokens = MARKDOWN.parse(f"| a | b |\n|---|---|\n{row}\n{row}\n\nafter")
    cells = [token for token in tokens if token.type == "inline"]
    wanted = ["a", "b", *[printable(first), printable(second)] * 2, "after"]
    assert [shown(cell) for cell in cells] == wanted


@given(texts.filter(str.strip))
def test_a_code_span_is_one_piece_of_code_with_the_printable_text(text: str) -> None:
    (paragraph,) = [token for token in MARKDOWN.parse(code_span(f"({text})")) if token.children]
    (code,) = paragraph.children or []
    assert (code.type, code.content) == ("code_inline", f"({printable(text)})".replace("`", "'"))
