"""What errors of an object storage mean, without what must not be repeated.

The libraries' own texts have the whole answer of the server in them, and that may repeat the
request's headers, with a session's token.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

BUSY = "look at the storage and the network"
CREDENTIALS = (
    "put valid ones into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for those "
    "that expire, AWS_SESSION_TOKEN), or give the host or the pod a role"
)
MISSING = frozenset({"NoSuchKey", "BlobNotFound"})
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
# Answers of 4xx that the same request does not get again a moment later.
TRANSIENT = frozenset(
    {"RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "NoSuchUpload"}
)
UNKNOWN_CREDENTIALS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
# What polars, deltalake and obstore say alike, as the same library is under all of them.
REQUEST = re.compile(r"Error performing [A-Z]+ (\S+)|error sending request for url \((\S+)\)")
NO_CREDENTIALS = re.compile(r"loading credentials|provided credentials|\bIMDS\b")  # of AWS's own
CUT = re.compile(r"list(?:ing)? response body")  # a listing that ended before its end
COLOURS = re.compile(r"\x1b\[\d*m")  # deltalake's
STATUS = re.compile(r"(?:non-2xx status code|non-2xx status)\W+(\d{3})\b")
CODE = re.compile(r"<Code>(\w+)</Code>")


@dataclass(frozen=True)
class Problem:
    """What is wrong with an object storage.

    Attributes:
        what: What it is, as the end of a sentence that begins with a place.
        to_do: What to do about it.
        lasting: Whether it will be the same a moment later.
    """

    what: str
    to_do: str
    lasting: bool


class ObjectStorageError(OSError):
    """An object storage did not do what it was asked; the message names the place and says why.

    Attributes:
        place: Which place.
        problem: What is wrong.
    """

    def __init__(self, place: str, problem: Problem) -> None:
        """Names place and problem."""
        super().__init__(f"{place} {problem.what}")
        self.place = place
        self.problem = problem

    def __reduce__(
        self,
    ) -> tuple[type[ObjectStorageError], tuple[str, Problem], dict[str, object]]:
        """Errors of other processes come pickled, with their notes."""
        return type(self), (self.place, self.problem), self.__dict__


@contextlib.contextmanager
def as_object_storage_errors(place: str) -> Iterator[None]:
    """Raises what polars, deltalake and obstore say of an object storage in words of our own.

    Args:
        place: What is worked on, a URL.

    Raises:
        FileNotFoundError: There is no such object.
        ObjectStorageError: Anything else that the storage or the way to it is to blame for.
    """
    try:
        yield
    except Exception as error:
        known = in_own_words(error, place)
        if known is error:
            raise
        raise known from None


def in_own_words(error: BaseException, place: str = "the object storage") -> BaseException:
    """The same error, or one in its place if it is of an object storage; so for its causes.

    Args:
        error: Any error.
        place: What was worked on.
    """
    if isinstance(error, ObjectStorageError):
        return error
    text = COLOURS.sub("", str(error))
    if CUT.search(text):
        return ObjectStorageError(place, Problem("answers in part only", BUSY, False))
    request = REQUEST.search(text)
    if request is None and not NO_CREDENTIALS.search(text):
        for name in ("__cause__", "__context__"):
            cause = getattr(error, name)
            if cause is not None and (known := in_own_words(cause, place)) is not cause:
                is_hidden = error.__suppress_context__
                setattr(error, name, known)  # a cause that is set hides the context
                error.__suppress_context__ = is_hidden
        return error
    code = CODE.search(text)
    status = STATUS.search(text)
    if code is not None and code[1] in MISSING:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
    url = (request[1] or request[2]) if request is not None else ""
    # What keys and buckets are called says nothing of what is wrong.
    text = text.replace(url, "") if url else text
    problem = _problem(text, url, status[1] if status else "", code[1] if code else "")
    return ObjectStorageError(place, problem)


def _gives_credentials(url: str) -> bool:
    """Whether it was the host's own service that was asked, or the cloud's, and not the storage."""
    host = urlsplit(url).hostname or ""
    return (
        host.startswith(("169.254.", "fd00:ec2:", "sts."))
        or host == "metadata.google.internal"
        or urlsplit(url).path.startswith(("/latest/api/token", "/latest/meta-data/", "/oauth2/"))
    )


def _problem(text: str, url: str, status: str, code: str) -> Problem:
    said = " ".join(filter(None, (status, code)))
    if not url or _gives_credentials(url):
        return Problem("cannot be asked: no credentials were found", CREDENTIALS, True)
    if code in NO_BUCKET:
        return Problem(
            f"is in a bucket that does not exist ({said})",
            "create the bucket, or correct its name (OCR_ASSETS_DATA, or root of the resource "
            "tables)",
            True,
        )
    if code == "RequestTimeTooSkewed":
        return Problem(f"refuses this host ({said}): its clock is wrong", "set the clock", True)
    if code in UNKNOWN_CREDENTIALS:
        return Problem(f"does not take the credentials ({said})", CREDENTIALS, True)
    if status in ("401", "403"):
        return Problem(
            f"may not be used with these credentials ({said})",
            "give them the rights that README lists under Object storage",
            True,
        )
    if "redirect" in text or status in ("301", "307") or code == "AuthorizationHeaderMalformed":
        return Problem(
            "is in another region or at another endpoint than it is asked at",
            "set aws_region, or aws_endpoint_url, in storage_options of the resource tables",
            True,
        )
    if status == "501":
        return Problem(
            f"cannot do what was asked of it ({said})",
            "use a storage with conditional writes (If-None-Match and If-Match on PUT)",
            True,
        )
    if code in TRANSIENT:
        return Problem(f"answers with an error ({said})", BUSY, False)
    if status:
        lasting = not (status.startswith("5") or status in ("408", "429"))
        return Problem(f"answers with an error ({said})", BUSY, lasting)
    if "dns error" in text or "resolve" in text:
        return Problem("cannot be reached: the name of its host is not known", BUSY, False)
    if "refused" in text:
        return Problem("cannot be reached: the connection is refused", BUSY, False)
    if "timed out" in text or "TimedOut" in text:
        return Problem("does not answer in time", BUSY, False)
    return Problem("cannot be reached, or does not answer in time", BUSY, False)
