"""Folders that are no folders: `s3://bucket/prefix` and its like.

polars, deltalake and obstore stand on the same library, so that one mapping of options serves all
three, and each of them finds credentials in the environment (`AWS_ACCESS_KEY_ID` and so on) by
itself.

```python
options = StorageOptions.of({"aws_endpoint_url": "http://127.0.0.1:9000"}, "video_source")
open_store("s3://videos/2026", options).head("clip.mp4")["size"]
```
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

Resource = Literal["tables", "video_source"]

# A JSONL is not trusted: it may name objects, and have no other requests made.
SCHEMES = frozenset({"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"})
# A drive letter is one character; file:// is a folder like any other, without the three slashes.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
USER = re.compile(r"://[^/]*@")
SECRET = re.compile(r"secret|token|password|credential|key(?!_prefix)|sas|authorization", re.I)
PROVIDER = re.compile(r"^(aws|azure_storage|azure|google)_")
PROVIDERS = {"s3": "AWS", "s3a": "AWS", "gs": "GOOGLE"}  # by schemes; of all others AZURE
CLIENT_OPTIONS = ("allow_http", "connect_timeout", "timeout", "proxy_url")
MAX_RETRIES, RETRY_TIMEOUT = "max_retries", "retry_timeout"
TIMEOUTS = frozenset({"connect_timeout", RETRY_TIMEOUT, "timeout"})
SWITCHES = frozenset(
    {
        "allow_http",
        "disable_tagging",
        "imdsv1_fallback",
        "skip_signature",
        "unsigned_payload",
        "use_azure_cli",
        "use_emulator",
        "use_fabric_endpoint",
        "virtual_hosted_style_request",
    }
)
# By their names without a provider's: what the values of options are.
FORMS: tuple[tuple[frozenset[str], re.Pattern[str], str], ...] = (
    (SWITCHES, re.compile("true|false"), "true or false"),
    (TIMEOUTS, re.compile(r"\d+ ?s"), "a number of seconds like 30s"),
    (frozenset({MAX_RETRIES}), re.compile(r"\d+"), "a whole number"),
)


class ObjectStorageUnavailableError(ImportError):
    """The packages for object storage are not installed; the message says how they are."""


class StorageOptionsError(ValueError):
    """A place in an object storage or an option makes no sense; the message names it."""


@dataclass(frozen=True)
class StorageOptions:
    """What else has to be known of an object storage; a value that can be a key.

    Attributes:
        pairs: Names and values, as deltalake takes them.
        resource: Whose options they are, for messages.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    resource: Resource = "video_source"

    @classmethod
    def of(cls, options: Mapping[str, str], resource: Resource) -> Self:
        """The options as they are set.

        Raises:
            StorageOptionsError: One looks like a key, and its value is not in the message; or it is
                no number, no time or no switch where it has to be one.
        """
        for name, value in options.items():
            _refuse_secret(name, value)
            plain = PROVIDER.sub("", name.lower())
            for names, form, what in FORMS:
                if plain in names and not form.fullmatch(value):
                    raise StorageOptionsError(
                        f"{name} in storage_options of {resource} is {value!r}, not {what}"
                    )
        return cls(tuple(sorted(options.items())), resource)

    def for_deltalake(self) -> dict[str, str]:
        """As deltalake takes them."""
        return dict(self.pairs)

    def for_polars(self) -> dict[str, object]:
        """As polars takes them, which has numbers where others have text."""
        given: dict[str, object] = {name.lower(): value for name, value in self.pairs}
        given.pop(RETRY_TIMEOUT, None)
        if MAX_RETRIES in given:
            given[MAX_RETRIES] = int(str(given[MAX_RETRIES]))
        return given

    def within(self, seconds: float) -> Self:
        """The same, for requests that are of no use later.

        Args:
            seconds: About how long to wait for an answer, and to repeat what has failed.
        """
        limit = f"{max(round(seconds), 1)}s"
        limits = {RETRY_TIMEOUT: limit, "timeout": limit}
        others = [
            (name, value)
            for name, value in self.pairs
            if PROVIDER.sub("", name.lower()) not in limits
        ]
        return type(self)((*others, *limits.items()), self.resource)


