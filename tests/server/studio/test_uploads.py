"""Files that come in over HTTP: real ones, and everything else."""

import http.client
import resource
import shutil
import urllib.parse

import cv2
import numpy as np
import pytest

from media_files import numbered, tone, write_film, write_picture, write_wav
from server.studio.serving import until

pytestmark = pytest.mark.slow  # each file is looked into by a process of its own


def test_a_film_is_described_and_can_be_looked_at(visitor, film):
    answer = visitor.send("face", film)
    assert answer.status == 201
    said = answer.said
    assert (said["kind"], said["seconds"], said["frames"], said["fps"]) == ("film", 2.0, 50, 25.0)
    assert (said["width"], said["height"], said["sounds"]) == (64, 48, True)
    poster = visitor.ask("GET", said["poster"])
    assert poster.body[:3] == b"\xff\xd8\xff"
    assert poster.headers["content-security-policy"] == "default-src 'none'"


def test_a_picture_of_a_person_is_described(visitor, portrait):
    said = visitor.send("face", portrait).said
    assert (said["kind"], said["name"], said["seconds"]) == ("picture", "ada at home.png", None)
    (face,) = said["faces"]
    assert abs(face["x"] - 96) < 20
    assert 40 < face["size"] < 192


def test_all_people_are_found_for_one_to_be_chosen(visitor, portrait, files):
    one = cv2.imread(str(portrait))
    blank = np.full_like(np.hstack([one, one]), 128)
    both = write_picture(files / "two.png", np.hstack([one, one]))
    left, right = visitor.send("face", both).said["faces"]
    assert (left["x"] < 192 < right["x"], left["y"]) == (True, right["y"])
    late = write_film(files / "late.mp4", [blank] * 20 + [np.hstack([one, one])] * 10)
    said = visitor.send("face", late).said
    assert len(said["faces"]) == 2
    poster = cv2.imdecode(np.frombuffer(visitor.ask("GET", said["poster"]).body, np.uint8), 1)
    assert poster.std() > 20  # the picture with the people, not the blank one before


def test_a_sound_is_described_and_can_be_heard(visitor, speech):
    said = visitor.send("sound", speech).said
    assert (said["kind"], said["seconds"]) == ("sound", 0.4)
    assert visitor.ask("GET", said["link"]).body == speech.read_bytes()


def test_the_sound_of_a_film_can_be_used(visitor, film):
    assert visitor.send("sound", film).said["seconds"] == 2.0


def test_a_name_is_never_a_path(visitor, speech):
    before = set(visitor.kept("media"))
    for name in ("../../../evil.wav", "/tmp/evil.wav", "..", "a\x00.wav", "evil.wav/.."):
        assert visitor.send("sound", speech.read_bytes(), name).status == 201
    assert not list(visitor.folder.parent.rglob("*evil*"))
    new = set(visitor.kept("media")) - before
    assert len(new) == 5
    for folder in new:
        names = {path.name for path in (visitor.folder / "media" / folder).iterdir()}
        assert names in ({"media.json", "media.wav"}, {"media.json", "media.media"})


def test_a_file_can_be_taken_back(visitor, speech):
    name = visitor.added("sound", speech)
    assert visitor.ask("DELETE", f"/studio/media/{name}").status == 204
    assert name not in visitor.kept("media")
    assert visitor.ask("DELETE", f"/studio/media/{name}").status == 404


