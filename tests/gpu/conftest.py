"""What the GPU checks share: Wav2Lip in torch, exported once, and the JSON they leave behind.

Without a CUDA device every one of them skips and says why. The reference is torch on the same GPU
with TF32 off, and the network has seeded random weights: what is measured is arithmetic and speed.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lipstream.errors import BackendUnavailable
from lipstream.inference.backends.cuda import find_gpu
from lipstream_export.model_folder import ExportOptions, export_mouth
from lipstream_export.precisions import Samples
from lipstream_models.networks.loading import LoadedMouth
from lipstream_models.networks.wav2lip import Wav2Lip

RESULT = Path(os.environ.get("LIPSTREAM_GPU_RESULT", "gpu-result.json"))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device: run 'make test-gpu' on a machine with one")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.get_device_name(0)


@pytest.fixture(scope="session")
def driver(gpu):
    """What cuda-python sees; needed by TensorRT."""
    try:
        return find_gpu()
    except BackendUnavailable as error:
        pytest.skip(f"cuda-python cannot be used here: {error}")


@pytest.fixture(scope="session")
def wav2lip():
    torch.manual_seed(5)
    network = Wav2Lip().eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)
    return network


@pytest.fixture(scope="session")
def samples():
    rng = np.random.default_rng(6)
    crops = rng.integers(0, 256, (32, 96, 96, 3), dtype=np.uint8)
    mels = rng.uniform(-4, 4, (32, 1, 80, 16)).astype(np.float32)
    return Samples(crops, mels, "seeded noise")


@pytest.fixture(scope="session")
def folder(wav2lip, samples, tmp_path_factory):
    """The model folder of the network, fp32 and fp16."""
    target = tmp_path_factory.mktemp("gpu") / "wav2lip"
    loaded = LoadedMouth(wav2lip, "wav2lip", "seeded", "none", "tests/gpu")
    few = Samples(samples.crops[:6], samples.mels[:6], samples.origin)
    export_mouth(loaded, target, ExportOptions(whole=True, precisions=("fp16",), samples=few))
    return target


@pytest.fixture(scope="session")
def report(gpu):
    """A dict that is written as JSON at the end: {backend: {figure: value}}."""
    figures = {"gpu": gpu, "torch": torch.__version__, "weights": "seeded random", "figures": {}}
    yield figures["figures"]
    temporary = RESULT.with_name(RESULT.name + ".part")
    temporary.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    temporary.replace(RESULT)
