"""Model folders: where they are, what ``model.toml`` says, and whether its files are those."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lipstream.errors import ModelError
from lipstream.storage import sha256_of

FORMATS = {1: "pixels", 2: "shape"}
"""Number of each format of ``model.toml`` -> what its models paint: rows of a face, or the shape of
the lips, which move the picture's own pixels."""
EMBEDDED = "quality"
"""Name of the model that is used when none is given."""
LIVE = "low-delay"
"""Name of the model that a live session is given: its mouth hears 100 ms less far ahead."""


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """What ``model.toml`` says."""

    name: str
    version: str
    licence: str
    source: str
    paints: str
    """"pixels" or "shape"."""
    face_size: int
    """Side of the square crop, pixels; for shapes this and the rows are 0, and no features."""
    mel_columns: int
    """Mel columns one frame needs."""
    window_start_ms: int
    """Start of the mel window against the frame's own time, milliseconds."""
    mouth_top: int
    """First crop row the network paints."""
    mouth_bottom: int
    """One past the last crop row the network paints."""
    features: tuple[str, ...]
    """Names of the arrays that go from ``face`` to ``mouth``."""
    decoder: Mapping[str, Any] | None = None
    """For shapes: the table that the decoder of lips reads; None where measures are the lips."""


def embedded_folder() -> Path:
    """Return the folder of the models and avatars that come with the package."""
    return Path(str(files("lipstream_models") / "embedded"))


def embedded_models() -> dict[str, Path]:
    """Return the folders of the mouth models that come with the package, by name."""
    folders = {"quality": "mouth", "low-delay": "mouth-low-delay"}
    return {name: embedded_folder() / folder for name, folder in folders.items()}


def model_folder(named: Path | None) -> Path:
    """Return the folder of an embedded model when ``named`` is its name, else ``named`` itself.

    None stands for EMBEDDED. A folder called like a model comes before it.
    """
    embedded = embedded_models()
    if named is None:
        return embedded[EMBEDDED]
    return named if named.exists() else embedded.get(str(named), named)


def read_manifest(folder: Path) -> ModelManifest:
    """Read ``model.toml`` alone; raises ModelError when it is missing or wrong."""
    return parse_manifest(read_toml(folder), folder)


def read_toml(folder: Path) -> dict[str, Any]:
    """Return all that ``model.toml`` says; raises ModelError when it cannot be read."""
    path = folder / "model.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"no model in {folder}: there is no model.toml; make one with 'lipstream export', or"
            f" name one of the embedded ones: {', '.join(embedded_models())}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}; export the model again") from error


def parse_manifest(table: dict[str, Any], folder: Path) -> ModelManifest:
    """Return what ``read_toml`` read; raises ModelError when something lacks or is wrong."""
    paints = FORMATS.get(table.get("format", 0))
    if paints is None or table.get("paints", paints) != paints:
        raise ModelError(
            f"{folder / 'model.toml'} has format {table.get('format')}, this version reads"
            f" {' and '.join(map(str, FORMATS))}: export again"
        )
    shape = paints == "shape"
    try:
        top, bottom = (0, 0) if shape else (int(row) for row in table["mouth_rows"])
        return ModelManifest(
            name=str(table["name"]),
            version=str(table["version"]),
            licence=str(table["licence"]),
            source=str(table["source"]),
            paints=paints,
            face_size=0 if shape else int(table["face_size"]),
            mel_columns=int(table["mel_columns"]),
            window_start_ms=int(table["window_start_ms"]),
            mouth_top=top,
            mouth_bottom=bottom,
            features=() if shape else tuple(str(name) for name in table["features"]),
            decoder=dict(table["decoder"]) if shape and "decoder" in table else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / 'model.toml'} lacks or misstates {error}: export the model again"
        ) from error


def check_parts(folder: Path) -> None:
    """Raise ModelError unless every file that ``model.toml`` names is there and as it was."""
    table = read_toml(folder)
    for part in table.get("files", {}):
        checked_file(folder, table, part)


def checked_file(folder: Path, table: dict[str, Any], part: str) -> Path:
    """Return the file of a part; raises ModelError when it is missing or fails its checksum."""
    entry = table.get("files", {}).get(part)
    if not isinstance(entry, dict) or not {"path", "sha256"} <= entry.keys():
        raise ModelError(f"{folder / 'model.toml'} does not name its {part} graph: export again")
    path = folder / str(entry["path"])
    if path.parent != folder:
        raise ModelError(f"{folder / 'model.toml'} points outside its folder: {entry['path']}")
    if not path.is_file():
        raise ModelError(f"{path} is missing: export the model again")
    digest = sha256_of(path)
    if digest != entry["sha256"]:
        raise ModelError(
            f"{path} is damaged: its sha256 begins {digest[:12]}, model.toml says"
            f" {str(entry['sha256'])[:12]}; copy or export it again"
        )
    return path
