from ocr_assets.markdown_table import MOST_CHARACTERS, markdown_table


def test_a_table_shows_text_as_it_is_and_numbers_to_the_right() -> None:
    rows = [("a|b`c", 0.0614, 12), ("<b>\n", None, 3)]
    assert markdown_table(("sample", "ratio", "videos"), rows).splitlines() == [
        "| sample | ratio | videos |",
        "|:--|--:|--:|",
        "| a&#124;b&#96;c | 0.0614 | 12 |",
        r"| \<b\>\\n | \- | 3 |",
    ]


def test_a_table_without_rows_says_so() -> None:
    assert markdown_table(("sample",), []) == "none"


def test_what_is_long_is_cut_short_as_it_is_seen() -> None:
    table = markdown_table(("sample",), [("\u202e" * 1000,), ("a" * MOST_CHARACTERS,)])
    turned, whole = table.splitlines()[2:]
    assert turned.replace("\\\\", "\\") == "| " + ("\\u202e" * 40)[:MOST_CHARACTERS] + r"\.\.\. |"
    assert whole == f"| {'a' * MOST_CHARACTERS} |"
