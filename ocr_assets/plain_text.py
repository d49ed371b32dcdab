r"""Text of others, such as file names, where it could be taken for more than text.

```python
printable("a\x1b[2J\u202e.mp4")  # 'a\\x1b[2J\\u202e.mp4'
markdown_text("<b>|www.a.org")  # r'\<b\>&#124;www`.`a\.org'
```
"""

import re
import string

# GitHub's Markdown, which Dagster's pages are in, makes links of these though they are escaped.
# Where one of their characters is a piece of code, it does not recognise them.
_LINKED = re.compile(r"(?:(?<=www)\.|:(?=//)|@)+", re.IGNORECASE)
# A backslash keeps neither a bar from ending a table's cell, where another one is before it, nor a
# backtick from being counted among those that follow it.
_ESCAPED = {ord(sign): f"\\{sign}" for sign in string.punctuation} | {
    ord(sign): f"&#{ord(sign)};" for sign in "|`"
}


def printable(text: str) -> str:
    r"""The text on one line, with escapes (`\n`, `\x1b`, `\u202e`) for what is not seen as it is.

    That is all that Python counts as not printable: control characters and line breaks, which
    terminals obey, format characters, which turn the direction of what follows, lone surrogates,
    and spaces that are not the usual one.
    """
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def markdown_text(text: str) -> str:
    """Markdown that shows `printable(text)` as it is, in paragraphs, lists and cells of tables."""
    plain = printable(text)
    inner = plain.strip(" ")
    before = len(plain) - len(plain.lstrip(" "))
    after = len(plain) - before - len(inner)
    pieces, begin = [], 0
    for linked in _LINKED.finditer(inner):
        pieces += [inner[begin : linked.start()].translate(_ESCAPED), f"`{linked[0]}`"]
        begin = linked.end()
    pieces.append(inner[begin:].translate(_ESCAPED))
    # Spaces at the ends would be taken for the layout's.
    return "&#32;" * before + "".join(pieces) + "&#32;" * after


def code_span(text: str) -> str:
    """`printable(text)` as a piece of code: Markdown obeys nothing in it, and terminals show it so.

    A backtick, which would end it, becomes an apostrophe.
    """
    return f"`{printable(text).replace('`', chr(39))}`"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
