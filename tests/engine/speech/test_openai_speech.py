"""A voice behind a real HTTP server on 127.0.0.1."""

import struct
import threading

import numpy as np
import pytest

from engine.speech.toy_voices import RATE, hum, send_chunks, send_pcm, send_text, speech_server
from lipstream.errors import BackendUnavailable, InputError
from lipstream.speech import SpeechQueue, SpeechSettings, open_voice, read_aloud
from lipstream.speech import openai_speech as module

KEY = "LIPSTREAM_SPEECH_KEY"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def server():
    with speech_server() as running:
        yield running


@pytest.fixture
def settings(server):
    return SpeechSettings("openai", "nova", url=server.url)


def heard(settings, text="Hello there."):
    return np.concatenate([s.pcm for s in read_aloud(open_voice(settings), text)])


def test_a_sentence_is_asked_for_in_the_known_form_and_heard_untouched(server, settings):
    assert np.array_equal(heard(settings), hum(0.5))
    assert server.asked == [
        {
            "path": "/v1/audio/speech",
            "model": "tts-1",
            "input": "Hello there.",
            "voice": "nova",
            "response_format": "pcm",
        }
    ]
    assert server.keys == [None]


def test_a_recorded_voice_is_sent_along_to_be_imitated(server, tmp_path):
    recorded = wav(hum(0.2)) + b"\r\n--\0"
    (tmp_path / "me.wav").write_bytes(recorded)
    server.answer = send_chunks(server, wav(hum(0.3)), b"")
    server.go_on.set()
    settings = SpeechSettings("openai", str(tmp_path / "me.wav"), url=server.url, speed=1.5)
    assert np.array_equal(heard(settings, "Guten Tag, Zoë."), hum(0.3))
    assert server.asked == [
        {
            "path": "/v1/audio/speech/upload",
            "model": "tts-1",
            "input": "Guten Tag, Zoë.",
            "response_format": "wav",
            "speed": "1.5",
            "voice_file": recorded,
        }
    ]


def test_a_recording_that_is_not_there_is_named_before_anything_is_asked(server):
    with pytest.raises(InputError, match=r"the voice gone\.mp3 cannot be read"):
        open_voice(SpeechSettings("openai", "gone.mp3", url=server.url))
    assert server.asked == []


def test_each_sentence_is_asked_for_by_itself(server, settings):
    pcm = heard(settings, "One. Two? Three!")
    assert [asked["input"] for asked in server.asked] == ["One.", "Two?", "Three!"]
    assert len(pcm) == 3 * len(hum(0.5))


def test_the_first_sound_does_not_wait_for_the_whole_sentence(server, settings):
    whole = hum(0.5).tobytes()
    server.answer = send_chunks(server, whole[:4801], whole[4801:])  # cut in mid-sample
    speech = read_aloud(open_voice(settings), "Hello.")
    first = next(speech)
    assert not server.go_on.is_set()
    server.go_on.set()
    rest = [spoken.pcm for spoken in speech]
    assert np.array_equal(np.concatenate([first.pcm, *rest]), hum(0.5))


def wav(pcm, rate=RATE, channels=1, size=None):
    sound = pcm.astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    size = len(sound) if size is None else size
    listed = b"LIST" + struct.pack("<I", 6) + b"abcdef"
    header = b"WAVE" + listed + b"fmt " + struct.pack("<I", 16) + form + b"data"
    return b"RIFF" + struct.pack("<I", 0) + header + struct.pack("<I", size) + sound


@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF], ids=["known", "none", "streamed"])
def test_servers_that_know_only_wav_are_understood(server, settings, size):
    sent = wav(hum(0.3), size=size)
    server.answer = send_chunks(server, sent[:17], sent[17:])
    server.go_on.set()
    assert np.array_equal(heard(settings), hum(0.3))


