"""Read a checkpoint without pickle, tell which network it is of, and load it."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lipstream.errors import ModelError
from lipstream.storage import atomic_write
from lipstream.types import Float32
from lipstream_models.networks.lip_network import LipNetwork
from lipstream_models.networks.s3fd import S3fd, is_s3fd
from lipstream_models.networks.wav2lip import PUBLISHED, SplitNetwork, Wav2Lip, read_layout

_N = TypeVar("_N", bound=nn.Module)
_PREFIX = "module."
"""What torch's DataParallel puts before every name."""


def seed_weights(network: _N) -> _N:
    """Fill a network with numbers that are the same everywhere and let a picture through.

    It is set to inference. For where speed or parity is measured without a checkpoint.
    """
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.8, 1.2, generator=random)
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(0.0, 0.05, generator=random)
            elif tensor.ndim >= 3:
                tensor.normal_(0.0, 0.8 * (2 / tensor[0].numel()) ** 0.5, generator=random)
    return network.eval()


def read_checkpoint(path: Path) -> Any:
    """Read a ``torch.save`` file without running any code it may hold. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"checkpoint {path} is missing: check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path) or _is_pickle(path):
            raise ModelError(
                f"checkpoint {path} was not loaded: it holds code or objects beside weights;"
                " get it from its authors again"
            ) from error
        raise _damaged(path) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(path) from error


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write a ``torch.save`` file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        torch.save(dict(state), unfinished)


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(1) == pickle.PROTO


def _damaged(path: Path) -> ModelError:
    size = path.stat().st_size
    return ModelError(
        f"checkpoint {path} ({size} bytes) is truncated or not a torch checkpoint: fetch it again"
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors under ``state_dict`` (or the file's own), ``module.`` taken off."""
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state:
        raise ModelError(f"checkpoint {path} holds no state dict: it is of another kind of file")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ModelError(f"checkpoint {path} holds no state dict of tensors: of another network")
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}


def load_weights(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy a state dict into a network; names and shapes must match exactly. Raises ModelError."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != actual:
        wrong = sorted(
            name for name in expected.keys() | actual.keys() if _differ(name, expected, actual)
        )
        first = wrong[0]
        raise ModelError(
            f"checkpoint {path} is of another network than {type(network).__name__}:"
            f" {len(wrong)} of {len(expected)} tensors differ, first {first}"
            f" ({expected.get(first, 'absent')} wanted, {actual.get(first, 'absent')} found)"
        )
    network.load_state_dict(state, strict=True)


def _differ(
    name: str, expected: dict[str, tuple[int, ...]], actual: dict[str, tuple[int, ...]]
) -> bool:
    return expected.get(name) != actual.get(name)


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