def _refuse_secret(name: str, value: str) -> None:
    """Options are shown in the launchpad and kept with every run, so keys do not belong there."""
    if SECRET.search(name):
        raise StorageOptionsError(
            f"storage_options may not hold {name!r}: they are shown in the web UI and kept "
            f"with every run. Put it into the environment instead, as {name.upper()}"
        )
    if USER.search(value):
        raise StorageOptionsError(
            f"storage_options may not hold a user in the URL of {name!r}: they are shown in "
            "the web UI and kept with every run"
        )


def is_object_url(text: str) -> bool:
    """Whether it names a place in an object storage, and not any page of the web."""
    return "://" in text and text.partition("://")[0].lower() in SCHEMES


def is_in_object_storage(root: str) -> bool:
    """Whether a setting names a place in an object storage, and not a folder.

    Raises:
        StorageOptionsError: It is a URL of something else, or not of the form s3://bucket/prefix.
    """
    if URL.match(root) is None:
        return False
    if not is_object_url(root):
        raise StorageOptionsError(
            f"{root.partition('://')[0]}:// is neither a folder nor in an object storage that is "
            f"known ({', '.join(sorted(SCHEMES))}); a folder is named by its path alone"
        )
    parts = urlsplit(root)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise StorageOptionsError(
            "a place in an object storage is of the form s3://bucket/prefix; what lets one in "
            "belongs into the environment"
        )
    if not parts.netloc:
        raise StorageOptionsError(f"{root} names no bucket; write s3://bucket/prefix")
    return True


def without_secrets(text: str) -> str:
    """A text that may be a URL, without what may let one in: a user, or what is after a `?`."""
    if URL.match(text) is None:
        return text
    place, mark, _ = USER.sub("://...@", text).partition("?")
    return f"{place}?..." if mark else place


def ensure_installed(url: str) -> None:
    """Looks for the package without importing it.

    Raises:
        ObjectStorageUnavailableError: It is not installed.
    """
    if importlib.util.find_spec("obstore") is None:
        raise ObjectStorageUnavailableError(
            f"{url} is in an object storage; `pip install 'ocr-assets[object-storage]'` installs "
            "what reads it"
        )


@functools.lru_cache(maxsize=256)
def open_store(url: str, options: StorageOptions) -> ObjectStore:
    """The objects below a place; opened once per process.

    Args:
        url: `s3://bucket/prefix`, `gs://`, `az://` and so on.
        options: What else has to be known.

    Raises:
        ObjectStorageUnavailableError: obstore is not installed.
        StorageOptionsError: There is no such kind of storage, or no such option.
    """
    ensure_installed(url)
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    given = {name.lower(): value for name, value in options.pairs}
    client: ClientConfig = {}
    for name in CLIENT_OPTIONS:
        value = given.pop(f"aws_{name}", given.pop(name, None))
        if value is not None:
            client[name] = _client_option(name, value)  # type: ignore[literal-required]
    if client:
        # Given one, obstore passes over all that the environment says.
        provider = PROVIDERS.get(url.partition("://")[0].lower(), "AZURE")
        for name in CLIENT_OPTIONS:
            value = os.environ.get(f"{provider}_{name.upper()}")
            if value is not None and name not in client:
                client[name] = _client_option(name, value)  # type: ignore[literal-required]
    retry: RetryConfig = {}
    if MAX_RETRIES in given:
        retry["max_retries"] = int(given.pop(MAX_RETRIES))
    if RETRY_TIMEOUT in given:
        seconds = int(given.pop(RETRY_TIMEOUT).rstrip("s "))
        retry["retry_timeout"] = dt.timedelta(seconds=seconds)
    try:
        return from_url(
            url,
            config=given or None,  # type: ignore[arg-type]
            client_options=client or None,
            retry_config=retry or None,
        )
    except BaseError as error:
        said = str(error).partition("\n")[0]
        raise StorageOptionsError(
            f"{url} cannot be opened with storage_options of the resource {options.resource}: "
            f"{said}"
        ) from None


def _client_option(name: str, value: str) -> str | bool:
    return value.lower() in ("true", "1") if name == "allow_http" else value
