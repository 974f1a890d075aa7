"""Checkpoints with seeded random weights."""

import pytest
import torch

from export.small_mouths import NARROW
from export.small_mouths import seeded as filled
from golden.seeded_state import seeded_state
from lipstream_models.networks.wav2lip import Wav2Lip


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    """A checkpoint of a Wav2Lip of few channels, as its authors' trainer writes it."""
    path = tmp_path_factory.mktemp("small") / "mouth.pth"
    torch.manual_seed(3)
    network = filled(Wav2Lip(NARROW))
    torch.save({"state_dict": network.state_dict(), "step": 1}, path)
    return path


@pytest.fixture(scope="session")
def seeded():
    """Return {key: tensor} of a published checkpoint's names, filled by the golden rule."""

    def fill(name):
        return {key: torch.from_numpy(v) for key, v in seeded_state(name).items()}

    return fill
