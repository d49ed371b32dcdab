"""README.md, taken apart."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"

FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<language>.*)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
# As GitHub makes an anchor of a heading: letters, digits, hyphens and underscores stay.
NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
BARE_LINK = re.compile(r"<((?:https?|mailto):[^>\s]+)>")
HTML_LINK = re.compile(r"""(?:href|src|srcset)=["']([^"']+)["']""")
CELL_BORDER = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What is said of it after the fence; empty if nothing is.
        text: Its lines.
        line: The number of the fence's line, from 1.
    """

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Table:
    """A table: the cells of its head, and of every row under it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def blocks(markdown: str) -> list[Block]:
    """All fenced blocks, in order.

    Raises:
        ValueError: One is not closed.
    """
    return _taken_apart(markdown)[0]


def prose(markdown: str) -> str:
    """All that is in no fenced block."""
    return _taken_apart(markdown)[1]


def code_spans(markdown: str) -> list[str]:
    """What stands between single backticks, a line break as a space."""
    return [" ".join(found.split()) for found in CODE.findall(prose(markdown))]


def anchors(markdown: str) -> set[str]:
    """What `#...` can lead to."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(markdown)):
        anchor = NOT_IN_ANCHORS.sub("", heading.replace("`", "").lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(markdown: str) -> list[str]:
    """Where links and pictures lead, those in HTML included."""
    text = CODE.sub("", prose(markdown))
    return [link for pattern in (LINK, BARE_LINK, HTML_LINK) for link in pattern.findall(text)]


def tables(markdown: str) -> list[Table]:
    """All tables, in order."""
    found: list[list[tuple[str, ...]]] = [[]]
    for line in prose(markdown).splitlines():
        if line.startswith("|"):
            cells = CELL_BORDER.split(line.strip().removeprefix("|").removesuffix("|"))
            found[-1].append(tuple(cell.strip() for cell in cells))
        elif found[-1]:
            found.append([])
    return [Table(lines[0], tuple(lines[2:])) for lines in found if lines]


def _taken_apart(markdown: str) -> tuple[list[Block], str]:
    found: list[Block] = []
    outside: list[str] = []
    inside: list[str] = []
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(markdown.splitlines(), 1):
        fence = FENCE.fullmatch(line)
        if opened is None and fence:
            opened = (fence["fence"], fence["language"].strip(), number)
        elif opened is None:
            outside.append(line)
        elif fence and fence["fence"].startswith(opened[0]) and not fence["language"].strip():
            found.append(Block(opened[1], "".join(f"{one}\n" for one in inside), opened[2]))
            opened, inside = None, []
        else:
            inside.append(line)
    if opened is not None:
        raise ValueError(f"the block that begins in line {opened[2]} has no end")
    return found, "\n".join(outside)
