"""Real files from a real server on this machine."""

import http.server
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ocr_assets.ocr.detector import ModelSettings
from ocr_assets.ocr.weights import (
    DETECTOR_FILE,
    ENGLISH_RECOGNISER_FILE,
    WeightsError,
    read_verified,
)
from ocr_assets.ocr.weights_download import download_weights

NAME = ENGLISH_RECOGNISER_FILE  # the smaller one


class Server:
    """Serves a folder over http, and misbehaves where it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, Callable[[http.server.SimpleHTTPRequestHandler], None]] = {}
        self.over = threading.Event()
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                misbehave = server.paths.get(self.path)
                misbehave(self) if misbehave is not None else super().do_GET()

            def log_message(self, *arguments: object) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def redirect(self, path: str, to: str) -> str:
        def answer(handler: http.server.SimpleHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.end_headers()

        self.paths[path] = answer
        return self.url + path

    def begin_and(
        self, path: str, then: Callable[[http.server.SimpleHTTPRequestHandler], None]
    ) -> str:
        """Announces the archive, sends its first bytes, and goes on otherwise."""

        def answer(handler: http.server.SimpleHTTPRequestHandler) -> None:
            whole = (self.folder / "whole.zip").read_bytes()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(whole)))
            handler.end_headers()
            handler.wfile.write(whole[:1000])
            then(handler)

        self.paths[path] = answer
        return self.url + path


@pytest.fixture(scope="module")
def published() -> Path:
    return ModelSettings(recognize=True).locate_weights()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("published")
    right = (published / NAME).read_bytes()
    archives: dict[str, dict[str, bytes]] = {
        "whole.zip": {"../evil.pth": b"no", NAME: right, "other.txt": b"not wanted"},
        "wrong.zip": {NAME: bytes(len(right))},
        "short.zip": {NAME: right[:-1]},
        "bomb.zip": {NAME: right + bytes(50_000_000)},
        "other.zip": {"other.txt": right},
    }
    for archive, members in archives.items():
        compression = zipfile.ZIP_DEFLATED if archive == "bomb.zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(folder / archive, "w", compression, compresslevel=1) as file:
            for name, content in members.items():
                file.writestr(name, content)
    whole = (folder / "whole.zip").read_bytes()
    (folder / "truncated.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "endless.zip").write_bytes(whole + bytes(2**20))
    (folder / "page.zip").write_text("<html>Sign in to the network</html>")
    served = Server(folder)
    with served.http:
        thread = threading.Thread(target=served.http.serve_forever, args=(0.05,))
        thread.start()
        yield served
        served.over.set()
        served.http.shutdown()
        thread.join()


def test_the_one_file_is_taken_out_of_the_archive_and_nothing_else_is_left(
    server: Server, tmp_path: Path
) -> None:
    download_weights(NAME, tmp_path / "new" / "models", f"{server.url}/whole.zip")
    assert [path.name for path in tmp_path.rglob("*.*")] == [NAME]
    (path,) = tmp_path.rglob(NAME)
    assert len(read_verified(path)) == 15143997
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("archive", "complaint"),
    [
        ("wrong.zip", "its SHA-256 is"),
        ("short.zip", "it has 15143996 bytes there, not 15143997"),
        ("bomb.zip", "it has 65143997 bytes there, not 15143997"),
        ("other.zip", f"the archive has no {NAME}"),
        ("truncated.zip", "not a zip file"),
        ("endless.zip", "the archive has more than 16192573 bytes"),
        ("page.zip", "not a zip file"),
        ("missing.zip", "404"),
    ],
)
def test_what_is_not_the_published_file_is_refused_and_nothing_is_left_of_it(
    server: Server, tmp_path: Path, archive: str, complaint: str
) -> None:
    url = f"{server.url}/{archive}"
    with pytest.raises(WeightsError, match=complaint) as refused:
        download_weights(NAME, tmp_path, url)
    for part in (NAME, url, str(tmp_path), "pip install 'ocr-assets[weights]'"):
        assert part in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_off_leaves_nothing(server: Server, tmp_path: Path) -> None:
    url = server.begin_and("/breaks", lambda handler: None)
    with pytest.raises(WeightsError, match=r"of \d+ bytes only 1000 have come"):
        download_weights(NAME, tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path) -> None:
    url = server.begin_and("/silent", lambda handler: server.over.wait(30) and None)
    with pytest.raises(WeightsError, match="timed out"):
        download_weights(NAME, tmp_path, url, stall_seconds=0.3)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_trickles_is_given_up(server: Server, tmp_path: Path) -> None:
    def trickle(handler: http.server.SimpleHTTPRequestHandler) -> None:
        while not server.over.wait(0.02):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    url = server.begin_and("/trickles", trickle)
    started = time.monotonic()
    with pytest.raises(WeightsError, match="it takes too long"):
        download_weights(NAME, tmp_path, url, limit_seconds=0.5)
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_but_not_to_another_scheme_nor_for_ever(
    server: Server, tmp_path: Path
) -> None:
    download_weights(NAME, tmp_path / "one", server.redirect("/moved", f"{server.url}/whole.zip"))
    assert (tmp_path / "one" / NAME).is_file()
    for path, target, complaint in (
        ("/to-file", f"file://{server.folder}/whole.zip", "redirect"),
        ("/to-ftp", "ftp://127.0.0.1/whole.zip", "it redirects to ftp"),
        ("/loop", "/loop", "redirect"),
    ):
        with pytest.raises(WeightsError, match=complaint):
            download_weights(NAME, tmp_path / "two", server.redirect(path, target))
    assert list((tmp_path / "two").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"cannot be downloaded from .* into .*file/models: "):
        download_weights(NAME, tmp_path / "file" / "models", f"{server.url}/whole.zip")


def test_several_downloads_at_once_do_each_other_no_harm(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/whole.zip"
    with ThreadPoolExecutor(4) as executor:
        for _ in executor.map(lambda _: download_weights(NAME, tmp_path, url), range(4)):
            assert read_verified(tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_only_missing_files_are_fetched_and_only_if_that_is_enabled(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    shutil.copy(published / DETECTOR_FILE, tmp_path)
    folder = str(tmp_path)
    enabled = ModelSettings(weights_directory=folder, download_enabled=True)
    assert enabled.fetch_weights() == tmp_path
    reading = ModelSettings(weights_directory=folder, download_enabled=True, recognize=True)
    with pytest.raises(WeightsError, match=f"{NAME} cannot be downloaded from https://github.com/"):
        reading.fetch_weights()
    disabled = ModelSettings(weights_directory=folder, recognize=True)
    with pytest.raises(WeightsError, match="set download_enabled"):
        disabled.fetch_weights()
    assert [path.name for path in tmp_path.iterdir()] == [DETECTOR_FILE]
