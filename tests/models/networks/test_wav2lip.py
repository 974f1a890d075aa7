"""The Wav2Lip generator: the published names, the original's numbers, and its exact split."""

import json

import numpy as np
import pytest
import torch

from golden.seeded_state import GOLDEN, seeded_state
from lipstream_models.networks.wav2lip import (
    FaceGraph,
    MouthGraph,
    Wav2Lip,
    mask_and_join,
    to_pixels,
)


def make_varied(network: torch.nn.Module) -> torch.nn.Module:
    """Give batch norms statistics of their own, so that nothing is an identity."""
    random = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.05, generator=random)
            module.running_var.uniform_(0.8, 1.2, generator=random)
    return network.eval()


def test_names_and_shapes_are_those_of_the_published_weights():
    published = dict(json.loads((GOLDEN / "wav2lip_state.json").read_text("utf-8")))
    state = Wav2Lip().state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == published


@pytest.mark.slow
def test_the_original_network_is_reproduced_to_1e_5():
    state = seeded_state("wav2lip")
    network = Wav2Lip()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    network.eval()
    known = np.load(GOLDEN / "wav2lip_io.npz")
    with torch.no_grad():
        frame = network(torch.from_numpy(known["mel"]), torch.from_numpy(known["face"]))
    assert np.abs(frame.numpy() - known["frame"]).max() < 1e-5


@pytest.mark.slow
def test_the_two_halves_paint_exactly_the_mouth_of_the_whole():
    torch.manual_seed(0)
    network = make_varied(Wav2Lip())
    face = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    mel = torch.rand(1, 1, 80, 16) * 8 - 4
    with torch.no_grad():
        whole = to_pixels(network(mel, mask_and_join(face)))[:, 48:]
        halves = MouthGraph(network)(mel, *FaceGraph(network)(face))
    # float sums of another shape may round to the neighbouring level
    assert (whole.int() - halves.int()).abs().max() <= 1


def test_only_the_upper_half_of_the_target_is_seen():
    face = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    joined = mask_and_join(face)
    assert joined[0, :3, :2].min() == 1.0
    assert joined[0, :3, 2:].max() == 0.0
    assert joined[0, 3:].min() == 1.0


def test_pixels_are_rounded_and_clipped():
    values = torch.tensor([-0.1, 0.0, 0.4999 / 255, 0.501 / 255, 1.0, 1.2])
    mouth = values.view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_pixels(mouth)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]
