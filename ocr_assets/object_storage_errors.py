"""What errors of an object storage mean, without what must not be repeated.

The libraries' own texts have the whole answer of the server in them, and that may repeat the
request's headers, with a session's token.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from ocr_assets.object_storage import StorageOptionsError

Answer = TypeVar("Answer")

# obstore itself repeats requests, but not all whose answers are cut.
TRIES = 4
BUSY = "look at the storage and the network"
CREDENTIALS = (
    "put valid ones into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for those "
    "that expire, AWS_SESSION_TOKEN), or give the host or the pod a role"
)
MISSING = frozenset({"NoSuchKey", "BlobNotFound"})
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
RESOURCE = "the resource that it belongs to (tables or video_source)"
BUSY_4XX = ("408", "429")
# Other answers of 4xx that the same request does not get again a moment later.
TRANSIENT = frozenset(
    {"RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "NoSuchUpload"}
)
UNKNOWN_CREDENTIALS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
# What polars, deltalake and obstore say alike, as the same library is under all of them.
REQUEST = re.compile(r"Error performing [A-Z]+ (\S+)|error sending request for url \((\S+)\)")
NO_CREDENTIALS = re.compile(r"loading credentials|provided credentials|\bIMDS\b")  # of AWS's own
CUT = re.compile(r"list(?:ing)? response body|HTTP error: [a-z ]*body")  # before its end
PATH = re.compile(r'Path "(.*?)"', re.DOTALL)
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
        general: Whether any other object would meet it, too.
    """

    what: str
    to_do: str
    lasting: bool
    general: bool = False


CUT_SHORT = Problem("answers in part only", BUSY, lasting=False, general=True)


class ObjectStorageError(OSError):
    """An object storage did not do what it was asked; the message names the place and says why.

    Attributes:
        place: Which place.
        problem: What is wrong.
    """

    def __init__(self, place: str, problem: Problem) -> None:
        """Names place and problem."""
        super().__init__(f"{place} {problem.what}")
        self.strerror = problem.what
        self.place = place
        self.problem = problem

    def __reduce__(
        self,
    ) -> tuple[type[ObjectStorageError], tuple[str, Problem], dict[str, object]]:
        """Errors of other processes come pickled, with their notes."""
        return type(self), (self.place, self.problem), self.__dict__


class ObjectStorageFailedError(ObjectStorageError):
    """It is the storage that fails, or the way to it, whichever of its objects is asked for."""


class ImpossibleNameError(ObjectStorageError):
    """An object has a name that obstore has no words for, so that it gives no listing with it."""


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
        return ObjectStorageFailedError(place, CUT_SHORT)
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
    if _is_missing(status[1] if status else "", code[1] if code else ""):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
    url = (request[1] or request[2]) if request is not None else ""
    # What keys and buckets are called says nothing of what is wrong.
    text = text.replace(url, "") if url else text
    problem = _problem(text, url, status[1] if status else "", code[1] if code else "")
    kind = ObjectStorageFailedError if problem.general else ObjectStorageError
    return kind(place, problem)


def of_object(error: Exception, url: str) -> OSError:
    """What obstore says of an object, or of a place with objects, that cannot be read.

    Args:
        error: Its `BaseError`, or one of Python's.
        url: What was asked for.

    Returns:
        FileNotFoundError, ObjectStorageError, or what is wrong with the URL or the options.
    """
    known = in_own_words(error, url)
    if known is not error and isinstance(known, OSError):
        return known
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if isinstance(error, StorageOptionsError):
        return OSError(errno.EINVAL, str(error))
    from obstore.exceptions import InvalidPathError

    if isinstance(error, InvalidPathError | ValueError):
        whose = "its name" if isinstance(error, ValueError) else "the name of an object there"
        named = PATH.search(str(error))
        which = f", {named[1]!r}," if named else ""
        what = f"cannot be read: {whose}{which} has an empty part, `.`, `..` or control characters"
        return ImpossibleNameError(url, Problem(what, "rename that object", lasting=True))
    what = f"cannot be read ({type(error).__name__})"
    return ObjectStorageFailedError(url, Problem(what, BUSY, lasting=False, general=True))


def again_if_cut_short(ask: Callable[[], Answer]) -> Answer:
    """What a storage is asked for, asked for anew where its answer ends before its end.

    Args:
        ask: Raises what goes wrong in the words of this module.
    """
    for _ in range(TRIES - 1):
        try:
            return ask()
        except ObjectStorageError as error:
            if error.problem != CUT_SHORT:
                raise
    return ask()


def _is_missing(status: str, code: str) -> bool:
    return code in MISSING or (status == "404" and code not in NO_BUCKET | TRANSIENT)


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
        what = "cannot be asked: no credentials were found"
        return Problem(what, CREDENTIALS, lasting=True, general=True)
    if code in NO_BUCKET:
        return Problem(
            f"is in a bucket that does not exist ({said})",
            f"create the bucket, or correct its name in root of {RESOURCE}",
            lasting=True,
        )
    if code == "RequestTimeTooSkewed":
        what = f"refuses this host ({said}): its clock is wrong"
        return Problem(what, "set the clock", lasting=True, general=True)
    if code in UNKNOWN_CREDENTIALS:
        what = f"does not take the credentials ({said})"
        return Problem(what, CREDENTIALS, lasting=True, general=True)
    if status in ("401", "403"):
        return Problem(
            f"may not be used with these credentials ({said})",
            "give them the rights that README lists under Object storage",
            lasting=True,
        )
    if "redirect" in text or status in ("301", "307") or code == "AuthorizationHeaderMalformed":
        return Problem(
            "is in another region or at another endpoint than it is asked at",
            f"set aws_region, or aws_endpoint_url, in storage_options of {RESOURCE}",
            lasting=True,
        )
    if status == "501":
        return Problem(
            f"cannot do what was asked of it ({said})",
            "use a storage with conditional writes (If-None-Match and If-Match on PUT)",
            lasting=True,
        )
    if status and code not in TRANSIENT and not status.startswith("5") and status not in BUSY_4XX:
        return Problem(f"answers with an error ({said})", BUSY, lasting=True)
    if "builder error" in text:
        return Problem(
            "is at an endpoint without https, which is not allowed",
            f"set allow_http to true in storage_options of {RESOURCE}",
            lasting=True,
            general=True,
        )
    return Problem(_what_may_pass(text, said), BUSY, lasting=False, general=True)


def _what_may_pass(text: str, said: str) -> str:
    if said:
        return f"answers with an error ({said})"
    if "dns error" in text or "resolve" in text:
        return "cannot be reached: the name of its host is not known"
    if "refused" in text:
        return "cannot be reached: the connection is refused"
    if "timed out" in text or "TimedOut" in text:
        return "does not answer in time"
    return "cannot be reached, or does not answer in time"
