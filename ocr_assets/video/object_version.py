"""Which object, and which version of it: what a listing says, and any answer to a request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocr_assets.object_storage import open_store
from ocr_assets.object_storage_errors import of_object
from ocr_assets.video.object_url import bucket_and_key
from ocr_assets.video.source_file import ObjectIdentity, Storage

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object.

    Attributes:
        size: In bytes.
        e_tag: What the storage tells versions apart by; None where it does not.
        last_modified: In whole seconds since the epoch: listings know more digits than answers.
        version: Its number in a bucket that keeps versions; listings do not tell it.
    """

    size: int
    e_tag: str | None
    last_modified: int
    version: str | None = None

    @classmethod
    def of(cls, meta: ObjectMeta) -> ObjectVersion:
        """What obstore says of an object."""
        modified = int(meta["last_modified"].timestamp())
        return cls(meta["size"], meta["e_tag"], modified, meta["version"])

    def is_same(self, other: ObjectVersion) -> bool:
        """Whether two answers are of one version."""
        ours, theirs = (
            (one.size, one.e_tag, None if one.e_tag else one.last_modified) for one in (self, other)
        )
        return ours == theirs

    def state(self, identity: ObjectIdentity) -> str:
        """What changes whenever the object does; 32 hexadecimal digits.

        Args:
            identity: What its `video_id` was made by, which is not taken for one made otherwise.
        """
        return _digest(identity, self.size, self.e_tag, self.last_modified)

    def video_id(self, url: str) -> str | None:
        """An id that no other content has; None where the storage does not tell versions apart."""
        if self.e_tag is None or self.e_tag.startswith("W/"):  # weak: for what is much the same
            return None
        return _digest(url, self.size, self.e_tag, self.version)


def locate(url: str, storage: Storage) -> tuple[ObjectStore, str]:
    """The bucket of an object or of a place, and its key there, as it is written.

    Raises:
        StorageOptionsError: It cannot be opened.
        ObjectStorageUnavailableError: obstore is not installed.
    """
    bucket, key = bucket_and_key(url)
    return open_store(bucket, storage.options), key.strip("/")


def current_version(url: str, storage: Storage) -> ObjectVersion:
    """What the storage says of an object now.

    Raises:
        OSError: It is not there, or cannot be asked.
        StorageOptionsError: As `locate` does.
    """
    store, key = locate(url, storage)

    import obstore
    from obstore.exceptions import BaseError

    try:
        return ObjectVersion.of(obstore.head(store, key))
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise of_object(error, url) from None


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
