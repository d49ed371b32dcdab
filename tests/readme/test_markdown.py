"""How README is taken apart."""

import pytest

from tests.readme.markdown import Block, anchors, blocks, code_spans, links, prose, tables

PAGE = """# A `page`, of course

See [this](#a-page-of-course "title"), ![that](a%20b.png) and <https://example.org>; `[not](this)`,
nor `what stands
in two lines`. <a href="c.md">There</a>.

````text
```bash
# no heading
````

```bash
ls
```

## Twice
| a | b \\| c |
|---|---|
| 1 | 2 |

## Twice
"""


def test_blocks_are_found_with_their_language_and_line() -> None:
    assert blocks(PAGE) == [
        Block("text", "```bash\n# no heading\n", 7),
        Block("bash", "ls\n", 12),
    ]
    assert "ls" not in prose(PAGE)
    with pytest.raises(ValueError, match="line 1 has no end"):
        blocks("```bash\nls\n")


def test_headings_links_code_and_tables_are_found() -> None:
    assert anchors(PAGE) == {"a-page-of-course", "twice", "twice-1"}
    assert set(links(PAGE)) == {"#a-page-of-course", "a%20b.png", "https://example.org", "c.md"}
    assert code_spans(PAGE) == ["page", "[not](this)", "what stands in two lines"]
    (table,) = tables(PAGE)
    assert (table.head, table.rows) == (("a", "b \\| c"), (("1", "2"),))
