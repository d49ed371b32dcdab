"""An S3 server, and a proxy before it that counts, and fails as it is told."""

import contextlib
import functools
import http.client
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from ocr_assets.object_storage import StorageOptions

NUMBERS = itertools.count()
KEY_ID, SECRET = "AKIAMARKEROFTHETESTS", "the-secret-that-must-not-be-seen"


@dataclass
class Answered:
    """A request for an object, and how many bytes of it were sent."""

    method: str
    path: str
    range: str | None
    bytes: int


@dataclass
class S3Source:
    """Where the objects are, and what happens to requests for them.

    Attributes:
        bucket: Its name, which no other test has.
        options: `storage_options` that lead to the proxy.
        answered: The requests so far.
        fails: Given a method and a path, the status that is answered, or the code that S3 gives
            with 403, or None.
        refused_share: Share of requests that are answered with 503.
        cut_share: Share of answers that end half way.
        delay_seconds: How long each answer takes.
        before_get: Called with a path and its number of GETs before each one.
    """

    bucket: str
    options: dict[str, str]
    client: Any
    answered: list[Answered] = field(default_factory=list)
    fails: Callable[[str, str], int | str | None] = lambda _method, _path: None
    refused_share: float = 0.0
    cut_share: float = 0.0
    delay_seconds: float = 0.0
    before_get: Callable[[str, int], None] | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def url(self) -> str:
        """Of the bucket."""
        return f"s3://{self.bucket}"

    def put(self, path: Path, key: str) -> str:
        """Uploads a file; its URL."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        return f"{self.url}/{key}"

    def put_folder(self, folder: Path, prefix: str = "") -> str:
        """Uploads a folder; its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(path, f"{prefix}{path.relative_to(folder).as_posix()}")
        return f"{self.url}/{prefix}".rstrip("/")

    @property
    def known(self) -> StorageOptions:
        """`options` as `Storage` has them."""
        return StorageOptions.of(self.options, "video_source")

    def bytes_read(self, key: str = "") -> int:
        """Bytes of objects that were sent."""
        return sum(one.bytes for one in self.answered if one.path.endswith(key))

    def requests(self, method: str = "GET", key: str = "") -> int:
        """How many requests there were for objects."""
        return sum(one.method == method and one.path.endswith(key) for one in self.answered)


@contextlib.contextmanager
def s3_server() -> Iterator[S3Source]:
    """A bucket behind a proxy, with credentials in the environment."""
    port, client = _server()
    variables = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        source = S3Source(f"clips-{next(NUMBERS)}", {}, client)
        client.create_bucket(Bucket=source.bucket)
        proxy = _Proxy(source, port)
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        source.options |= {
            "aws_endpoint_url": f"http://127.0.0.1:{proxy.server_port}",
            "aws_allow_http": "true",
            "max_retries": "6",
            "retry_timeout": "20s",
        }
        try:
            yield source
        finally:
            proxy.shutdown()
            proxy.server_close()


@functools.cache
def _server() -> tuple[int, Any]:
    """The server's port, and a client of it; one for all tests, since starting takes a while."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    return port, client


@pytest.fixture
def s3() -> Iterator[S3Source]:
    with s3_server() as source:
        yield source


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, source: S3Source, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.source = source
        self.port = port
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""

    def do_GET(self) -> None:
        source, path = self.server.source, unquote(urlsplit(self.path).path)
        is_list = path.strip("/") == source.bucket
        if source.before_get is not None and not is_list:
            source.before_get(path, source.requests("GET", path))
        with self.server.lock:
            is_refused = source.chance.random() < source.refused_share
            is_cut = source.chance.random() < source.cut_share
        time.sleep(source.delay_seconds)
        status = source.fails(self.command, path) or (503 if is_refused else None)
        if status is not None:
            code = status if isinstance(status, str) else f"Told{status}"
            status = 403 if isinstance(status, str) else status
            body = f"<Error><Code>{code}</Code><Secret>{SECRET}</Secret></Error>".encode()
            self._note(path, 0)
            self._send(status, {}, b"" if self.command == "HEAD" else body)
            return
        status, headers, body = self._forward()
        if is_cut and len(body) > 1:
            self._note(path, len(body) // 2)
            self._send(status, headers, body[: len(body) // 2], whole=len(body))
            self.close_connection = True
            return
        self._note(path, 0 if status >= 300 or is_list else len(body))
        self._send(status, headers, body)

    do_HEAD = do_GET  # noqa: N815 - the standard library's names

    def _forward(self) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port)) as moto:
            headers = {
                name: value for name, value in self.headers.items() if name.lower() != "connection"
            }
            moto.request(self.command, self.path, headers=headers)
            answer = moto.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, whole: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            hop = name.lower() in ("connection", "transfer-encoding")
            if not hop and (self.command == "HEAD" or name.lower() != "content-length"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(whole or len(body)))
        elif "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # it was killed meanwhile
            self.wfile.write(body)

    def _note(self, path: str, size: int) -> None:
        """To be called before the answer is sent, as who has it may look at once."""
        asked = self.headers.get("Range")
        with self.server.lock:
            answered = Answered(self.command, path, asked, size)
            self.server.source.answered.append(answered)


def ensure_secret_is_not_in(*texts: object) -> None:
    """Nothing that is shown or stored may hold the key."""
    for text in texts:
        assert SECRET not in str(text)
        assert KEY_ID not in str(text)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
