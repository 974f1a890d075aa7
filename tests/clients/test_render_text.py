"""A text in place of a sound, spoken by a real HTTP server on 127.0.0.1."""

import numpy as np
import pytest

from clients.making import film_contents, tone, write_wav
from engine.speaking.talkers import hum, send_chunks, send_text, speech_server
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError
from lipstream.speaking import SpeechSettings
from lipstream_clients import render as module
from lipstream_clients.render import RenderJob, render
from lipstream_clients.render_speech import spoken


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
    with pytest.raises(KeyboardInterrupt), spoken(job):
        raise KeyboardInterrupt
    [old] = tmp_path.iterdir()
    other = RenderJob(job.face, None, job.output, text="Other.", speech=job.speech)
    with spoken(other) as changed:
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
