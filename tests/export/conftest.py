"""Checkpoints with seeded random weights."""

import importlib.util
import json

import pytest
import torch

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
def seeded(shared):
    """Return {key: tensor} of a published checkpoint's names, filled by the shared rule."""
    path = shared / "golden" / "seeded_state.py"
    spec = importlib.util.spec_from_file_location("seeded_state", path)
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)

    def fill(name):
        names = json.loads((shared / "golden" / f"{name}_state.json").read_text())
        return {key: torch.from_numpy(v) for key, v in rule.seeded_state(names).items()}

    return fill
