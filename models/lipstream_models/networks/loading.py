"""Tell which network a checkpoint is of, and load it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lipstream.errors import ModelError
from lipstream.types import Float32
from lipstream_models.networks.checkpoints import load_weights, read_checkpoint, read_state_dict
from lipstream_models.networks.lip_network import LipNetwork
from lipstream_models.networks.s3fd import S3fd, is_s3fd
from lipstream_models.networks.split import SplitNetwork
from lipstream_models.networks.wav2lip import PUBLISHED, Wav2Lip, read_layout

_LIPS = "lips"
"""What checkpoints of this project say under ``network``."""
_WAV2LIP_LICENCE = "research and personal use only, as the weights' authors say"
_WAV2LIP_SOURCE = "Prajwal et al., A Lip Sync Expert Is All You Need, ACM Multimedia 2020"


@dataclass(frozen=True, slots=True)
class LoadedMouth:
    """A lip-sync network with its weights, and what model.toml says of it."""

    network: SplitNetwork
    name: str
    version: str
    licence: str
    source: str


@dataclass(frozen=True, slots=True)
class LoadedLipNetwork:
    """A lip network with its weights, how events move its measures, and what model.toml says."""

    network: LipNetwork
    directions: dict[str, Float32]
    """``closing``, ``tuck`` and ``rounding`` of ``lips.decoder.DecoderSettings``, each (17,)."""
    name: str
    version: str
    licence: str
    source: str


def load_network(path: Path) -> LoadedMouth | LoadedLipNetwork | S3fd:
    """Load a checkpoint: this project's own, a Wav2Lip's, or the published S3FD's.

    Raises ModelError when the file is missing, damaged, unsafe or of another network.
    """
    checkpoint = read_checkpoint(path)
    state = read_state_dict(path)
    if is_s3fd(state):
        detector = S3fd()
        load_weights(detector, state, path)
        return detector.eval()
    header = checkpoint if isinstance(checkpoint, dict) else {}
    kind = header.get("network")
    if kind == _LIPS:
        return _lip_network(header, state, path)
    if isinstance(kind, str):
        raise ModelError(f"checkpoint {path} is of the network {kind!r}; known here: {_LIPS}")
    layout = read_layout({name: tuple(tensor.shape) for name, tensor in state.items()}, path)
    network = Wav2Lip(layout)
    load_weights(network, state, path)
    published = layout.face_size == PUBLISHED.face_size
    name = "wav2lip" if published else f"wav2lip-{layout.face_size}"
    return LoadedMouth(network.eval(), name, "1", _WAV2LIP_LICENCE, _WAV2LIP_SOURCE)


def _lip_network(header: dict[str, Any], state: dict[str, Tensor], path: Path) -> LoadedLipNetwork:
    try:
        network = LipNetwork(int(header["width"]))
        directions = {
            name: np.asarray(header["decoder"][name], np.float32)
            for name in ("closing", "tuck", "rounding")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} is of a lip network, but lacks or misstates {error}: train it again"
        ) from error
    load_weights(network, state, path)
    words = _words(header, {"name": _LIPS, "version": "1"})
    return LoadedLipNetwork(network.eval(), directions, **words)


def _words(header: dict[str, Any], own: dict[str, str]) -> dict[str, str]:
    words = own | {"licence": "unknown", "source": "lipstream train"}
    return {key: str(header.get(key, default)) for key, default in words.items()}
