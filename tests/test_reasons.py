"""The vocabulary of reasons and what README says of it."""

import re
from pathlib import Path

from ocr_assets.reasons import DropReason, Status


def test_readme_explains_every_reason_with_its_meaning() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    table = readme.partition("**Reasons.**")[2].partition("**")[0]
    explained = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    assert explained.pop("ok").startswith(Status.OK.meaning)
    assert explained == {one.value: one.meaning for one in Status if one != Status.OK}
    assert {*DropReason} <= {*re.findall(r"`(\w+)`", table)}
