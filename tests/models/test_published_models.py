"""Fetching what others publish, from a server of our own."""

import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lipstream.cli import main
from lipstream.errors import InputError
from lipstream_models.models_command import fetch_model, published_models

WEIGHTS = np.random.default_rng(5).bytes(200_000)


class Publisher(ThreadingHTTPServer):
    """Serves WEIGHTS at /weights.onnx; may hang up after so many bytes of an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.hangs_up_after: int | None = None
        self.ranges: list[str | None] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Publisher)
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://models.example/weights.onnx")
            self.end_headers()
            return
        if self.path != "/weights.onnx":
            self.send_error(404)
            return
        begin = 0 if asked is None else int(asked.removeprefix("bytes=").removesuffix("-"))
        body = WEIGHTS[begin:]
        self.send_response(200 if asked is None else 206)
        self.send_header("Content-Length", str(len(body)))
        if asked is not None:
            end = len(WEIGHTS)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
        self.end_headers()
        self.wfile.write(body[: self.server.hangs_up_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher():
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def manifest(tmp_path, publisher):
    def write(path: str = "weights.onnx", sha256: str | None = None) -> Path:
        sha256 = sha256 or hashlib.sha256(WEIGHTS).hexdigest()
        text = f"""
            [[model]]
            name = "toy"
            title = "A toy"
            licence = "CC0-1.0"
            licence_url = "https://example.org/licence"
            next = "lipstream doctor {{folder}}"
            [[model.files]]
            path = "weights.onnx"
            url = "{path if "//" in path else publisher.url(path)}"
            sha256 = "{sha256}"
        """
        written = tmp_path / "manifest.toml"
        written.write_text(text)
        return written

    return write


def fetched(manifest: Path, folder: Path) -> Path:
    fetch_model(published_models(manifest)["toy"], folder, lambda *_: None)
    return folder / "weights.onnx"


def test_what_is_known_by_name_has_a_sum_a_licence_and_a_safe_address():
    known = published_models()
    assert {"wav2lip", "wav2lip-gan", "s3fd", "gfpgan", "piper-alba", "piper-kareem"} <= set(known)
    assert all(model.licence and model.licence_url for model in known.values())
    assert all(file.url.startswith("https://") for m in known.values() for file in m.files)


def test_a_model_is_fetched_by_name_and_the_next_command_told(manifest, tmp_path, capsys):
    told = ["--manifest", str(manifest()), "--to", str(tmp_path / "models"), "--accept-licence"]
    assert main(["models", "fetch", "toy", *told]) == 0
    folder = tmp_path / "models" / "toy"
    assert [path.name for path in folder.iterdir()] == ["weights.onnx"]
    assert (folder / "weights.onnx").read_bytes() == WEIGHTS
    assert f"next: lipstream doctor {folder}" in capsys.readouterr().out


def test_what_is_there_already_is_not_fetched_again(manifest, publisher, tmp_path):
    fetched(manifest(), tmp_path / "toy")
    fetched(manifest(), tmp_path / "toy")
    assert publisher.ranges == [None]


def test_a_server_that_hangs_up_again_and_again_is_asked_for_the_rest(
    manifest, publisher, tmp_path
):
    publisher.hangs_up_after = 70_000
    assert fetched(manifest(), tmp_path / "toy").read_bytes() == WEIGHTS
    assert publisher.ranges == [None, "bytes=70000-", "bytes=140000-"]


def test_a_fetch_that_was_stopped_goes_on_where_it_was(manifest, publisher, tmp_path):
    publisher.hangs_up_after = 70_000
    with pytest.raises(KeyboardInterrupt):
        fetch_model(published_models(manifest())["toy"], tmp_path / "toy", _stop)
    publisher.hangs_up_after = None
    assert fetched(manifest(), tmp_path / "toy").read_bytes() == WEIGHTS
    begin = int((publisher.ranges[-1] or "").removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 70_000


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_with_another_sum_is_refused_and_not_kept(manifest, tmp_path):
    with pytest.raises(InputError, match="not the file that was published"):
        fetched(manifest(sha256="0" * 64), tmp_path / "toy")
    assert list((tmp_path / "toy").iterdir()) == []


def test_a_file_that_is_not_there_is_told_at_once(manifest, publisher, tmp_path):
    with pytest.raises(InputError, match="answers 404"):
        fetched(manifest("gone.onnx"), tmp_path / "toy")
    assert len(publisher.ranges) == 1


@pytest.mark.parametrize("path", ["http://models.example/weights.onnx", "elsewhere"])
def test_nothing_is_fetched_in_the_open(manifest, path, tmp_path):
    with pytest.raises(InputError, match="only https"):
        fetched(manifest(path), tmp_path / "toy")


@pytest.mark.parametrize(
    ("line", "instead", "why"),
    [
        ("sha256 =", "", "no sha256 is known"),
        ("path =", 'path = "../x"', "no name of a file"),
        ("licence =", "", "lacks or misstates 'licence'"),
    ],
)
def test_a_manifest_that_leaves_something_out_is_refused(manifest, line, instead, why):
    path = manifest()
    lines = [instead if line in one else one for one in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=why):
        published_models(path)


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("no\n", 2)])
def test_the_licence_is_shown_and_asked_for(manifest, typed, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    told = ["--manifest", str(manifest()), "--to", str(tmp_path / "models")]
    assert main(["models", "fetch", "toy", *told]) == code
    assert "licence: CC0-1.0" in capsys.readouterr().out
    assert (tmp_path / "models" / "toy" / "weights.onnx").exists() == (code == 0)


def test_without_a_terminal_the_licence_is_agreed_to_by_an_option(
    manifest, publisher, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    told = ["--manifest", str(manifest()), "--to", str(tmp_path)]
    assert main(["models", "fetch", "toy", *told]) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert publisher.ranges == []


def test_without_a_name_what_can_be_fetched_is_listed(capsys):
    assert main(["models", "fetch"]) == 0
    assert "wav2lip-gan" in capsys.readouterr().out
    assert main(["models", "fetch", "nobody"]) == 2
    assert "nothing is known of 'nobody': give wav2lip-gan" in capsys.readouterr().err