def bad_files(folder, film):
    """Yield a use, a file, and what is said about it."""
    (folder / "notes.txt").write_text("Dear diary, nothing here is media.\n" * 40)
    yield "face", folder / "notes.txt", "notes.txt cannot be read"
    yield "sound", folder / "notes.txt", "notes.txt cannot be read"
    (folder / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{film}'\n")
    yield "face", folder / "list.mp4", "list.mp4 cannot be read"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{film}\n#EXT-X-ENDLIST\n"
    (folder / "list.mov").write_text(playlist)
    yield "face", folder / "list.mov", "list.mov cannot be read"
    (folder / "empty.png").write_bytes(b"")
    yield "face", folder / "empty.png", "empty (0 bytes)"
    (folder / "noise.mp4").write_bytes(np.random.default_rng(1).bytes(5000))
    yield "face", folder / "noise.mp4", "noise.mp4 cannot be read"
    (folder / "cut.mp4").write_bytes(write_film(folder / "f.mp4", numbered(9)).read_bytes()[:400])
    yield "face", folder / "cut.mp4", "cut.mp4"
    yield "face", write_wav(folder / "only.wav", tone(8000, 800), 8000), "has no picture"
    yield "face", write_picture(folder / "grey.png", numbered(9)[8]), "no face found in grey.png"
    yield "sound", write_wav(folder / "none.wav", tone(8000, 0), 8000), "holds no sound"
    yield "sound", write_film(folder / "mute.mp4", numbered(5)), "has no sound track"
    yield "sound", write_wav(folder / "long.wav", tone(8000, 168_000), 8000), "lasts 0:21 min"
    yield "face", write_film(folder / "long.mp4", numbered(50) * 2, 4), "lasts 0:25 min"


def test_what_cannot_be_used_is_said_in_one_sentence_and_nothing_stays(visitor, film, tmp_path):
    before = visitor.kept("media")
    for use, path, says in bad_files(tmp_path, film):
        answer = visitor.send(use, path)
        assert answer.status == 422, path.name
        assert says in answer.error
        assert "\n" not in answer.error
        assert "media." not in answer.error.replace("media.\n", "")
        assert str(visitor.folder) not in answer.error
    assert visitor.kept("media") == before


def test_a_file_larger_than_the_limit_is_refused(visitor):
    before = visitor.kept("media")
    answer = visitor.send("face", b"\0" * 2_000_001, "big.mp4")
    assert answer.status == 413
    assert "larger than 2 MB" in answer.error
    assert visitor.kept("media") == before


def test_a_file_that_does_not_say_how_large_it_is_is_refused_when_it_is(visitor):
    before = visitor.kept("media")
    where = urllib.parse.urlsplit(visitor.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    kind = {"Content-Type": "application/octet-stream"}
    pieces = (b"\0" * 100_000 for _ in range(21))
    connection.request("POST", "/studio/media?use=face", pieces, kind, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert visitor.kept("media") == before


def test_a_visitor_who_leaves_in_the_middle_leaves_nothing_behind(visitor):
    before = visitor.kept("media")
    where = urllib.parse.urlsplit(visitor.url)
    connection = http.client.HTTPConnection(where.hostname, where.port)
    connection.putrequest("POST", "/studio/media?use=face")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"\0" * 1000)
    until(lambda: visitor.kept("media") != before)
    connection.close()
    until(lambda: visitor.kept("media") == before)


def test_a_disk_that_fills_up_is_said_and_nothing_stays(visitor, film):
    before = visitor.kept("media")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        answer = visitor.send("face", film)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.status == 507
    assert "disk is full" in answer.error
    assert visitor.kept("media") == before


@pytest.mark.parametrize(
    ("path", "kind", "status", "says"),
    [
        ("/studio/media?use=face", "multipart/form-data", 415, "application/octet-stream"),
        ("/studio/media?use=hat", "application/octet-stream", 422, "use=face or use=sound"),
        ("/studio/media", "application/octet-stream", 422, "use=face or use=sound"),
        ("/studio/jobs", "text/plain", 415, "application/json"),
        ("/studio/jobs", "application/json", 422, "JSON"),
        ("/studio/speech", "application/json", 422, "JSON"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(visitor, path, kind, status, says):
    answer = visitor.ask("POST", path, b"hello", Content_Type=kind)
    assert answer.status == status
    assert says in answer.error


def test_an_order_too_large_to_be_one_is_refused(visitor):
    assert visitor.post("/studio/jobs", title="x" * 70_000).status == 413


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng: apt-get install it")
class TestTypedSpeech:
    def test_a_text_becomes_a_sound(self, visitor):
        answer = visitor.post("/studio/speech", text="Good morning / everybody.")
        assert answer.status == 201, answer.error
        assert 0.8 < answer.said["seconds"] < 4
        assert answer.said["name"] == "Good morning everybody."

    def test_there_are_voices_to_choose_from(self, visitor):
        voices = visitor.ask("GET", "/studio/voices").said["voices"]
        assert len(voices) > 50
        assert {"name", "language", "title"} == set(voices[0])

    @pytest.mark.parametrize(
        ("sent", "says"),
        [
            ({}, "there is no text"),
            ({"text": "  \n"}, "there is no text"),
            ({"text": "..."}, "no words"),
            ({"text": "x" * 5001}, "5000 at most"),
            ({"text": "hello", "voice": 7}, "voice is the name"),
            ({"text": "hello", "voice": "nobody"}, "nobody"),
            ({"text": "hello", "voice": "../x"}, "../x"),
            ({"text": "hello", "speed": 9}, "0.5 to 2"),
            ({"text": "hello", "speed": "fast"}, "speed is a number"),
        ],
    )
    def test_a_text_that_cannot_be_said_is_refused(self, visitor, sent, says):
        before = visitor.kept("media")
        answer = visitor.post("/studio/speech", **sent)
        assert answer.status == 422
        assert says in answer.error
        assert visitor.kept("media") == before
