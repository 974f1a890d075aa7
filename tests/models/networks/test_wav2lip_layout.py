"""Generators of larger faces: read from shapes, split exactly, or refused with what differs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lipstream.errors import ModelError
from lipstream_models.networks.wav2lip import (
    PUBLISHED,
    FaceGraph,
    Layout,
    LayoutBlock,
    MouthGraph,
    Wav2Lip,
    mask_and_join,
    read_layout,
    to_pixels,
)

AUDIO = (4, 6, 8, 8, 12)
PATH = Path("some.pth")


def narrow(face_size, halvings, closing):
    """A layout of few channels; ``closing`` are the kernels that lead to one pixel."""
    down = (LayoutBlock(4, 0, 7), *(LayoutBlock(4 + k, 1 + k % 2) for k in range(1, halvings + 1)))
    shut = tuple(LayoutBlock(10 + k, 0, kernel) for k, kernel in enumerate(closing))
    levels = halvings + len(closing)
    last = Layout(face_size, down, shut, (), AUDIO).sizes[-2]
    up = (
        LayoutBlock(12, 0, 1),
        LayoutBlock(9, 1, last),
        *(LayoutBlock(5 + k % 3, 2) for k in range(2, levels + 1)),
    )
    return Layout(face_size, down, shut, up, AUDIO, output_channels=6)


LAYOUTS = [
    narrow(96, 5, (3,)),
    narrow(192, 6, (3,)),
    narrow(256, 6, (4,)),
    narrow(288, 6, (3, 3)),
    narrow(384, 7, (3,)),
]


def shapes(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def seeded(layout):
    torch.manual_seed(layout.face_size)
    network = Wav2Lip(layout).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("layout", [PUBLISHED, *LAYOUTS], ids=lambda one: str(one.face_size))
def test_a_layout_is_read_back_from_the_shapes_of_its_network(layout):
    assert read_layout(shapes(Wav2Lip(layout)), PATH) == layout


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: str(one.face_size))
def test_the_two_halves_paint_exactly_the_mouth_of_the_whole(layout):
    network, size = seeded(layout), layout.face_size
    face = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    mel = torch.rand(1, 1, 80, 16) * 8 - 4
    with torch.no_grad():
        whole = to_pixels(network(mel, mask_and_join(face)))[:, size // 2 :]
        features = FaceGraph(network)(face)
        halves = MouthGraph(network)(mel, *features)
    assert whole.shape == (1, size // 2, size, 3)
    # float sums of another shape may round to the neighbouring level
    assert (whole.int() - halves.int()).abs().max() <= 1
    assert whole.float().std() > 0.5
    assert features[0].shape[2] == size // 2 + 1, "no more rows than the mouth needs"


def refusal(layout_or_shapes):
    given = layout_or_shapes
    with pytest.raises(ModelError) as caught:
        read_layout(given if isinstance(given, dict) else shapes(Wav2Lip(given)), PATH)
    return str(caught.value)


def test_what_is_none_is_said_to_be_none():
    assert "lacks a face encoder" in refusal({"layer.weight": (3, 3)})


def test_a_decoder_that_does_not_lead_back_is_named():
    wrong = shapes(Wav2Lip(LAYOUTS[0]))
    name = "face_decoder_blocks.1.0.conv_block.0.weight"
    wrong[name] = (*wrong[name][:2], 4, 4)
    assert "kernels of [1, 4, 3, 3, 3, 3, 3], where [1, 3, 3" in refusal(wrong)


def test_a_size_that_nobody_knows_is_named():
    layout = LAYOUTS[0]
    down = (*layout.down, *(LayoutBlock(4) for _ in range(6)))
    up = (*layout.up, *(LayoutBlock(4) for _ in range(6)))
    said = refusal(replace(layout, down=down, up=up, face_size=96 * 64))
    assert "11 halvings and 1 closing levels" in said
    assert "96, 192, 256, 288, 384" in said


def test_another_sound_encoder_is_named():
    wrong = shapes(Wav2Lip(LAYOUTS[0]))
    wrong["audio_encoder.13.conv_block.0.weight"] = (12, 12, 1, 1)
    assert "14 convolutions and not 13" in refusal(wrong)


def test_levels_that_do_not_pair_up_are_named():
    wrong = shapes(Wav2Lip(LAYOUTS[0]))
    wrong["face_decoder_blocks.7.0.conv_block.0.weight"] = (9, 5, 3, 3)
    assert "face encoder has 7 levels and its decoder 8" in refusal(wrong)
