"""Training the lip network: labels, targets put right, variation, and a run from files."""

import json
import wave
from dataclasses import replace

import numpy as np
import pytest
import torch

from lipstream.cli import main
from lipstream.lips.phones import CLASSES
from lipstream.lips.shape import MEASURES
from lipstream_models.corpora.labelled_speech import (
    UNKNOWN,
    LabelledSpeech,
    LabelledUtterance,
    column_classes,
    frame_columns,
)
from lipstream_models.networks.lip_network import LipNetwork, without_noise_along
from lipstream_models.training.augmentation import (
    LipExamples,
    LipVariation,
    babble_mels,
    loudest,
    mix,
)
from lipstream_models.training.lip_targets import find_directions, put_right
from lipstream_models.training.lips import (
    LEARNT_COLUMNS,
    LIP_OPTIONS,
    LipSource,
    LipTrainer,
    TrainingUtterance,
)

PRESSED, TUCKED, OPEN, ROUND = (CLASSES.index(name) for name in ("MBP", "FV", "AA", "UW"))
COLUMNS = 241


def utterance(seed, filmed=True):
    """A clip whose lips open at AA, narrow at UW and do not quite close at MBP, and its sound."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.repeat([0, PRESSED, TUCKED, OPEN, ROUND], 6))
    classes = np.repeat(kinds, 8)
    classes = np.concatenate([classes, np.zeros(COLUMNS - len(classes), np.int64)])
    mel = np.full((80, COLUMNS), -3.0, np.float32) + 0.1 * rng.standard_normal((80, COLUMNS))
    for index in (PRESSED, TUCKED, OPEN, ROUND):
        mel[index * 10 : index * 10 + 10, classes == index] = 2.0
    shown = classes[frame_columns(75)]
    lips = 0.1 * rng.standard_normal((75, MEASURES))
    lips[:, 0] += np.array([0.0, 0.7, 0.9, 3.0, 1.5])[
        np.searchsorted([0, PRESSED, TUCKED, ROUND, OPEN], shown).clip(max=4)
    ]
    lips[shown == ROUND, 3] -= 2.0
    return LabelledUtterance(
        f"clip{seed}", mel.astype(np.float32), classes, lips.astype(np.float32) if filmed else None
    )


@pytest.fixture(scope="module")
def film():
    return [utterance(seed) for seed in range(4)]


def test_a_phone_marks_the_columns_whose_centres_it_holds():
    classes = column_classes([(PRESSED, 0.1, 0.2), (UNKNOWN, 0.2, 0.25)], 24)
    assert np.flatnonzero(classes == PRESSED).tolist() == list(range(8, 16))
    assert np.flatnonzero(classes == UNKNOWN).tolist() == list(range(16, 20))


def test_frames_stand_ten_milliseconds_after_their_start():
    assert frame_columns(5).tolist() == [0, 4, 7, 10, 13]


def test_labelled_speech_is_read_as_it_was_written(film, tmp_path):
    both = (film[0], utterance(9, filmed=False))
    LabelledSpeech(both).save(tmp_path / "two.npz")
    read = LabelledSpeech.load(tmp_path / "two.npz").utterances
    assert [one.name for one in read] == ["clip0", "clip9"]
    assert np.array_equal(read[1].classes, both[1].classes)
    assert np.allclose(read[1].mel, both[1].mel, atol=2e-3)
    assert read[1].lips is None
    assert np.array_equal(read[0].lips, both[0].lips)


def test_lips_that_hardly_close_are_closed_at_p_b_and_m_and_nowhere_else(film):
    directions = find_directions(film)
    classes = np.zeros(60, np.int64)
    classes[20:32], classes[32:50] = PRESSED, OPEN
    lips = np.ones((60, MEASURES), np.float32)
    right = put_right(lips, classes, directions)
    assert right[22:28, 0].max() < 0
    assert np.allclose(right[:14], 1)
    assert np.allclose(right[38:], 1)


def test_rounding_is_found_on_film_as_a_narrower_mouth(film):
    directions = find_directions(film)
    assert directions.rounding[3] < -1.0
    assert (directions.rounding[:3] == 0).all()


def test_two_sounds_of_one_level_are_three_decibels_louder():
    level = torch.zeros(1)
    assert mix(level, level).item() == pytest.approx(3.01 * 0.08, abs=1e-3)


def test_babble_is_of_three_to_eight_voices_about_as_loud_as_each_other():
    bands = [np.full((80, 500), -4.0, np.float32) for _ in range(9)]
    for k, voice in enumerate(bands):
        voice[8 * k : 8 * k + 8] = 1.0 + 0.1 * k  # each speaks in bands of its own
    babble = babble_mels(bands, 20, seed=1)
    assert babble.shape == (20, 80, 480)
    heard = torch.stack([(babble[:, 8 * k] > -3.5).any(1) for k in range(9)])
    speakers = heard.sum(0)
    assert speakers.min() >= 2
    assert speakers.max() <= 8
    assert loudest(babble[:, None]).min() > -0.41  # each was softened by 5 dB at most
    assert torch.equal(babble, babble_mels(bands, 20, seed=1))
    assert not torch.equal(babble, babble_mels(bands, 20, seed=2))
    with pytest.raises(ValueError, match="no voices"):
        babble_mels([], 1, seed=1)


def test_variation_repeats_with_its_seed_and_keeps_each_label_at_its_sound():
    one = utterance(1)
    count = 32
    mel = torch.from_numpy(one.mel)[None, None].repeat(count, 1, 1, 1)
    classes = torch.from_numpy(one.classes)[None].repeat(count, 1)
    lips = torch.from_numpy((one.classes == OPEN).astype(np.float32))[None, :, None]
    batch = LipExamples(mel, classes, lips.repeat(count, 1, MEASURES), torch.ones(count))
    silence, noise = torch.full((2, 80, 400), -4.0), torch.full((2, 80, 400), -1.0)
    variation = LipVariation(160, silence, noise, silence)
    varied = variation.vary(batch, torch.Generator().manual_seed(3))
    again = variation.vary(batch, torch.Generator().manual_seed(3))
    assert torch.equal(varied.mel, again.mel)
    assert varied.mel.shape == (count, 1, 80, 160)
    apart = (varied.lips[..., 0] - (varied.classes == OPEN).float()).abs()
    assert apart.max() < 0.75  # between two columns, at most
    assert (apart > 0.51).float().mean() < 0.01


@pytest.mark.slow
def test_speech_is_labelled_lips_are_trained_on_it_and_the_run_goes_on(film, tmp_path, capsys):
    LabelledSpeech(tuple(film)).save(tmp_path / "film.npz")
    voices = tmp_path / "voice"
    voices.mkdir()
    pcm = (3000 * np.sin(np.arange(32_000) / 9)).astype("<i2")
    for name in ("a.wav", "b.wav"):
        with wave.open(str(voices / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(pcm.tobytes())
    phones = [[0, 0.0, 0.5], [PRESSED, 0.5, 0.6], [OPEN, 0.6, 2.0]]
    (voices / "phones.json").write_text(json.dumps({"a.wav": phones, "b.wav": phones}))
    labelled = str(tmp_path / "voices.npz")
    assert main(["train", "label", "--voices", str(voices), "--out", labelled]) == 0
    assert "2 recordings" in capsys.readouterr().out
    out = tmp_path / "lips.pt"
    words = ["train", "lips", "--clips", str(tmp_path / "film.npz"), labelled, "--out", str(out)]
    words += ["--width", "16", "--pieces", "2"]
    assert main([*words, "--samples", "32"]) == 0
    assert main([*words, "--samples", "48"]) == 0
    assert "at step 2 of 3" in capsys.readouterr().out
    saved = torch.load(out, weights_only=True)
    assert saved["step"] == 3
    assert len(saved["decoder"]["closing"]) == MEASURES
    assert "| film.npz | 3 | 1 |" in out.with_suffix(".md").read_text()


@pytest.mark.slow
def test_the_mean_weights_are_kept_with_the_statistics_of_their_own_activations(film, tmp_path):
    quiet = torch.full((2, 80, 400), -3.0)
    clips = [TrainingUtterance(one, np.zeros((COLUMNS, MEASURES), np.float32)) for one in film]
    torch.manual_seed(0)
    options = replace(LIP_OPTIONS, samples=96, batch=4, warm_up_steps=1, learning_rate=0.02)
    variation = LipVariation(LEARNT_COLUMNS, quiet, quiet, quiet)
    trainer = LipTrainer(LipSource([clips], [1.0]), variation, find_directions(film), options, 16)
    for _ in trainer.run():
        pass
    trainer.save(tmp_path / "lips.pt")
    network = LipNetwork(16)
    network.load_state_dict(torch.load(tmp_path / "lips.pt", weights_only=True)["state_dict"])
    random = torch.Generator().manual_seed(5)
    drawn = [trainer.draw(np.random.default_rng(k), random).mel for k in range(20)]
    seen = []
    mixed = network.mix[0]
    mixed.register_forward_hook(lambda _module, _given, answer: seen.append(answer))
    with torch.no_grad():
        network.eval()(without_noise_along(torch.cat(drawn)))
    kept = network.mix[1]
    apart = (seen[0].mean((0, 2)) - kept.running_mean) / kept.running_var.sqrt()
    assert float(apart.abs().max()) < 0.35
    ratio = seen[0].var((0, 2)) / kept.running_var
    assert float(ratio.min()) > 0.6
    assert float(ratio.max()) < 1.6


def test_without_film_there_is_nothing_to_learn_lips_from(tmp_path, capsys):
    only = tmp_path / "voices.npz"
    LabelledSpeech((utterance(1, filmed=False), utterance(2, filmed=False))).save(only)
    assert main(["train", "lips", "--clips", str(only), "--out", str(tmp_path / "x.pt")]) == 2
    assert "no film with phones" in capsys.readouterr().err
