"""Vega, as JavaScript that a page can hold."""

import contextlib
import functools
from importlib import metadata
from pathlib import Path

import platformdirs

from ocr_assets.tables.replace_file import replace_file


@functools.cache
def vega_library() -> str:
    """Vega with Vega-Embed as the global `vegaEmbed`, 0.9 MB.

    vl-convert puts it together in two seconds of a core; so it is kept in the user's cache, for
    the next process.
    """
    kept = _kept()
    with contextlib.suppress(OSError, UnicodeDecodeError):  # not there yet, or not to be read
        return kept.read_text("utf-8")
    library = _bundled()
    with contextlib.suppress(OSError), replace_file(kept) as file:  # a service may have no cache
        file.write(library)
    return library


def _kept() -> Path:
    version = metadata.version("vl-convert-python")
    return platformdirs.user_cache_path("ocr_assets") / f"vega-embed-{version}.js"


def _bundled() -> str:
    import vl_convert

    library: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return library.replace("</script", "<\\/script")
