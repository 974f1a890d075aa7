"""The published SyncNet_color: its names, its numbers, and that it can score a clip."""

import numpy as np
import pytest
import torch

from golden.seeded_state import GOLDEN, seeded_state
from lipstream.errors import ModelError
from lipstream_models.evaluation.sync_scorer import SyncNetScorer
from lipstream_models.networks.sync_networks import SyncNetColor, load_syncnet
from prepared_clips import make_clip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file in the published format, filled with the golden numbers."""
    state = seeded_state("syncnet")
    path = tmp_path_factory.mktemp("syncnet") / "lipsync_expert.pth"
    tensors = {f"module.{name}": torch.from_numpy(array) for name, array in state.items()}
    torch.save({"state_dict": tensors}, path)
    return path


def test_the_original_network_is_reproduced_to_1e_5(published):
    network = load_syncnet(published)
    known = np.load(GOLDEN / "syncnet_io.npz")
    with torch.no_grad():
        sounds, faces = network(torch.from_numpy(known["mel"]), torch.from_numpy(known["face"]))
    assert np.abs(sounds.numpy() - known["audio_embedding"]).max() < 1e-5
    assert np.abs(faces.numpy() - known["face_embedding"]).max() < 1e-5


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"module.x": torch.zeros(1)}}, path)
    with pytest.raises(ModelError, match="another network than SyncNetColor"):
        load_syncnet(path)


@pytest.mark.slow
def test_it_judges_a_clip_with_distances_of_unit_vectors():
    torch.manual_seed(0)
    clip = make_clip(0)
    found = SyncNetScorer(SyncNetColor()).sync(clip.crops[3:20], clip.mel, 3)
    assert -15 <= found.offset <= 15
    assert 0.0 <= found.distance <= 2.0
    assert found.confidence >= 0.0
