"""Phones kept in a sound file beside its sound."""

import wave

import pytest

from lipstream.errors import InputError
from lipstream.lips.phones import CLASSES, Phone, classes_of_arpabet
from lipstream.speech import load_phones
from lipstream.speech.text_to_speech import append_phones


def speech_file(path, seconds=1.0):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 22_050, 0, "NONE", ""))
        file.writeframes(bytes(2 * int(22_050 * seconds) + 2))


def test_phones_written_into_a_sound_are_read_back_and_the_sound_is_as_it_was(tmp_path):
    path = tmp_path / "a.wav"
    speech_file(path)
    phones = [
        Phone(classes_of_arpabet("b"), 2205, 4410),
        Phone(classes_of_arpabet("ay"), 4410, 8820),
        Phone(None, 8820, 9000),
    ]
    append_phones(path, phones, 22_050)
    back = load_phones(path, 48_000)
    pressed, open_mouth, wide = (CLASSES.index(name) for name in ("MBP", "AA", "IY"))
    assert [one.classes for one in back] == [(pressed,), (open_mouth,), (wide,), None]
    assert [(one.start, one.stop) for one in back[:2]] == [(4800, 9600), (9600, 14_400)]
    with wave.open(str(path)) as file:
        assert file.getnframes() == 22_051
    size = path.stat().st_size
    assert int.from_bytes(path.read_bytes()[4:8], "little") == size - 8


def test_a_sound_without_phones_has_none(tmp_path):
    path = tmp_path / "a.wav"
    speech_file(path)
    assert load_phones(path, 16_000) == ()
    (tmp_path / "b.mp3").write_bytes(b"ID3 and more")
    assert load_phones(tmp_path / "b.mp3", 16_000) == ()


@pytest.mark.parametrize("text", [b"[[1, 2]]", b"[[77, 0.0, 1.0]]", b"{", b"[3]", b'"x"'])
def test_broken_phones_are_told(tmp_path, text):
    path = tmp_path / "a.wav"
    speech_file(path)
    with path.open("ab") as file:
        file.write(b"phon" + len(text).to_bytes(4, "little") + text)
    with pytest.raises(InputError, match="phones is broken"):
        load_phones(path, 16_000)
