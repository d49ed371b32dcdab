"""A real S3 server, moto's, behind a proxy that makes the faults of one.

```python
def test_something(s3: S3Server) -> None:
    with s3.failing(Faults(seed=1, share=0.2)):
        Tables(root="s3://tables/prefix", storage_options=s3.options)
```

Both are in a process of their own (`tests.s3_proxy`), as some libraries hold on to Python's lock
while they wait for an answer. moto 5.2 keeps to `If-None-Match: *` and `If-Match` on PUT, as S3
does.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import pytest

Kind = Literal["unavailable", "slow down", "drop", "drop after", "stall"]
KINDS: tuple[Kind, ...] = ("unavailable", "slow down", "drop", "drop after")

KEY_ID = "AKIAMARKERKEYID00000"
SECRET = "marker-secret-6b1f9f6d"
TOKEN = "marker-token-0d7c2a55"
MARKERS = (SECRET, TOKEN)
BUCKET = "tables"


@dataclass(frozen=True)
class Faults:
    """Which requests meet which fault: a seeded share of them, never one of them too often.

    Attributes:
        seed: Of the choice.
        share: Of the requests, in [0, 1].
        kinds: `unavailable`: 503. `slow down`: 503 as S3 throttles. `drop`: the connection is
            closed before anything was done. `drop after`: it was done, and is closed without an
            answer. `stall`: no answer for `stall_seconds`, then it is closed.
        only: A regular expression for `PUT /bucket/key?query`; requests that do not match are left
            alone.
        in_a_row: How often the same request may fail one time after the other.
        stall_seconds: See `kinds`.
    """

    seed: int = 0
    share: float = 0.2
    kinds: tuple[Kind, ...] = KINDS
    only: str = ""
    in_a_row: int = 2
    stall_seconds: float = 3.0


@dataclass(frozen=True)
class Answer:
    """What answers instead of the server.

    Attributes:
        only: Which requests, as in `Faults`.
        status: HTTP's.
        code: S3's.
        message: Its sentence; what stands there between @ and @ is the request's header of that
            name, for servers that repeat what they were sent.
    """

    only: str
    status: int
    code: str
    message: str = "No."


@dataclass(frozen=True)
class Request:
    """One request of a client, and what it was answered; 0: nothing."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


class S3Server:
    """The server and its proxy.

    Attributes:
        url: The proxy's.
        options: What polars, deltalake and obstore need to find it.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.s3_proxy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._ports = json.loads(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self._ports['proxy']}"
        self.options = {
            "aws_endpoint_url": self.url,
            "aws_region": "us-east-1",
            "allow_http": "true",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)  # it ends with its input

    def reset(self) -> None:
        """No faults, no requests, and one empty bucket."""
        self._ask("moto", "POST", "/moto-api/reset")
        self._set("faults", None)
        self._set("answers", [])
        self._set("ignored", [])
        self._ask("proxy", "DELETE", "/-/requests")
        self.make_bucket(BUCKET)

    def make_bucket(self, name: str) -> None:
        self._ask("moto", "PUT", f"/{name}")

    def get(self, path: str) -> bytes:
        """An object, `/bucket/key`, beside the proxy."""
        status, content = self._ask("moto", "GET", path)
        assert status == 200, content
        return content

    def names(self) -> list[str]:
        """Those of all objects of the bucket `tables`."""
        status, content = self._ask("moto", "GET", f"/{BUCKET}?list-type=2&max-keys=100000")
        assert status == 200, content
        return [urllib.parse.quote(key) for key in re.findall("<Key>(.*?)</Key>", content.decode())]

    @contextlib.contextmanager
    def failing(self, faults: Faults) -> Iterator[None]:
        self._set("faults", dataclasses.asdict(faults))
        try:
            yield
        finally:
            self._set("faults", None)

    @contextlib.contextmanager
    def answering(self, *answers: Answer) -> Iterator[None]:
        self._set("answers", [dataclasses.asdict(answer) for answer in answers])
        try:
            yield
        finally:
            self._set("answers", [])

    @contextlib.contextmanager
    def ignoring(self, *headers: str) -> Iterator[None]:
        """As a storage that does not know these headers, in small letters."""
        self._set("ignored", headers)
        try:
            yield
        finally:
            self._set("ignored", [])

    def requests(self) -> list[Request]:
        """All since the last reset, faults and all."""
        _, content = self._ask("proxy", "GET", "/-/requests")
        return [Request(**one) for one in json.loads(content)]

    def _set(self, name: str, value: Any) -> None:
        self._ask("proxy", "PUT", f"/-/{name}", json.dumps(value).encode())

    def _ask(
        self, whom: str, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[whom], timeout=60)
        # moto finds the service and the region in it, and does not check the rest.
        scope = f"Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Authorization": f"AWS4-HMAC-SHA256 {scope}"})
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An empty bucket, and credentials for it in the environment, as a service has them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    s3_process.reset()
    yield s3_process
    s3_process.reset()
