"""Checkpoints with seeded random weights."""

import pytest
import torch

from golden.seeded_state import seeded_state
from lipstream_models.networks.mouth_flow import MouthFlow


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    """A checkpoint of the embedded network, as the trainer writes it."""
    path = tmp_path_factory.mktemp("small") / "mouth.pt"
    torch.manual_seed(3)
    network = MouthFlow()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    with torch.no_grad():  # a new network leaves the picture as it is, whatever it hears
        network.gain.fill_(60.0)
        for head, spread in (
            (network.fields, 0.003),
            (network.flow, 0.003),
            (network.paint[1], 0.1),
        ):
            head.weight.normal_(0, spread)
    torch.save({"state_dict": network.state_dict(), "step": 1}, path)
    return path


@pytest.fixture(scope="session")
def seeded():
    """Return {key: tensor} of a published checkpoint's names, filled by the golden rule."""

    def fill(name):
        return {key: torch.from_numpy(v) for key, v in seeded_state(name).items()}

    return fill
