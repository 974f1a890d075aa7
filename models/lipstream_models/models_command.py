"""``lipstream models list | check``: what comes with the package, and whether it is whole."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lipstream.avatar.pack import Avatar, embedded_avatars
from lipstream.errors import LipstreamError, ModelError
from lipstream.inference.manifest import (
    check_parts,
    embedded_folder,
    embedded_models,
    read_manifest,
)
from lipstream.inference.model import MouthModel
from lipstream.storage.atomic_files import sha256_of

CHECKSUMS = "sha256sums.txt"


@dataclass(frozen=True, slots=True)
class Asset:
    """One thing that comes with the package."""

    kind: str
    """``mouth``, ``faces`` or ``avatar``."""
    name: str
    licence: str
    path: Path
    """A folder, or the pack itself."""

    @property
    def size_bytes(self) -> int:
        """Size on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(p.stat().st_size for p in self.path.iterdir() if p.suffix == ".onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=["list", "check"], help="list them, or verify checksums")
    parser.add_argument("--model", type=Path, help="check this model folder as well")


def run(arguments: argparse.Namespace) -> int:
    """List or check; exit code 1 when something is damaged."""
    assets = embedded_assets()
    if arguments.model:
        manifest = read_manifest(arguments.model)
        assets += (Asset("mouth", manifest.name, manifest.licence, arguments.model),)
    table = Table("kind", "name", "licence", "size")
    if arguments.action == "check":
        table.add_column("state")
    sound = True
    for asset in assets:
        row = [asset.kind, asset.name, asset.licence, f"{asset.size_bytes / 1e6:.1f} MB"]
        if arguments.action == "check":
            state = state_of(asset)
            sound &= state == "ok"
            row.append(state)
        table.add_row(*row)
    Console().print(table)
    return 0 if sound else 1


def embedded_assets() -> tuple[Asset, ...]:
    """Return what comes with the package, without opening a runtime."""
    mouths = [
        Asset("mouth", name, read_manifest(path).licence, path)
        for name, path in embedded_models().items()
    ]
    faces = Asset("faces", "BlazeFace, face mesh", "Apache-2.0", embedded_folder() / "faces")
    opened = [(pack, Avatar.open(pack)) for pack in embedded_avatars().values()]
    avatars = [Asset("avatar", avatar.name, avatar.licence, pack) for pack, avatar in opened]
    return (*mouths, faces, *avatars)


def state_of(asset: Asset) -> str:
    """Return ``ok``, or in one line what is wrong."""
    try:
        if asset.kind == "mouth":
            MouthModel.open(asset.path, threads=1).close()
            check_parts(asset.path)
        elif asset.kind == "faces":
            check_sums(asset.path)
        else:
            Avatar.open(asset.path)
    except LipstreamError as error:
        return str(error)
    return "ok"


def check_sums(folder: Path) -> None:
    """Compare files with the folder's ``sha256sums.txt``; raises ModelError for a difference."""
    for line in (folder / CHECKSUMS).read_text("utf-8").splitlines():
        digest, name = line.split()
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ModelError(f"{name} is missing or damaged: install the package again")
