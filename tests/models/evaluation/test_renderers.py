"""Windows of sound, and painting with checkpoints and exported models."""

import numpy as np
import pytest
import torch

from export.small_mouths import NARROW, seeded
from lipstream.audio.mel import SILENCE
from lipstream.errors import InputError
from lipstream.inference.manifest import embedded_models
from lipstream_models.evaluation.evaluate import (
    ModelFolderRenderer,
    TorchRenderer,
    make_timing,
    open_renderer,
    windows_of,
)
from lipstream_models.networks.wav2lip import Wav2Lip
from prepared_clips import make_clip


def mel():
    return np.random.default_rng(0).normal(size=(80, 241)).astype(np.float32)


def test_windows_follow_the_network_s_own_columns():
    short, long = make_timing(16, -40), make_timing(32, -140)
    assert windows_of(mel(), [10], short).shape == (1, 80, 16)
    window = windows_of(mel(), [10], long)[0]
    assert np.array_equal(window, mel()[:, 20 : 20 + 32])  # 400 - 140 ms, 80 columns a second


def test_windows_beyond_the_clip_are_silent():
    first, last = windows_of(mel(), [0, 74], make_timing(32, -140))
    assert (first[:, :12] == SILENCE).all()
    assert np.array_equal(first[:, 12:], mel()[:, :20])
    assert np.array_equal(last[:, :16], mel()[:, 225:])
    assert (last[:, 16:] == SILENCE).all()


@pytest.mark.slow
def test_a_network_paints_the_lower_half_alone():
    torch.manual_seed(0)
    clip = make_clip(3)
    renderer = TorchRenderer(seeded(Wav2Lip(NARROW)))
    windows = windows_of(clip.mel, range(30), renderer.timing)
    painted = renderer.render(clip.crops[:30], clip.crops[0], windows)
    assert painted.shape == (30, 96, 96, 3)
    assert np.array_equal(painted[:, :48], clip.crops[:30, :48])
    assert not np.array_equal(painted[:, 48:], clip.crops[:30, 48:])


def test_a_network_sees_upper_half_and_reference_apart():
    torch.manual_seed(0)
    network = seeded(Wav2Lip(NARROW))
    clip, renderer = make_clip(3), TorchRenderer(network)
    windows = windows_of(clip.mel, [5], renderer.timing)
    other = np.array(clip.crops[0])
    other[:48] = 0
    painted = [renderer.render(clip.crops[5:6], ref, windows) for ref in (clip.crops[0], other)]
    assert np.array_equal(painted[0][:, :48], painted[1][:, :48])
    assert not np.array_equal(painted[0], painted[1])


def test_an_exported_model_paints_over_the_reference_s_lower_half(toy_folder):
    clip, renderer = make_clip(3), open_renderer(toy_folder)
    assert isinstance(renderer, ModelFolderRenderer)
    loud = np.zeros((2, 80, 16), np.float32)
    quiet = np.full((2, 80, 16), SILENCE, np.float32)
    reference = np.array(clip.crops[0])
    reference[48:] = 90
    painted = [renderer.render(clip.crops[5:7], reference, mel) for mel in (quiet, loud)]
    assert np.array_equal(painted[0][:, :48], clip.crops[5:7, :48])
    assert (painted[0][:, 48:] == 90).all()
    assert painted[1][:, 48:].mean() > 90


def test_crops_of_another_size_are_refused():
    network = Wav2Lip(NARROW)
    network.face_size = 128
    with pytest.raises(Exception, match="128 pixels"):
        TorchRenderer(network)


def test_a_model_of_shapes_is_refused():
    with pytest.raises(InputError, match="paints no crop"):
        open_renderer(embedded_models()["quality"])
