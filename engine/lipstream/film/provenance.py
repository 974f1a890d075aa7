"""Signing films by C2PA, the standard of the Content Authenticity Initiative, when asked to."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstream.errors import InputError, MediaError
from lipstream.storage.atomic_files import written_whole

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
            written_whole(output) as unfinished,
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