def test_what_follows_the_sound_in_a_wav_is_not_played(server, settings):
    sent = wav(hum(0.3)) + b"LIST" + bytes(200)
    server.answer = send_chunks(server, sent[:20_000], sent[20_000:])
    server.go_on.set()
    assert np.array_equal(heard(settings), hum(0.3))


def refusal(settings, text="Hello there."):
    with pytest.raises((BackendUnavailable, InputError)) as caught:
        heard(settings, text)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "set LIPSTREAM_SPEECH_KEY"),
        (404, "check --speech-url"),
        (429, "try later"),
        (500, "see its log"),
        (307, "see its log"),
    ],
)
def test_a_refusal_is_passed_on_with_what_to_do(server, settings, status, says):
    server.answer = send_text(status, '{"error": {"message": "no such\nvoice"}}')
    said = refusal(settings)
    assert f"HTTP {status}" in said
    assert "no such voice" in said
    assert says in said


def test_what_is_no_sound_is_named(server, settings):
    server.answer = send_text(200, "<html>hello</html>", "text/html; charset=utf-8")
    assert "answered with text/html where sound was asked for" in refusal(settings)
    server.answer = send_text(200, "ID3", "audio/mpeg")
    assert "audio/mpeg" in refusal(settings)


def test_sound_at_another_rate_is_named_with_the_option_that_helps(server, settings):
    server.answer = send_pcm(hum(0.1), "audio/pcm;rate=16000")
    assert "add --speech-rate 16000" in refusal(settings)
    sent = wav(hum(0.1), rate=22_050)
    server.answer = send_chunks(server, sent[:9], sent[9:])
    server.go_on.set()
    assert "add --speech-rate 22050" in refusal(settings)


def test_a_server_that_hangs_up_in_mid_sentence_is_named(server, settings):
    server.answer = send_pcm(hum(0.5), length=99_999)
    assert "hung up in mid-sentence" in refusal(settings)
    server.go_on.set()
    server.answer = send_chunks(server, hum(0.5).tobytes(), None)
    assert "hung up in mid-sentence" in refusal(settings)
    server.answer = send_pcm(hum(0.5)[:0])
    assert "sent no sound" in refusal(settings)


def test_a_server_that_stops_answering_in_mid_sentence_is_given_up(server, settings, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    server.answer = send_chunks(server, hum(0.2).tobytes(), b"")
    assert "stopped answering" in refusal(settings)


def test_a_server_that_never_ends_is_given_up(server, settings, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.3)
    assert "did not end" in refusal(settings)


def test_a_server_that_is_not_there_is_named(settings):
    with speech_server() as gone:
        url = gone.url
    said = refusal(SpeechSettings("openai", url=url))
    assert "there is no speech server at 127.0.0.1" in said


@pytest.mark.parametrize("url", [None, "", "localhost:80", "ftp://a/b", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url):
    with pytest.raises(InputError, match="--speech-url"):
        open_voice(SpeechSettings("openai", url=url))


def test_the_key_comes_from_the_environment_and_goes_to_that_server(server, settings, monkeypatch):
    monkeypatch.setenv(KEY, "secret-1")
    heard(settings)
    assert server.keys == ["Bearer secret-1"]


def test_a_key_does_not_travel_in_the_open(monkeypatch):
    monkeypatch.setenv(KEY, "secret-1")
    with pytest.raises(InputError, match="https") as caught:
        open_voice(SpeechSettings("openai", url="http://speech.example/v1"))
    assert "secret" not in str(caught.value)
    open_voice(SpeechSettings("openai", url="https://speech.example/v1"))


def test_somebody_who_interrupts_does_not_wait_for_the_server(server, settings):
    server.answer = send_chunks(server, hum(0.2).tobytes(), b"", wait_s=30)
    reading = SpeechQueue(open_voice(settings), "Hello there. And more.")
    made = threading.Event()
    while reading.take() is None:
        made.wait(0.002)
    reading.close()
    reading.join(5)
    assert not server.go_on.is_set()
    assert not reading._thread.is_alive()
    assert len(server.asked) == 1
