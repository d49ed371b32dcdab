"""Folders that are no folders: `s3://bucket/prefix` and its like.

polars, deltalake and obstore stand on the same library, so that one mapping of options serves all
three, and each of them finds credentials in the environment (`AWS_ACCESS_KEY_ID` and so on) by
itself.

```python
store = open_store("s3://videos/2026", {"aws_endpoint_url": "http://127.0.0.1:9000"})
store.head("clip.mp4")["size"]
```
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

StorageOptions = Mapping[str, str]

# A drive letter is one character; file:// is a folder like any other, without the three slashes.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
CLIENT_OPTIONS = ("allow_http", "connect_timeout", "timeout", "proxy_url")
RETRY_OPTIONS = ("max_retries", "retry_timeout")
SECRET = re.compile(r"secret|token|password|credential|key(?!_prefix)|sas|authorization", re.I)


class ObjectStorageUnavailableError(ImportError):
    """The packages for object storage are not installed; the message says how they are."""


def is_url(text: str) -> bool:
    """Whether it names a place in an object storage and not a folder."""
    return URL.match(text) is not None


def refuse_secrets(options: StorageOptions) -> None:
    """Options are shown in the launchpad and kept with every run, so that keys do not belong there.

    Raises:
        ValueError: One of them looks like a key; its value is not in the message.
    """
    for name in options:
        if SECRET.search(name):
            raise ValueError(
                f"storage_options may not hold {name!r}: they are shown in the web UI and kept "
                f"with every run. Put it into the environment instead, as {name.upper()}"
            )


def open_store(url: str, options: StorageOptions) -> ObjectStore:
    """The objects below a place; opened once per process.

    Args:
        url: `s3://bucket/prefix`, `gs://`, `az://` and what else obstore knows.
        options: As polars and deltalake take them, `aws_endpoint_url` for example.

    Raises:
        ObjectStorageUnavailableError: obstore is not installed.
        obstore.exceptions.BaseError: There is no such kind of storage, or no such option.
    """
    return _opened(url, tuple(sorted(options.items())))


@functools.lru_cache(maxsize=256)
def _opened(url: str, options: tuple[tuple[str, str], ...]) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise ObjectStorageUnavailableError(
            f"{url} is in an object storage; `pip install 'ocr-assets[object-storage]'` installs "
            "what reads it"
        ) from error

    given = {name.lower(): value for name, value in options}
    given_retries = {name: given.pop(name) for name in RETRY_OPTIONS if name in given}
    client: ClientConfig = {}
    for name in CLIENT_OPTIONS:
        value = given.pop(f"aws_{name}", given.pop(name, None))
        if value is not None:
            client[name] = value == "true" if name == "allow_http" else value  # type: ignore[literal-required]
    return from_url(
        url,
        config=given or None,  # type: ignore[arg-type]
        client_options=client or None,
        retry_config=_retry_config(given_retries) if given_retries else None,
    )


def _retry_config(options: StorageOptions) -> RetryConfig:
    """How often a request is tried again: `max_retries`, and `retry_timeout` in seconds."""
    config: RetryConfig = {}
    if "max_retries" in options:
        config["max_retries"] = int(options["max_retries"])
    if "retry_timeout" in options:
        config["retry_timeout"] = dt.timedelta(seconds=float(options["retry_timeout"].rstrip("s")))
    return config
