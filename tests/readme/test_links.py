"""Where README leads is there."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from tests.readme.markdown import CODE, PROJECT, README, anchors, links, tables

PACKAGE = PROJECT / "ocr_assets"
NOT_MENTIONED = {"__init__.py", "__pycache__", "py.typed"}


def layout() -> list[str]:
    """The paths in the table of folders; those after a row's first are beside it."""
    (table,) = [one for one in tables(README.read_text()) if one.head[0] == "folder"]
    found = []
    for first, *others in (CODE.findall(row[0]) for row in table.rows):
        found.append(first)
        found += [str(PurePosixPath(first).parent / other) for other in others]
    return found


def test_links_within_the_repository_lead_to_what_is_there() -> None:
    markdown = README.read_text()
    for link in links(markdown):
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT / unquote(path)).resolve() if path else README
        assert target.is_relative_to(PROJECT), f"{link} leads out of the repository"
        assert target.exists(), link
        if anchor:
            there = anchors(markdown if target == README else target.read_text())
            assert anchor in there, f"{link}: no such heading"


def test_links_elsewhere_are_https() -> None:
    for link in links(README.read_text()):
        address = urlsplit(link)
        if not address.scheme or address.hostname == "127.0.0.1":
            continue
        assert address.scheme == "https", link
        assert address.hostname, link
        assert "." in address.hostname, link


def test_sections_named_in_sentences_are_there() -> None:
    markdown = README.read_text()
    for section in re.findall(r"\bsee\s+\*([^*]+)\*", markdown):
        bold = f"**{section}.**" in markdown
        assert bold or section.lower().replace(" ", "-") in anchors(markdown), section


def test_the_table_of_folders_names_what_is_there() -> None:
    assert [path for path in layout() if not (PROJECT / path).exists()] == []


def test_the_table_of_folders_is_complete() -> None:
    named = {
        PurePosixPath(path).relative_to("ocr_assets").parts[0]
        for path in layout()
        if path.startswith("ocr_assets/")
    }
    there = {path.name for path in PACKAGE.iterdir()} - NOT_MENTIONED
    assert there - named == set()
