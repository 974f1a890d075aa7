"""Read weights from files: safely, strictly, and with a clear word when they do not fit."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lipstream.errors import ModelError
from lipstream.storage.atomic_files import written_whole

_PREFIX = "module."
"""What torch's DataParallel puts before every name."""


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
    with written_whole(path) as unfinished:
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
