"""The tables of settings in README, made from the fields themselves.

    python -m tests.readme.settings_tables --write

writes them anew between their marks, `<!-- settings -->` and `<!-- end of settings -->`.
"""

import argparse
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from ocr_assets.gpu.sizes import GIB, MIB
from tests.configs import Config, op_configs, resource_configs
from tests.readme.markdown import README

BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"
MARKED = re.compile(f"(?<={BEGIN}).*?(?={END})", re.DOTALL)

BOUNDS = re.compile(r" (?:From|Above) [\d .e+-]+ to [\d .e+-]+\.$")
# Words of names and descriptions, and the units they tell of; the first one counts, and names do
# before descriptions.
UNITS = {
    "seconds": "seconds",
    "bytes": "bytes",
    "days": "days",
    "score": "score",
    "pixels": "pixels",
    "frames": "frames",
    "streams": "streams",
    "cores": "cores",
    "readers": "readers",
    "processes": "processes",
    "share": "share",
    "tries": "tries",
    "detectors": "detectors",
    "steps": "steps",
    "units": "units of work",
    "box heights": "box heights",
    "scale": "factor",
    "slope": "slope",
}
FIRST_UNIT = re.compile(rf"\b(?:{'|'.join(UNITS)})\b")
DAY = 86_400


def rendered() -> str:
    """All tables, those of assets after those of resources."""
    parts = [_part(f"resource `{name}`", kind) for name, kind in resource_configs().items()]
    parts += [_part(f"asset `{name}`", kind) for name, kind in op_configs().items()]
    return "\n".join(parts)


def unit(name: str, field: FieldInfo) -> str | None:
    """What a number counts, by its name or else its description; None if neither says it."""
    if not kinds(field) & {int, float}:
        return ""
    in_name = [UNITS[word] for word in name.split("_") if word in UNITS]
    in_text = FIRST_UNIT.search((field.description or "").lower())
    return in_name[0] if in_name else in_text and UNITS[in_text[0]]


def kinds(field: FieldInfo) -> set[Any]:
    """The types that a field may have, `Literal` as itself."""
    kind = field.annotation
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return set(typing.get_args(kind)) if union else {typing.get_origin(kind) or kind}


def bounds(field: FieldInfo) -> tuple[float, float, bool] | None:
    """The least and the greatest number, and whether it has to be above the least; None: neither.

    Raises:
        KeyError: There is but one of them.
    """
    limits = {type(one).__name__: one for one in field.metadata}
    above = "Gt" in limits
    if not limits.keys() & {"Gt", "Ge", "Lt", "Le"}:
        return None
    return (limits["Gt"].gt if above else limits["Ge"].ge), limits["Le"].le, above


def meaning(field: FieldInfo) -> str:
    """The description without the bounds."""
    return BOUNDS.sub("", field.description or "")


def _part(title: str, kind: Config) -> str:
    about = (inspect.getdoc(kind) or "").splitlines()[0]
    shown = re.sub(r"`([^`]*)`", r"<code>\1</code>", f"{title}: {about}")
    rows = "\n".join(f"| {' | '.join(row)} |" for row in _rows(kind))
    return (
        f"<details>\n<summary>{shown}</summary>\n\n"
        f"| setting | meaning | unit | default | values |\n|---|---|---|---|---|\n{rows}\n\n"
        "</details>\n"
    )


def _rows(kind: Config) -> Iterator[tuple[str, ...]]:
    for name, field in kind.model_fields.items():
        about_unit = unit(name, field) or ""
        text = meaning(field).replace("|", "\\|")
        yield (
            f"`{name}`",
            text,
            about_unit,
            _default(field.default, about_unit),
            _values(field, about_unit),
        )


def _default(value: Any, about_unit: str) -> str:
    text = f"`{_plain(value)}`"
    if about_unit not in ("bytes", "seconds") or value is None:
        return text
    said = _quantity(value, about_unit)
    return f"{text}, {said}" if said[-1].isalpha() else text


def _values(field: FieldInfo, about_unit: str) -> str:
    limits = bounds(field)
    if limits is not None:
        low, high, above = limits
        least = f"{'above ' if above else ''}{_quantity(low, about_unit)}"
        text = f"{least} to {_quantity(high, about_unit)}"
    elif typing.Literal in kinds(field):
        text = ", ".join(f"`{choice}`" for choice in typing.get_args(field.annotation))
    else:
        names = {bool: "`true`, `false`", str: "text", list: "list of texts", dict: "texts by name"}
        text = ", ".join(names[kind] for kind in kinds(field) - {type(None)})
    return f"{text}, or null" if type(None) in kinds(field) else text


def _plain(value: Any) -> str:
    """A value as it stands in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _quantity(value: Any, about_unit: str) -> str:
    """A number as people say it."""
    if about_unit == "bytes" and value and value % MIB == 0:
        return f"{value // GIB} GiB" if value % GIB == 0 else f"{value // MIB} MiB"
    if about_unit == "seconds" and value and value % DAY == 0:
        return "1 day" if value == DAY else f"{value // DAY:.0f} days"
    return f"{value:_}".replace("_", " ") if isinstance(value, int) else f"{value:g}"


def main() -> int:
    """Prints the tables, or writes them into README."""
    parser = argparse.ArgumentParser(prog="python -m tests.readme.settings_tables")
    parser.add_argument("--write", action="store_true", help="write them into README.md")
    if parser.parse_args().write:
        README.write_text(MARKED.sub(lambda _: rendered(), README.read_text()))
    else:
        print(rendered())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
