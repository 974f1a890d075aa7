"""``lipstream models list | check | fetch``: what comes with the package, and what others make.

What others publish stands in ``published.toml``; a manifest of the same form adds to it. It is
fetched under its own licence, goes on where a download stopped, and is checked by its sha256:
nothing is taken whose sum is not known, and no file gets its name before its sum is right.
"""

import argparse
import hashlib
import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lipstream.avatar.pack import Avatar, embedded_avatars
from lipstream.errors import InputError, LipstreamError, ModelError
from lipstream.inference.manifest import (
    check_parts,
    embedded_folder,
    embedded_models,
    read_manifest,
)
from lipstream.inference.model import MouthModel
from lipstream.storage import sha256_of
from lipstream_models.downloads import (
    RemoteFile,
    ShowProgress,
    check_url,
    download,
    shown_progress,
)

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
    parser.add_argument(
        "action",
        choices=["list", "check", "fetch"],
        help="list them, verify checksums, or fetch weights that others publish",
    )
    parser.add_argument("name", nargs="*", help="fetch: which ones; none lists what can be fetched")
    parser.add_argument("--model", type=Path, help="list, check: this model folder as well")
    parser.add_argument(
        "--to", type=Path, help=f"fetch: folder for them, each in one of its own; {models_home()}"
    )
    parser.add_argument(
        "--accept-licence",
        action="store_true",
        help="fetch: agree to the licences without being asked",
    )
    parser.add_argument(
        "--manifest", type=Path, help="fetch: a TOML file with further models and their sha256"
    )


def run(arguments: argparse.Namespace) -> int:
    """List, check or fetch; exit code 1 when something is damaged."""
    if arguments.action == "fetch":
        return _fetch(arguments)
    if arguments.name:
        raise InputError(f"'models {arguments.action}' takes no names: for one folder --model")
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
    networks = ("BlazeFace, face mesh, dlib's identity", "Apache-2.0, CC0-1.0 and MIT")
    faces = Asset("faces", *networks, embedded_folder() / "faces")
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


def _fetch(arguments: argparse.Namespace) -> int:
    """Fetch what is named, once its licence is agreed to, or list what there is."""
    known = published_models(arguments.manifest)
    if not arguments.name:
        table = Table("name", "what", "licence")
        for model in known.values():
            table.add_row(model.name, model.title, model.licence)
        Console().print(table)
        return 0
    for name in arguments.name:
        if name not in known:
            raise InputError(f"nothing is known of '{name}': give {', '.join(known)}")
    wanted = [known[name] for name in arguments.name]
    if not arguments.accept_licence:
        _agree(wanted)
    for model in wanted:
        folder = (arguments.to or models_home()) / model.name
        with shown_progress() as show:
            fetch_model(model, folder, show)
        print(f"{model.name} is in {folder}\nnext: {model.next.format(folder=folder)}")
    return 0


def _agree(models: "Sequence[PublishedModel]") -> None:
    """Show licences and ask; raises InputError unless somebody says yes."""
    for model in models:
        print(f"{model.name}: {model.title}\n  licence: {model.licence}\n  see {model.licence_url}")
    if not sys.stdin.isatty():
        raise InputError("their licences are to be agreed to: read them and add --accept-licence")
    if input("Do you agree to them? Type yes: ").strip().lower() not in ("yes", "y"):
        raise InputError("nothing was fetched: the licences were not agreed to")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """Something that can be fetched by its name."""

    name: str
    title: str
    licence: str
    licence_url: str
    next: str
    """Command to go on with; ``{folder}`` stands for where it lies."""
    files: tuple[RemoteFile, ...]


def published_models(manifest: Path | None = None) -> dict[str, PublishedModel]:
    """Return what can be fetched, by name; those of ``manifest`` come before ours of the same name.

    Raises InputError when the manifest cannot be read or leaves something out.
    """
    own = Path(str(files("lipstream_models") / "published.toml"))
    read = [model for path in (own, manifest) if path is not None for model in _read(path)]
    return {model.name: model for model in read}


def models_home() -> Path:
    """Return where fetched models are kept: ``$XDG_DATA_HOME/lipstream/models``, by default."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "lipstream" / "models"


def fetch_model(model: PublishedModel, folder: Path, show: ShowProgress) -> None:
    """Fetch what is not there yet into ``folder``; licences are the caller's to show.

    Raises InputError when a file is not what its sum says, or cannot be had.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in model.files:
            download(file, folder, show)
    except OSError as error:
        raise InputError(f"{model.name} cannot be written to {folder}: {error}") from error


def _read(path: Path) -> list[PublishedModel]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as a manifest of models: {error}") from error
    try:
        return [_model(entry) for entry in table["model"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} lacks or misstates {error}: each [[model]] has name, title, licence,"
            " licence_url, next, and [[model.files]] with path, url and sha256"
        ) from error


def _model(entry: dict[str, Any]) -> PublishedModel:
    listed = tuple(
        RemoteFile(one["path"], one["url"], str(one.get("sha256", "")).lower())
        for one in entry["files"]
    )
    name = str(entry["name"])
    for file in listed:
        if len(file.digest) != hashlib.sha256().digest_size * 2:
            raise InputError(
                f"{name}: no sha256 is known of {file.name}, so nobody could tell whether it is"
                " what was published: add one that you trust"
            )
        if Path(file.name).name != file.name or file.name.startswith("."):
            raise InputError(f"{name}: {file.name} is no name of a file in the model's folder")
        check_url(file.url)
    if Path(name).name != name or name.startswith("."):
        raise InputError(f"'{name}' is no name for a model: give a word")
    title, licence, licence_url, following = (
        str(entry[key]) for key in ("title", "licence", "licence_url", "next")
    )
    return PublishedModel(name, title, licence, licence_url, following, listed)
