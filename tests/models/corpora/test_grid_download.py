"""Downloading speakers, from a server of our own that can break off, lie and forget."""

import argparse
import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lipstream.errors import InputError
from lipstream_models.corpora import grid_corpus
from lipstream_models.corpora.grid_corpus import find_clips, quiet_frames
from lipstream_models.training.command import add_download_arguments, run_download

CLIP = bytes(range(256)) * 400


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


class Archive(ThreadingHTTPServer):
    """A record with two archives. ``breaks`` answers end early, one by one, at that many bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "s2.zip": zipped(
                **{"s2/bbaf1n.mpg": CLIP, "s2/bbaf2n.mpg": CLIP, "__MACOSX/s2/._x.mpg": b"x"}
            ),
            "alignments.zip": zipped(
                **{
                    "alignments/s2/bbaf1n.align": "0 25000 sil\n25000 75000 bin\n",
                    "alignments/s2/bbaf2n.align": "0 75000 sil\n",
                    "alignments/s3/other.align": "0 75000 sil\n",
                }
            ),
        }
        self.sums = {name: hashlib.md5(body).hexdigest() for name, body in self.files.items()}
        self.breaks, self.ranges, self.knows_ranges = [], [], True

    @property
    def record(self):
        return f"http://127.0.0.1:{self.server_port}/record"

    def listing(self):
        return {
            "files": [
                {
                    "key": name,
                    "size": len(body),
                    "checksum": f"md5:{self.sums[name]}",
                    "links": {"self": f"http://127.0.0.1:{self.server_port}/{name}"},
                }
                for name, body in self.files.items()
            ]
        }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        if name == "record":
            return self.answer(200, json.dumps(self.server.listing()).encode())
        if name not in self.server.files:
            return self.send_error(404)
        body, start = self.server.files[name], 0
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        stop = self.server.breaks.pop(0) if self.server.breaks else len(body)
        return self.answer(206 if start else 200, body[start:], body[start:stop], start)

    def answer(self, code, body, sent=None, start=0):
        self.send_response(code)
        if code == 206:
            end = start + len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def archive():
    with Archive() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="archive")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def quietly(*_):
    """Show nothing."""


def remote(archive, name="s2.zip"):
    return grid_corpus.list_files(archive.record)[name]


def command(*words):
    parser = argparse.ArgumentParser()
    add_download_arguments(parser)
    return run_download(parser.parse_args([str(word) for word in words]))


def test_a_speaker_arrives_ready_for_prepare(archive, tmp_path, capsys):
    words = ("--speakers", "s2", "--out", tmp_path, "--record", archive.record)
    assert command(*words) == 0
    films = find_clips(tmp_path / "s2")
    assert [film.name for film in films] == ["bbaf1n.mpg", "bbaf2n.mpg"]
    assert films[0].read_bytes() == CLIP
    quiet = quiet_frames(tmp_path / "alignments" / "s2.tsv", ["bbaf1n", "bbaf2n"])
    assert quiet.sum(1).tolist() == [25, 75]
    assert "lipstream train prepare --grid" in capsys.readouterr().out
    assert not (tmp_path / "s2.zip").exists()
    asked = len(archive.ranges)
    assert command(*words) == 0
    assert len(archive.ranges) == asked


def test_a_broken_download_goes_on_where_it_stopped(archive, tmp_path):
    file = remote(archive)
    archive.breaks = [1000, 70_000]
    seen = []
    grid_corpus.fetch(file, tmp_path, lambda _name, done, _total: seen.append(done))
    assert (tmp_path / "s2.zip").read_bytes() == archive.files["s2.zip"]
    assert archive.ranges == [None, "bytes=1000-", "bytes=70000-"]
    assert seen == sorted(seen)
    assert seen[-1] == file.size


def test_a_later_run_goes_on_with_the_part_of_an_earlier_one(archive, tmp_path):
    remote(archive).unfinished(tmp_path).write_bytes(archive.files["s2.zip"][:5000])
    grid_corpus.fetch(remote(archive), tmp_path, quietly)
    assert archive.ranges == ["bytes=5000-"]
    assert (tmp_path / "s2.zip").read_bytes() == archive.files["s2.zip"]


def test_a_server_without_ranges_begins_anew(archive, tmp_path):
    archive.knows_ranges = False
    remote(archive).unfinished(tmp_path).write_bytes(b"x" * 5000)
    grid_corpus.fetch(remote(archive), tmp_path, quietly)
    assert (tmp_path / "s2.zip").read_bytes() == archive.files["s2.zip"]


def test_a_connection_that_always_breaks_is_given_up(archive, tmp_path):
    archive.breaks = [100] * 50  # past the first 100 bytes nothing more ever comes
    with pytest.raises(InputError, match=r"broke off at 100 of .* run the same command again"):
        grid_corpus.fetch(remote(archive), tmp_path, quietly)
    assert remote(archive).unfinished(tmp_path).stat().st_size == 100


def test_a_wrong_sum_is_told_and_the_file_removed(archive, tmp_path):
    archive.sums["s2.zip"] = "0" * 32
    with pytest.raises(InputError, match="not the file that was published: its md5"):
        grid_corpus.fetch(remote(archive), tmp_path, quietly)
    assert not list(tmp_path.iterdir())


def test_an_unknown_speaker_is_answered_with_those_there_are(archive):
    files = grid_corpus.list_files(archive.record)
    with pytest.raises(InputError, match="no film of s21; it has s2, alignments"):
        grid_corpus.choose(files, ["s2", "s21"])


def test_a_wrong_address_is_told(archive):
    with pytest.raises(InputError, match="answers 404"):
        grid_corpus.list_files(archive.record.replace("record", "nowhere"))
    with pytest.raises(InputError, match="does not list files"):
        grid_corpus.list_files(archive.record.replace("record", "s2.zip"))


def test_no_network_is_told():
    with pytest.raises(InputError, match="cannot be reached"):
        grid_corpus.list_files("http://127.0.0.1:9/record")


def test_names_cannot_leave_the_folder(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(**{"../../evil.mpg": CLIP, "s2/readme.txt": b""}))
    assert grid_corpus.unpack_speaker(tmp_path / "a.zip", tmp_path / "in" / "s2") == 1
    assert [path.name for path in (tmp_path / "in" / "s2").iterdir()] == ["evil.mpg"]
    assert not (tmp_path / "evil.mpg").exists()
