"""Voices that say when phones begin, and words aligned to recordings."""

import json
import shutil

import numpy as np
import pytest

from engine.speech.toy_voices import write_toy_voice
from lipstream.cli import main
from lipstream.errors import InputError
from lipstream.lips.phones import CLASSES
from lipstream_models.corpora.labelled_speech import (
    UNKNOWN,
    TimedPhone,
    grid_sentence,
    read_durations,
    recordings,
    timed_classes,
)

PRESSED, OPEN, SPREAD_LIPS = (CLASSES.index(name) for name in ("MBP", "AA", "IY"))


def test_the_classes_of_a_glide_share_its_time():
    rows = timed_classes([TimedPhone((OPEN, SPREAD_LIPS), 0.1, 0.3), TimedPhone(None, 0.3, 0.4)])
    assert rows == [(OPEN, 0.1, 0.2), (SPREAD_LIPS, 0.2, 0.3), (UNKNOWN, 0.3, 0.4)]


def test_flites_durations_are_ends_of_phones():
    phones = list(read_durations("pau:0.200 m:0.291 ay:0.500"))
    assert [phone.start_s for phone in phones] == [0.0, 0.2, 0.291]
    assert phones[1].classes == (PRESSED,)


def test_a_grid_clip_is_named_by_its_words():
    assert grid_sentence("bbaf2n") == "bin blue at f. two now"
    assert grid_sentence("pwwazs") == "place white with letter-a zero soon"


@pytest.mark.parametrize("name", ["film", "bbaf2x"])
def test_another_name_is_no_grid_clip(name):
    with pytest.raises(InputError, match="no name of a GRID clip"):
        grid_sentence(name)


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_words_aligned_to_a_flite_voice_stand_where_flite_says(tmp_path, capsys):
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    texts, voice = tmp_path / "texts.txt", tmp_path / "voice"
    texts.write_text("my mother bought a big apple pie\n")
    words = ["train", "voices", "--engine", "flite", "--voice", "slt", "--texts", str(texts)]
    assert main([*words, "--out", str(voice)]) == 0
    table, found = tmp_path / "table.tsv", tmp_path / "aligned.json"
    table.write_text("0000.wav\tMy mother bought a big apple pie\n")
    assert main(["train", "align", str(voice), "--texts", str(table), "--out", str(found)]) == 0
    assert "1 of 1 aligned" in capsys.readouterr().out
    told, heard = (
        [start for k, start, _ in json.loads(path.read_text())["0000.wav"] if k == PRESSED]
        for path in (voice / "phones.json", found)
    )
    assert len(told) == len(heard) == 6
    assert np.abs(np.subtract(told, heard)).max() < 0.06


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_voice_of_espeak_is_read_back_with_its_phones(tmp_path):
    texts, voice = tmp_path / "texts.txt", tmp_path / "voice"
    texts.write_text("Papa malt ein Bild.\nMama auch.\n")
    words = ["train", "voices", "--engine", "espeak", "--voice", "de", "--texts", str(texts)]
    assert main([*words, "--out", str(voice)]) == 0
    first, second = recordings(voice, np.random.default_rng(0))
    assert first.mel.shape[1] == len(first.classes)
    assert all((one.classes == PRESSED).any() for one in (first, second))


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_voice_of_piper_is_read_back_with_the_phones_that_its_network_tells(tmp_path):
    texts, voice, network = (tmp_path / name for name in ("texts.txt", "voice", "toy.onnx"))
    texts.write_text("my pie\n")
    write_toy_voice(network)
    words = ["train", "voices", "--engine", "piper", "--voice", str(network), "--texts", str(texts)]
    assert main([*words, "--out", str(voice)]) == 0
    (spoken,) = recordings(voice, np.random.default_rng(0))
    pressed = spoken.classes == PRESSED
    assert np.flatnonzero(np.diff(pressed.astype(int))).size == 4, "m and p, each begins and ends"
    (book,) = json.loads((voice / "phones.json").read_text()).values()
    starts, ends = ([row[k] for row in book] for k in (1, 2))
    assert starts[1:] == ends[:-1], "phones follow each other"


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_voice_of_piper_that_does_not_tell_its_phones_is_refused(tmp_path, capsys):
    texts, network = tmp_path / "texts.txt", tmp_path / "toy.onnx"
    texts.write_text("my pie\n")
    write_toy_voice(network, lengths=False)
    words = ["train", "voices", "--engine", "piper", "--voice", str(network), "--texts", str(texts)]
    assert main([*words, "--out", str(tmp_path / "voice")]) != 0
    assert "does not tell the phones of 'my pie'" in capsys.readouterr().err
