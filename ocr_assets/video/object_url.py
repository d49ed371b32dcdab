"""URLs of objects, as text."""

from __future__ import annotations

import posixpath


def joined(folder: str, text: str) -> str | None:
    """The URL that a path relative to a folder stands for, or a URL as it is, without `..`.

    Returns:
        The URL; None if it leads out of the bucket, or names none.
    """
    url = text if "://" in text else f"{folder}/{text}"
    bucket, key = bucket_and_key(url)
    key = posixpath.normpath(key.lstrip("/")) if key.strip("/") else ""
    if key == ".." or key.startswith("../") or bucket.endswith("://"):
        return None
    return bucket if key in ("", ".") else f"{bucket}/{key}"


def lies_in(root: str, url: str) -> bool:
    """Whether an object lies below a place; both without `..`."""
    return url.startswith(f"{root.rstrip('/')}/")


def bucket_and_key(url: str) -> tuple[str, str]:
    """`s3://bucket` and the rest, with the slash that it begins with, as it is written."""
    scheme, _, rest = url.partition("://")
    name, slash, key = rest.partition("/")
    return f"{scheme}://{name}", slash + key
