"""A text in place of a sound, spoken by a real HTTP server on 127.0.0.1."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from engine.speech.toy_voices import hum, send_chunks, send_text, speech_server
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError, MediaError
from lipstream.film import render as module
from lipstream.film.job import parse_segment
from lipstream.film.plan import speak_texts
from lipstream.film.render import RenderJob, render
from lipstream.speech import SpeechSettings
from media_files import film_contents, numbered, tone, write_film, write_wav


@pytest.fixture
def server():
    with speech_server() as running:
        yield running


@pytest.fixture
def job(tmp_path, toy_folder, toy_pack, server):
    return RenderJob(
        toy_pack,
        None,
        tmp_path / "a.mp4",
        toy_folder,
        text="Hello there. And goodbye.",
        speech=SpeechSettings("openai", url=server.url),
    )


def test_a_text_becomes_a_film_of_its_speech(job, tmp_path):
    rendered = render(job)
    _, sound, rate = film_contents(job.output)
    assert rendered.seconds == pytest.approx(1.0)
    assert rate == 24_000
    speech = np.concatenate([hum(0.5), hum(0.5)])
    assert np.corrcoef(sound[: len(speech)], speech)[0, 1] > 0.98
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_voice_that_fails_leaves_nothing_half_written(job, tmp_path, server):
    server.answer = send_chunks(server, hum(0.5).tobytes(), None)
    server.go_on.set()
    with pytest.raises(BackendUnavailable, match="hung up"):
        render(job)
    assert list(tmp_path.iterdir()) == []


def test_a_film_taken_up_again_is_spoken_by_the_same_speech(job, tmp_path, server, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_finish", killed)
    with pytest.raises(KeyboardInterrupt):
        render(job)
    monkeypatch.undo()
    server.answer = send_text(500, "gone")
    assert render(job).resumed == 25
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_speech_of_another_text_is_not_taken(job, tmp_path):
    with pytest.raises(KeyboardInterrupt), speak_texts(job):
        raise KeyboardInterrupt
    [old] = tmp_path.iterdir()
    other = RenderJob(job.face, None, job.output, text="Other.", speech=job.speech)
    with speak_texts(other) as changed:
        assert changed.sound != old
        assert changed.text is None
        assert not old.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_sound_and_a_text_are_refused(job, tmp_path):
    sound = write_wav(tmp_path / "a.wav", tone(16_000, 800), 16_000)
    with pytest.raises(InputError, match="not several"):
        render(RenderJob(job.face, sound, job.output, text="Hello"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--text", "Hi", "--text-file", "a.txt"], "not both"),
        (["a.wav", "--text", "Hi"], "not several"),
        (["--text-file", "nowhere.txt"], "cannot be read"),
        (["--text", "Hi", "--provider", "openai"], "--speech-url"),
        (["--text", "Hi", "--speed", "7"], "0.5 to 2"),
        ([], "give AUDIO, --text"),
    ],
)
def test_what_cannot_be_said_is_refused_in_a_sentence(tmp_path, capsys, arguments, says):
    assert main(["render", "ada", *arguments, "-o", str(tmp_path / "a.mp4")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "says"), [(b"\xff\xfeH", "not text in UTF-8"), (b"", "no words")])
def test_a_file_that_is_no_text_is_refused(job, tmp_path, server, capsys, text, says):
    file = tmp_path / "a.txt"
    file.write_bytes(text)
    voice = ["--provider", "openai", "--speech-url", server.url]
    film = ["-o", str(tmp_path / "a.mp4")]
    assert main(["render", "ada", "--text-file", str(file), *voice, *film]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def on_film(job, tmp_path):
    """A film of two seconds in which texts of half a second each are to be spoken."""
    return replace(job, face=write_film(tmp_path / "film.mkv", numbered(50)), text=None)


def saying(job, *texts):
    return replace(job, segments=tuple(parse_segment(f"text={text}") for text in texts))


def test_segments_of_text_are_spoken_where_they_belong(on_film, tmp_path, server):
    job = saying(on_film, "One.,at=0.2", "Two.,at=1.2,voice=bob,speed=1.5,until=1.5")
    rendered = render(job)
    assert (rendered.frames, rendered.seconds) == (50, 2.0)
    _, sound, rate = film_contents(job.output)
    loud = np.abs(sound.astype(int)) > 1000
    heard = [loud[round(at * rate) :][: rate // 10].any() for at in (0.05, 0.3, 0.9, 1.3, 1.7)]
    assert heard == [False, True, False, True, False]
    assert [(one["input"], one["voice"], one.get("speed")) for one in server.asked] == [
        ("One.", "alloy", None),
        ("Two.", "bob", 1.5),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "film.mkv"]


def test_sounds_stay_and_a_text_said_twice_is_spoken_once(on_film, tmp_path, server):
    job = saying(on_film, "One.,at=0", "One.,at=1")
    own = parse_segment("sound=a.wav,at=1.5")
    with speak_texts(replace(job, segments=(*job.segments, own))) as changed:
        first, second, third = changed.segments
        assert first.sound == second.sound
        assert first.sound.is_file()
        assert third == own
    assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["One.,at=0", "And that is quite a long sentence.,at=0.3"], "'And that is quite a long"),
        (["One.,at=0", "Two.,at=0.3"], "'Two.', from 0.3 s, overlaps 'One.', which ends"),
        (["One.,at=9"], "'One.' is to be spoken from 9 s, outside the film"),
        (["One.,at=1.8"], "'One.' would be spoken until 2.32 s, but the film ends"),
        (["One.,to=3"], "'One.' lasts 0.50 s: the part from 0 to 3 s is not in it"),
        (["One.,at=0", "?!,at=1"], r"segment '\?!': the text has no words"),
        (["One.,at=0", "Two.,at=1,speed=9"], "segment 'Two.': .* 0.5 to 2"),
    ],
)
def test_texts_that_do_not_fit_leave_nothing(on_film, tmp_path, texts, says):
    with pytest.raises(InputError, match=says):
        render(saying(on_film, *texts))
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


def test_a_voice_that_stops_in_a_later_segment_leaves_nothing(on_film, tmp_path, server):
    whole, broken = server.answer, send_chunks(server, hum(0.5).tobytes(), None)
    server.go_on.set()

    def break_at_two(request):
        (broken if "Two." in str(server.asked) else whole)(request)

    server.answer = break_at_two
    with pytest.raises(BackendUnavailable, match=r"segment 'Two\.': .*hung up"):
        render(saying(on_film, "One.,at=0", "Two.,at=1"))
    assert len(server.asked) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng")
def test_a_segment_in_a_script_that_its_voice_cannot_read_is_refused(tmp_path, capsys):
    film = write_film(tmp_path / "film.mkv", numbered(50))
    texts = [
        "--segment",
        "text=Hello.,at=0",
        "--segment",
        "text=\u0645\u0631\u062d\u0628\u0627,at=1",
    ]
    assert main(["render", str(film), *texts, "-o", str(tmp_path / "a.mp4")]) == 2
    said = capsys.readouterr().err
    assert "segment '\u0645\u0631\u062d\u0628\u0627': " in said
    assert "Arabic" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


def test_segments_taken_up_again_are_spoken_by_the_same_speech(on_film, tmp_path, server):
    job = saying(on_film, "One.,at=0", "Two.,at=1")
    with pytest.raises(KeyboardInterrupt), speak_texts(job) as before:
        raise KeyboardInterrupt
    server.answer = send_text(500, "gone")
    with speak_texts(job) as again:
        assert again == before
        assert all(one.sound.is_file() for one in again.segments)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


@pytest.mark.slow
def test_the_lips_of_each_frame_are_written_as_face_units(tmp_path, toy_pack):
    write_wav(tmp_path / "a.wav", tone(16_000, 24_000), 16_000)
    job = RenderJob(toy_pack, tmp_path / "a.wav", tmp_path / "a.mp4")
    rendered = render(replace(job, units=tmp_path / "a.csv"))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("frame,seconds,jawOpen,mouthClose,")
    assert len(lines) == 1 + rendered.frames
    render(replace(job, units=tmp_path / "a.json"))
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["fps"] == 25
    assert len(told["frames"]) == rendered.frames
    names = [*told["units"], *told["measures"]]
    assert lines[0].split(",")[2:] == names
    assert [float(value) for value in lines[9].split(",")[2:]] == told["frames"][8]


def test_units_are_refused_where_a_model_paints_pixels_or_the_name_is_unfit(job, tmp_path):
    with pytest.raises(InputError, match="how the lips stand"):
        render(replace(job, units=tmp_path / "a.csv"))
    with pytest.raises(MediaError, match=r"ends in \.csv, \.json"):
        render(replace(job, units=tmp_path / "a.txt"))
