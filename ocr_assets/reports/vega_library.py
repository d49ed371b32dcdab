"""Vega, as JavaScript that a page can hold."""

import contextlib
import functools
import hashlib
from importlib import metadata
from pathlib import Path

import platformdirs

from ocr_assets.tables.replace_file import replace_file

SNIPPET = "window.vegaEmbed = vegaEmbed;"


@functools.cache
def vega_library() -> str:
    """Vega with Vega-Embed as the global `vegaEmbed`, 0.9 MB.

    vl-convert puts it together in two seconds of a core; so it is kept in the user's cache, for
    the next process, after the digest that tells whether it is whole.
    """
    kept = _kept()
    with contextlib.suppress(OSError, UnicodeDecodeError):  # not there yet, or not to be read
        digest, _, library = kept.read_text("utf-8").partition("\n")
        if digest == _digest(library):
            return library
    library = _bundled()
    with contextlib.suppress(OSError), replace_file(kept) as file:  # a service may have no cache
        file.write(f"{_digest(library)}\n{library}")
    return library


def _kept() -> Path:
    made_of = f"{metadata.version('vl-convert-python')} {SNIPPET}"
    return platformdirs.user_cache_path("ocr_assets") / f"vega-embed-{_digest(made_of)[:16]}.js"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _bundled() -> str:
    import vl_convert

    library: str = vl_convert.javascript_bundle(SNIPPET)
    return library.replace("</script", "<\\/script")
