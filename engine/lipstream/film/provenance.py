"""What says that a film is synthetic: a label in its pictures, and a signature by C2PA.

C2PA is the standard of the Content Authenticity Initiative.
"""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lipstream.errors import InputError, MediaError
from lipstream.storage import atomic_write
from lipstream.types import Image

SIGNED_SUFFIXES = (".mp4", ".m4v", ".mov")
"""Film files in which C2PA keeps its manifest."""
_MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a recording with parts made by a trained network."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whom a film is signed by."""

    chain: Path
    """PEM file: the signer's certificate, then those that vouch for it."""
    key: Path
    """PEM file: the signer's private key, PKCS 8."""
    algorithm: str = "es256"
    """C2PA's name of the key's kind: es256, es384, es512, ps256, ps384, ps512 or ed25519."""


def check_signing(certificate: Certificate, output: Path) -> None:
    """Raise InputError unless a film of this name can be signed with what is installed."""
    if output.suffix.lower() not in SIGNED_SUFFIXES:
        endings = ", ".join(SIGNED_SUFFIXES)
        raise InputError(f"{output.suffix} files cannot be signed: give -o a name in {endings}")
    for path in (certificate.chain, certificate.key):
        if not path.is_file():
            raise InputError(f"there is no file {path} to sign with")
    _c2pa()


def sign(film: Path, certificate: Certificate, output: Path) -> None:
    """Write ``output``: the film with a signed manifest that says it is partly synthetic.

    The file appears under its own name when it is whole. Raises MediaError when the certificate
    does not fit its key or is not one that C2PA takes.
    """
    c2pa = _c2pa()
    try:
        signer_info = c2pa.C2paSignerInfo(
            certificate.algorithm,
            certificate.chain.read_bytes(),
            certificate.key.read_bytes(),
            None,
        )
        with (
            atomic_write(output) as unfinished,
            c2pa.Signer.from_info(signer_info) as signer,
            c2pa.Builder(_manifest(output)) as made,
        ):
            made.sign_file(str(film), str(unfinished), signer)
    except (c2pa.C2paError, OSError, ValueError) as error:
        raise MediaError(f"{output.name} cannot be signed: {error}") from error


def _manifest(output: Path) -> str:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": _MADE_BY_AI,
        "description": "The mouth was generated from the sound",
    }
    return json.dumps(
        {
            "title": output.name,
            "claim_generator_info": [{"name": "lipstream"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
    )


def _c2pa() -> Any:
    try:
        return importlib.import_module("c2pa")
    except ModuleNotFoundError:
        raise InputError(
            "signing needs the package c2pa-python: pip install 'lipstream[sign]'"
        ) from None


DEFAULT_LABEL = "AI-generated"
_HEIGHT = 0.032
"""Height of the letters, as a share of the picture's shorter side."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PIXELS = 22.0
"""Height of that font's capitals at scale 1."""
_SHADE = 0.45
"""Brightness that is left under the letters."""


def check_label(text: str) -> str:
    """Return the text; raises InputError for one that cannot be drawn."""
    if not text.strip() or not text.isascii() or not text.isprintable() or len(text) > 60:
        raise InputError(f"--label '{text}': give 1 to 60 plain letters, digits and signs (ASCII)")
    return text


def draw_label(image: Image, text: str) -> Image:
    """Return a new picture with the text below on the left, on a shade."""
    height, width = image.shape[:2]
    scale = max(8.0, _HEIGHT * min(height, width)) / _FONT_PIXELS
    thick = max(1, round(1.6 * scale))
    (across, up), below = cv2.getTextSize(text, _FONT, scale, thick)
    if across > 0.9 * width:
        scale *= 0.9 * width / across
        (across, up), below = cv2.getTextSize(text, _FONT, scale, thick)
    pad = max(2, up // 2)
    top, right = max(0, height - up - below - 3 * pad), min(width, across + 3 * pad)
    box = (slice(top, height - pad), slice(pad, right))
    out = image.copy()
    out[box] = (out[box].astype(np.float32) * _SHADE).astype(np.uint8)
    place = (2 * pad, height - 2 * pad - below // 2)
    cv2.putText(out, text, place, _FONT, scale, (255, 255, 255), thick, cv2.LINE_AA)
    return out
