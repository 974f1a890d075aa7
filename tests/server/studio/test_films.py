"""From files to a film, over HTTP: made, watched, cancelled, tried again, taken up, deleted."""

import io
import os
import re
import shutil
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from lipstream_server.config import StudioConfig, StudioLimits
from lipstream_server.studio.store import TRACKS
from lipstream_server.studio.subprocess_worker import FILM_NICENESS
from media_files import add_sound, numbered, tone, write_film, write_wav
from server.studio.serving import serving, until

LONG_FRAMES = 1500
WORKING = {"working"}


@pytest.fixture(scope="module")
def limits():
    return StudioLimits(film_seconds=300, waiting=3, reserve_mb=0)


@pytest.fixture(scope="module")
def sound(visitor, speech):
    return visitor.added("sound", speech)


@pytest.fixture(scope="module")
def face(visitor, film):
    return {"media": visitor.added("face", film)}


@pytest.fixture(scope="module")
def long_face(visitor, files):
    """A film that takes a few seconds to make."""
    shades = numbered(40)
    path = write_film(files / "long.mp4", [shades[k % 40] for k in range(LONG_FRAMES)])
    return {"media": visitor.added("face", path)}


@pytest.fixture(scope="module")
def long_sound(visitor, files):
    path = write_wav(files / "long.wav", tone(8000, 8000 * LONG_FRAMES // 25), 8000)
    return visitor.added("sound", path)


def decoded(content):
    """Return how many pictures a film has, and its sound, (n,) int16."""
    with av.open(io.BytesIO(content)) as opened:
        pictures = sum(1 for _ in opened.decode(video=0))
    with av.open(io.BytesIO(content)) as opened:
        sound = [frame.to_ndarray()[0] for frame in opened.decode(audio=0)]
    return pictures, np.concatenate(sound)


def decoded_pictures(content):
    with av.open(io.BytesIO(content)) as opened:
        return sum(1 for _ in opened.decode(video=0))


def children():
    """Return the processes that this one started and that work on a studio."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            status = (place / "status").read_text()
        except OSError:
            continue
        if (
            b"lipstream_server.studio.subprocess_worker" in command
            and f"PPid:\t{os.getpid()}\n" in status
        ):
            found.append(int(place.name))
    return found


@pytest.mark.slow
def test_a_picture_and_a_sound_become_a_film(visitor, portrait, sound):
    asked = visitor.order({"media": visitor.added("face", portrait)}, {"sound": sound})
    assert asked.status == 201
    assert asked.headers["location"] == f"/studio/jobs/{asked.said['id']}"
    job = visitor.wait(asked.said["id"])
    assert (job["state"], job["message"]) == ("done", None)
    film = visitor.ask("GET", job["film"]["link"])
    assert (film.status, film.headers["content-type"]) == (200, "video/mp4")
    assert "attachment" not in film.headers.get("content-disposition", "")
    with av.open(io.BytesIO(film.body)) as opened:
        picture = next(opened.decode(video=0))
        assert (picture.width, picture.height) == (192, 192)
        assert "synthetic" in opened.metadata["comment"]
    assert decoded(film.body)[0] == job["film"]["frames"] == 10
    assert len(film.body) == job["film"]["bytes"]
    figures = metrics(visitor)
    assert (
        figures["films_working"] == figures["films_waiting"] == figures["films_failed_total"] == 0
    )
    assert figures["films_finished_total"] >= 1
    assert figures["film_seconds_total"] >= 0.4
    assert figures["received_bytes_total"] >= portrait.stat().st_size
    assert figures["kept_bytes"] >= len(film.body)


def metrics(visitor):
    """Return what the studio tells a monitoring system."""
    told = re.findall(
        r"^lipstream_studio_(\S+) (\S+)$", visitor.ask("GET", "/metrics").body.decode(), re.M
    )
    return {name: float(value) for name, value in told}


@pytest.mark.slow
def test_a_preview_is_told_as_one_and_the_film_before_is_there_to_compare(visitor, face, sound):
    job = visitor.wait(visitor.order(face, {"sound": sound}, preview=True).said["id"])
    assert (job["state"], job["preview"]) == ("done", True)
    before = job["film"]["before"]
    assert before["kind"] == "film"
    answer = visitor.ask("GET", before["link"])
    assert (answer.status, answer.headers["content-type"]) == (200, "video/x-matroska")
    assert decoded_pictures(answer.body) == 50
    avatar = visitor.wait(visitor.order({"avatar": "ada"}, {"sound": sound}).said["id"])
    assert avatar["film"]["before"] is None
    assert visitor.ask("GET", f"/studio/jobs/{avatar['id']}/face").status == 404


@pytest.mark.slow
def test_a_preview_waits_for_no_film(visitor, face, sound, long_face, long_sound):
    film = visitor.order(long_face, {"sound": long_sound}).said["id"]
    visitor.wait(film, WORKING)
    preview = visitor.order(face, {"sound": sound}, preview=True).said["id"]
    visitor.wait(preview, {*WORKING, "done"})
    assert visitor.job(film)["state"] == "working"
    assert visitor.wait(preview)["state"] == "done"
    visitor.post(f"/studio/jobs/{film}/cancel")


@pytest.mark.slow
def test_a_preview_is_watched_while_it_is_made(visitor, long_face, long_sound):
    preview = visitor.order(long_face, {"sound": long_sound}, preview=True).said["id"]
    while not (link := visitor.job(preview)["growing"]):
        assert visitor.job(preview)["state"] in {"waiting", *WORKING}
    made = visitor.ask("GET", link)  # to its end: what is not there yet is waited for
    assert (made.status, made.headers["content-type"]) == (200, "video/mp4")
    done = visitor.wait(preview)
    pictures, heard = decoded(made.body)
    assert pictures == done["film"]["frames"]
    assert abs(len(heard) / 8_000 - done["film"]["seconds"]) < 0.2
    assert done["growing"] is None
    assert visitor.ask("GET", link).status == 404
    assert not list(visitor.folder.rglob("growing.mp4"))


@pytest.mark.slow
def test_where_faces_are_is_noted_beside_the_file_and_goes_with_it(visitor, film, sound):
    media = visitor.added("face", film)
    noted = visitor.folder / "media" / media / TRACKS
    assert not noted.exists()
    job = visitor.wait(visitor.order({"media": media}, {"sound": sound}).said["id"])
    assert job["state"] == "done"
    assert noted.is_file()
    assert noted.stat().st_mode & 0o777 == 0o600
    assert visitor.ask("DELETE", f"/studio/media/{media}").status == 204
    assert not noted.parent.exists()


@pytest.mark.slow
def test_pieces_are_spoken_where_they_were_put_and_the_rest_is_kept(visitor, face, sound):
    speech = [{"sound": sound, "at": 0.52, "until": 0.8}, {"sound": sound, "at": 1.2}]
    job = visitor.wait(visitor.order(face, *speech, title="Two words").said["id"])
    assert (job["state"], job["title"]) == ("done", "Two words")
    film = visitor.ask("GET", job["film"]["link"])
    pictures, _ = decoded(film.body)
    assert pictures == 50
    spoken = job["film"]["faceless"]
    assert spoken == 7 + 10  # frames of the two pieces: this film shows nobody


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="no espeak-ng")
def test_what_a_typed_text_says_is_there_as_captions_of_two_forms(visitor, sound):
    spoken = visitor.post("/studio/speech", text="Good morning everybody.").said["id"]
    asked = visitor.order({"avatar": "ada"}, {"sound": spoken})
    captions = visitor.wait(asked.said["id"])["film"]["captions"]
    shown, saved = visitor.ask("GET", captions), visitor.ask("GET", f"{captions}&format=srt")
    assert shown.headers["content-type"].startswith("text/vtt")
    assert shown.body.startswith(b"WEBVTT")
    assert saved.headers["content-type"].startswith("application/x-subrip")
    assert saved.headers["content-disposition"] == 'attachment; filename="captions.srt"'
    assert re.match(rb"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", saved.body)
    for words in (shown.body, saved.body):
        assert b"Good morning everybody." in words
    silent = visitor.wait(visitor.order({"avatar": "ada"}, {"sound": sound}).said["id"])
    assert silent["film"]["captions"] is None
    assert visitor.ask("GET", f"/studio/jobs/{silent['id']}/captions").status == 404


@pytest.mark.slow
def test_a_film_may_become_as_long_as_what_is_said(visitor, face, files):
    path = write_wav(files / "three.wav", tone(8000, 24_000), 8000)
    piece = {"sound": visitor.added("sound", path)}
    asked = visitor.order(face, piece, length="speech", ends="bounce")
    job = visitor.wait(asked.said["id"])
    assert job["film"]["seconds"] == pytest.approx(3.0)


@pytest.mark.slow
def test_a_film_can_be_sought_in_and_downloaded_under_its_title(visitor, face, sound):
    asked = visitor.order(face, {"sound": sound}, title='Grüße: "A/B"\n')
    job = visitor.wait(asked.said["id"])
    link = job["film"]["link"]
    part = visitor.ask("GET", link, Range="bytes=4-7")
    assert (part.status, part.body) == (206, b"ftyp")
    saved = visitor.ask("GET", link + "&download=1")
    named = saved.headers["content-disposition"]
    assert named.startswith("attachment; filename*=utf-8''")
    assert not set('"/\\\n').intersection(named.partition("''")[2])


@pytest.mark.slow
def test_progress_is_told_while_others_wait_and_a_film_can_be_cancelled(
    visitor, long_face, long_sound
):
    names = [visitor.order(long_face, {"sound": long_sound}).said["id"] for _ in range(3)]
    full = visitor.order(long_face, {"sound": long_sound})
    assert full.status == 503
    assert "3 films" in full.error
    assert "Retry-After" in {name.title() for name in full.headers}
    until(lambda: (visitor.job(names[0])["progress"] or {}).get("left_s"))
    seen = visitor.job(names[0])["progress"]
    assert 0 < seen["done"] < seen["of"] == 2 * LONG_FRAMES
    assert visitor.job(names[2])["before"] == 2
    (child,) = children()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child) == min(19, ours + FILM_NICENESS)
    busy = visitor.ask("DELETE", f"/studio/jobs/{names[0]}")
    assert (busy.status, "cancel it first" in busy.error) == (409, True)
    for name in reversed(names):
        assert visitor.ask("POST", f"/studio/jobs/{name}/cancel").said["state"] == "cancelled"
    assert children() == []
    assert visitor.ask("POST", f"/studio/jobs/{names[0]}/cancel").status == 409
    left = {path.name for path in (visitor.folder / "jobs" / names[0]).iterdir()}
    assert left == {"job.json", "poster.jpg", "face.mp4", "sound-1.wav"}
    for name in names:
        assert visitor.ask("DELETE", f"/studio/jobs/{name}").status == 204
        assert visitor.ask("GET", f"/studio/jobs/{name}").status == 404
    assert not set(names) & set(visitor.kept("jobs"))


@pytest.mark.slow
def test_a_film_whose_maker_is_killed_says_so_and_goes_on_when_tried_again(
    visitor, long_face, long_sound
):
    name = visitor.order(long_face, {"sound": long_sound}).said["id"]
    work = visitor.folder / "jobs" / name / ".film.mp4.work"
    until((work / "000000.mp4").exists)
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    job = visitor.wait(name)
    assert metrics(visitor)["films_failed_total"] >= 1
    assert (job["state"], job["message"]) == (
        "failed",
        "the work on it ended unexpectedly on the server: try again",
    )
    part = (work / "000000.mp4").stat()
    assert visitor.ask("POST", f"/studio/jobs/{name}/again").said["state"] == "waiting"
    visitor.wait(name, WORKING)
    until((work / "000001.mp4").exists)
    assert (work / "000000.mp4").stat().st_mtime_ns == part.st_mtime_ns
    visitor.ask("POST", f"/studio/jobs/{name}/cancel")


@pytest.mark.slow
def test_films_survive_the_server(worker, toy_avatar, toy_folder, tmp_path, files, speech):
    shades = numbered(40)
    frames = [shades[k % 40] for k in range(600)]
    long = write_film(files / "half.mp4", frames)
    words = write_wav(files / "half.wav", tone(8000, 8000 * 24), 8000)
    limits = StudioLimits(reserve_mb=0)
    config = StudioConfig(tmp_path / "kept", model=toy_folder, limits=limits)
    with serving(worker, toy_avatar, config) as visitor:
        face = {"media": visitor.added("face", long)}
        name = visitor.order(face, {"sound": visitor.added("sound", words)}).said["id"]
        short = visitor.added("sound", speech)
        later = visitor.order({"avatar": "ada"}, {"sound": short}, quality="low").said["id"]
        work = config.folder / "jobs" / name / ".film.mp4.work"
        until((work / "000000.mp4").exists)
        stamp = (work / "000000.mp4").stat().st_mtime_ns
    assert children() == []
    assert (work / "000000.mp4").stat().st_mtime_ns == stamp
    with serving(worker, toy_avatar, config) as visitor:
        assert visitor.job(later)["state"] == "waiting"
        job = visitor.wait(name)
        assert (job["state"], job["film"]["frames"]) == ("done", 600)
        assert visitor.wait(later)["state"] == "done"
        assert not work.exists()


@pytest.mark.slow
def test_what_goes_wrong_while_a_film_is_made_is_said_by_the_names_of_its_owner(
    visitor, files, sound
):
    sized = write_film(files / "a.mkv", numbered(10))
    broken = add_sound(sized, np.zeros((1600, 1), np.int16), 8000)
    name = visitor.added("face", broken)
    (kept,) = (visitor.folder / "media" / name).glob("media.mkv")
    asked = visitor.order({"media": name}, {"sound": sound, "until": 0.2})
    visitor.wait(asked.said["id"])
    whole = kept.read_bytes()
    kept.write_bytes(whole[:500])  # as a disk does that goes bad; the film has the same file
    job = visitor.wait(visitor.order({"media": name}, {"sound": sound, "until": 0.2}).said["id"])
    assert job["state"] == "failed"
    assert broken.name in job["message"]
    assert "face.mkv" not in job["message"]
    left = {path.name for path in (visitor.folder / "jobs" / job["id"]).iterdir()}
    assert left == {"job.json", "poster.jpg", "face.mkv", "sound-1.wav"}
    assert visitor.ask("GET", f"/studio/jobs/{job['id']}/film").status == 404
