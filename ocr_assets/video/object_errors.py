"""What an object storage says that cannot give an object, as errors of the operating system.

So it becomes a row with a reason in the same way as what a disk says. Nothing of the storage's
answer is passed on but its number and its code: the rest may hold keys and signed addresses.
"""

import errno
import re

# As object_store writes them, which all of obstore's storages stand on.
ANSWER = re.compile(r"status(?: code)?: (?P<status>\d{3}[A-Za-z ]*)")
CODE = re.compile(r"<Code>(?P<code>\w+)</Code>")
CONNECTION = re.compile(r"HTTP error: (?P<what>[a-z ]+)")
TIMED_OUT = re.compile(r"timed ?out|timeout error", re.IGNORECASE)
# Where the environment has no credentials, a host that might give some is asked for them.
NO_CREDENTIALS = re.compile(r"//(169\.254\.|metadata\.google|\[fd00:ec2)")


class AnswerCutError(OSError):
    """The storage had begun to answer; the same request may succeed at once."""


def as_os_error(error: Exception) -> OSError:
    """What became of a request, with a sentence as its `strerror`.

    Args:
        error: What obstore raised, its `BaseError` or one of Python's.
    """
    from obstore.exceptions import (
        InvalidPathError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    text = str(error)
    answer = _answer(text)
    if NO_CREDENTIALS.search(text):
        return PermissionError(errno.EACCES, "there are no credentials for it in the environment")
    if isinstance(error, FileNotFoundError) or answer.startswith("404"):
        bucket = "NoSuchBucket" in text or "ContainerNotFound" in text
        kind = "bucket" if bucket else "object"
        return FileNotFoundError(errno.ENOENT, f"there is no such {kind}")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or answer[:3] in (
        "401",
        "403",
    ):
        return PermissionError(errno.EACCES, f"the storage refuses it: {answer or 'no rights'}")
    if isinstance(error, InvalidPathError | ValueError):
        problem = "a part of a name there is empty, `.` or `..`, or holds control characters"
        return OSError(errno.EINVAL, problem)
    if answer:
        return OSError(errno.EIO, f"the storage answers {answer}")
    if TIMED_OUT.search(text):
        return TimeoutError(errno.ETIMEDOUT, "the storage did not answer in time")
    found = CONNECTION.search(text)
    what = f": {found['what'].strip()}" if found else ""
    if "body error" in what:
        return AnswerCutError(errno.EIO, "the storage's answers are cut short")
    if what == ": builder error":
        what = ": its endpoint is no https URL; for http, set aws_allow_http to true"
    return OSError(errno.EIO, f"the storage cannot be read from{what}")


def _answer(text: str) -> str:
    """`403 Forbidden (AccessDenied)`; empty where there was no answer."""
    # Python's view of the error and then Rust's are one text; the first line is enough.
    found = ANSWER.search(text)
    if found is None:
        return ""
    code = CODE.search(text)
    return found["status"].strip() + (f" ({code['code']})" if code else "")
