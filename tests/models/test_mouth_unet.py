"""The embedded network's definition."""

import torch

from lipstream_models.networks import mouth_unet
from lipstream_models.networks.mouth_unet import MouthUNet
from lipstream_models.networks.split import FaceGraph, MouthGraph, mask_and_join, to_pixels


def test_it_paints_the_lower_half_as_colours():
    network = MouthUNet().eval()
    with torch.no_grad():
        painted = network(torch.zeros(2, 1, 80, 16), torch.rand(2, 6, 96, 96))
    assert painted.shape == (2, 3, 48, 96)
    assert 0.0 <= painted.min() <= painted.max() <= 1.0


def test_it_has_two_million_parameters_or_fewer():
    assert sum(parameter.numel() for parameter in MouthUNet().parameters()) <= 2_000_000


def test_the_two_halves_paint_what_the_whole_paints():
    torch.manual_seed(0)
    network = MouthUNet().eval()
    face = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    mel = torch.rand(2, 1, 80, 16) * 8 - 4
    with torch.no_grad():
        features = FaceGraph(network)(face)
        halves = MouthGraph(network)(mel, *features)
        whole = to_pixels(network(mel, mask_and_join(face)))
    assert len(features) == len(network.feature_names)
    assert (whole.int() - halves.int()).abs().max() <= 1


def test_leaving_out_the_upper_rows_changes_no_mouth(monkeypatch):
    torch.manual_seed(0)
    network = MouthUNet().eval()
    face, mel = torch.rand(1, 6, 96, 96), torch.rand(1, 1, 80, 16) * 8 - 4
    with torch.no_grad():
        trimmed = network(mel, face)
        monkeypatch.setattr(mouth_unet, "_FIRST_ROWS", (0, 0, 0, 0))
        maps = network._encode(face)
        whole = _decode_all_rows(network, mel, maps)
    assert torch.allclose(trimmed, whole, atol=1e-5)


def _decode_all_rows(network, mel, maps):
    f48, f24, f12, f6, f3, own = maps
    double = mouth_unet._double
    x = network.bottom(torch.cat([f3, network.sound(mel)], 1))
    for block, skip in zip(
        (network.up6, network.up12, network.up24, network.up48), (f6, f12, f24, f48), strict=True
    ):
        x = block(torch.cat([double(x), skip], 1))
    painted = torch.sigmoid(torch.nn.functional.pixel_shuffle(network.paint(x), 2))[:, :, 48:]
    return own + painted[:, 3:] * (painted[:, :3] - own)
