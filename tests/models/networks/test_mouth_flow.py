"""The embedded network's definition."""

import pytest
import torch

from lipstream_models.lip_measures import MEASURES
from lipstream_models.networks import mouth_flow
from lipstream_models.networks.mouth_flow import COLUMNS, MouthFlow
from lipstream_models.networks.split import FaceGraph, MouthGraph, mask_and_join, to_pixels


@pytest.fixture
def network():
    """A network with random weights, its flow as well."""
    torch.manual_seed(0)
    network = MouthFlow().eval()
    for moving in (network.flow, network.fields):
        torch.nn.init.normal_(moving.weight, std=0.05)
    return network


def make_face():
    return torch.rand(2, 6, 96, 96, generator=torch.Generator().manual_seed(1))


def make_mel():
    return torch.rand(2, 1, 80, COLUMNS, generator=torch.Generator().manual_seed(2)) * 8 - 4


def test_it_paints_the_lower_half_as_colours(network):
    with torch.no_grad():
        painted = network(make_mel(), make_face())
    assert painted.shape == (2, 3, 48, 96)
    assert 0.0 <= painted.min() <= painted.max() <= 1.0


def test_its_weights_fill_less_than_ten_megabytes(network):
    assert 4 * sum(parameter.numel() for parameter in network.parameters()) < 9_500_000


def test_without_flow_and_cover_the_face_is_its_own():
    network, face = MouthFlow().eval(), make_face()
    with torch.no_grad():
        made = network.render(torch.zeros(2, MEASURES), network.encode(face))
    assert made.flow.abs().max() == 0
    assert torch.allclose(made.moved, face[:, 3:, 48:], atol=1e-4)


def test_the_turn_moves_pixels_where_nobody_speaks():
    network, face = MouthFlow().eval(), make_face()
    turn = torch.zeros(2, 2, 12, 12)
    turn[:, 0] = 2.0  # pixels across
    with torch.no_grad():
        made = network.render(torch.zeros(2, MEASURES), network.encode(face, turn), turn)
    assert torch.allclose(made.moved[..., :-2], face[:, 3:, 48:, 2:], atol=1e-3)


@pytest.mark.parametrize(("axis", "pixels"), [(0, (0, 3)), (1, (3, 0))])
def test_a_flow_of_a_quarter_unit_takes_pixels_from_three_away(axis, pixels):
    network, face = MouthFlow().eval(), make_face()
    flow = torch.zeros(2, 2, 24, 48)
    flow[:, axis] = 0.25
    moved = network._move(face[:, 3:, mouth_flow._MOVED_ROWS :], flow)
    down, across = pixels
    wanted = torch.roll(face[:, 3:], (-down, -across), (2, 3))[:, :, 48:]
    assert torch.allclose(moved[:, :, 4:40, 8:-8], wanted[:, :, 4:40, 8:-8], atol=1e-3)


def test_the_two_halves_paint_what_the_whole_paints(network):
    face = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = FaceGraph(network)(face)
        halves = MouthGraph(network)(make_mel(), *features)
        whole = to_pixels(network(make_mel(), mask_and_join(face)))
    assert len(features) == len(network.feature_names)
    assert (whole.int() - halves.int()).abs().max() <= 1


def test_leaving_out_the_upper_rows_changes_no_mouth(network):
    face, code = make_face(), torch.rand(2, mouth_flow._CODE)
    with torch.no_grad():
        features = network.encode(face)
        coarse, trimmed = network._decode(code, features)
        maps, x = [], torch.nn.functional.pixel_unshuffle(face, 2)
        for block in network.encoder:
            x = block(x)
            maps.append(x)
        whole_coarse, whole = decode_all_rows(network, code, maps)
    assert torch.allclose(coarse[:, :, 1:], whole_coarse[:, :, 12:], atol=1e-5)
    assert torch.allclose(trimmed[:, :, 1:], whole[:, :, 23:], atol=1e-5)


def decode_all_rows(network, code, maps):
    double, modulated = mouth_flow._double, mouth_flow._modulated
    x = network.bottom(torch.cat([maps[4], network.spread(code).view(-1, 64, 3, 3)], 1))
    x = modulated(network.up6(torch.cat([double(x), maps[3]], 1)), network.modulate6(code))
    x = modulated(network.up12(torch.cat([double(x), maps[2]], 1)), network.modulate12(code))
    x = network.up24(torch.cat([double(x), maps[1]], 1))
    return x, network.up48(torch.cat([double(x), maps[0]], 1))


def test_weights_bring_their_window_and_their_gain(network):
    other = MouthFlow(window_start_ms=-340)
    other.gain.fill_(1.5)
    network.load_state_dict(other.state_dict())
    assert network.window_start_ms == -340
    mel = make_mel()
    with torch.no_grad():
        assert torch.allclose(network.lips(mel), 1.5 * other.eval().sound(mel), atol=1e-5)
