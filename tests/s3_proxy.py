"""The process of `tests.s3_server`: moto's S3 server, and the proxy in front of it.

It prints the ports of both, and ends when its standard input does.
"""

import contextlib
import http.client
import json
import logging
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTROL = "/-/"
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, moto_port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.moto_port = moto_port
        self.settings: dict[str, Any] = {"faults": None, "answers": [], "ignored": []}
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.chance = random.Random()
        self.failed: Counter[tuple[str, str]] = Counter()
        # moto looks and writes in two steps.
        self.conditional = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to tell of."""

    def set(self, name: str, value: Any) -> None:
        with self.lock:
            self.settings[name] = value
            if name == "faults" and value is not None:
                self.chance = random.Random(value["seed"])
                self.failed.clear()

    def fault(self, method: str, path: str) -> str | None:
        """What is to happen to a request."""
        with self.lock:
            faults = self.settings["faults"]
            if faults is None or not re.search(faults["only"], f"{method} {path}"):
                return None
            is_spared = self.failed[method, path] >= faults["in_a_row"]
            if is_spared or self.chance.random() >= faults["share"]:
                self.failed[method, path] = 0
                return None
            self.failed[method, path] += 1
            kind: str = self.chance.choice(faults["kinds"])
            return kind


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith(CONTROL):
            self._control(self.path.removeprefix(CONTROL), body)
            return
        headers = {name.lower(): text for name, text in self.headers.items()}
        noted = {"method": self.command, "path": self.path, "headers": headers, "status": 0}
        self.server.requests.append(noted)
        for answer in self.server.settings["answers"]:
            if re.search(answer["only"], f"{self.command} {self.path}"):
                said = re.sub("@(.+?)@", lambda name: headers.get(name[1], ""), answer["message"])
                noted["status"] = answer["status"]
                self._answer(answer["status"], {}, error_body(answer["code"], said))
                return
        kind = self.server.fault(self.command, self.path)
        if kind == "unavailable":
            self._answer(503, {}, error_body("ServiceUnavailable", "Please try again."))
        elif kind == "slow down":
            self._answer(503, {}, error_body("SlowDown", "Please reduce your request rate."))
        elif kind == "drop":
            self._drop()
        elif kind == "stall":
            time.sleep(self.server.settings["faults"]["stall_seconds"])
            self._drop()
        else:
            is_conditional = not {"if-none-match", "if-match"}.isdisjoint(headers)
            with self.server.conditional if is_conditional else contextlib.nullcontext():
                status, answered, content = self._forward(body)
            if kind == "drop after":
                self._drop()
            elif kind == "cut" and content:
                noted["status"] = status
                self._answer(status, answered, content[:-1], missing_bytes=1)
                self._drop()
            else:
                noted["status"] = status
                self._answer(status, answered, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - as http.server asks

    def _control(self, name: str, body: bytes) -> None:
        content = b""
        if self.command == "PUT":
            self.server.set(name, json.loads(body))
        elif self.command == "DELETE":
            self.server.requests.clear()
        else:
            content = json.dumps(self.server.requests).encode()
        self._answer(200, {}, content)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.moto_port, timeout=60)
        left_out = {"host", *self.server.settings["ignored"]}
        headers = {
            name: text for name, text in self.headers.items() if name.lower() not in left_out
        }
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, missing_bytes: int = 0
    ) -> None:
        sizes = {name.lower(): text for name, text in headers.items()}
        size = sizes.get("content-length") if self.command == "HEAD" else None
        self.send_response_only(status)
        for name, text in headers.items():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, text)
        self.send_header("Content-Length", size or str(len(content) + missing_bytes))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Tests say by themselves what went wrong."""


def error_body(code: str, message: str) -> bytes:
    """What S3 says with an error."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    ).encode()


def main() -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    proxy = Proxy(moto.get_host_and_port()[1])
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print(json.dumps({"moto": proxy.moto_port, "proxy": proxy.server_address[1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
