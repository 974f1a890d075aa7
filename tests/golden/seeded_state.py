"""Stand-in weights for the published networks, from their parameters' names and shapes alone.

The published Wav2Lip, SyncNet and S3FD weights may not be passed on. These numbers take their
place: the same keys and shapes, the same on every machine, and never zero. The figures beside this
file are what the original networks gave under them.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent
_GAIN = 0.8


def seeded_state(network: str) -> dict[str, NDArray[np.generic]]:
    """Return {key: array}, float32 or int64, of "wav2lip", "syncnet" or "s3fd"."""
    names = json.loads((GOLDEN / f"{network}_state.json").read_text("utf-8"))
    return {key: _filled(key, shape, index) for index, (key, shape) in enumerate(names)}


def _filled(key: str, shape: list[int], index: int) -> NDArray[np.generic]:
    rng = np.random.Generator(np.random.PCG64(index))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    if key.endswith(("running_mean", "bias")):
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1:  # the scale of a batch norm, or of S3FD's L2 norm
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    return (_GAIN * np.sqrt(2.0 / fan_in) * rng.standard_normal(shape)).astype(np.float32)
