"""Labels, signatures and contact sheets."""

import datetime
from dataclasses import replace

import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lipstream.errors import InputError, MediaError
from lipstream.film.provenance import Certificate, check_label, check_signing, draw_label
from lipstream.film.render import RenderJob, render
from media_files import film_contents, tone, write_wav


@pytest.fixture
def job(tmp_path, toy_folder, toy_pack):
    sound = write_wav(tmp_path / "a.wav", tone(16_000, 8000), 16_000)
    return RenderJob(toy_pack, sound, tmp_path / "a.mp4", toy_folder)


def test_a_label_stands_in_the_corner_and_leaves_the_rest(job):
    image = np.full((240, 320, 3), 90, np.uint8)
    out = draw_label(image, "AI-generated")
    changed = (out != image).any(-1)
    assert out.max() > 200
    assert changed.any()
    assert not changed[:200].any()
    assert image.min() == image.max() == 90


@pytest.mark.parametrize("size", [(16, 16), (32, 400), (1080, 60)])
def test_a_label_fits_any_picture(size):
    image = np.full((*size, 3), 90, np.uint8)
    assert draw_label(image, "W" * 60).shape == image.shape


@pytest.mark.parametrize("text", ["", "  ", "\u0627", "a\nb", "x" * 61])
def test_a_label_that_cannot_be_drawn_is_refused(text):
    with pytest.raises(InputError, match="--label"):
        check_label(text)


def test_a_label_is_in_the_film_when_asked_for(job):
    render(replace(job, label="made by a network"))
    pictures, _, _ = film_contents(job.output)
    assert all(picture[100:, :].max() > 140 for picture in pictures)


def test_a_contact_sheet_shows_before_and_after(job, tmp_path):
    render(replace(job, sheet=tmp_path / "sheet.png"))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (4 * 328, 2 * 648, 3)
    before, after = sheet[:320, :320], sheet[:320, 320:640]
    assert np.abs(before[:100].astype(int) - after[:100]).max() < 8


def _named(name):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
        ]
    )


def _issued(name, key, issuer, issuer_key, *, authority):
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        [
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only", "decipher_only", "crl_sign",
        ],
        False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=authority, **usage), critical=True
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if not authority:
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(uses, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def certificate(tmp_path):
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _issued("Root", root_key, "Root", root_key, authority=True)
    leaf = _issued("Signer", key, "Root", root_key, authority=False)
    pem = serialization.Encoding.PEM
    chain, secret = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return Certificate(chain, secret)


def test_a_signed_film_says_that_a_network_made_part_of_it(job, certificate):
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    render(replace(job, certificate=certificate))
    with c2pa.Reader(str(job.output)) as reader:
        said = reader.json()
    assert "compositeWithTrainedAlgorithmicMedia" in said
    assert "assertion.dataHash.mismatch" not in said
    pictures, _, _ = film_contents(job.output)
    assert len(pictures) == 13


def test_a_key_that_does_not_fit_is_said_and_writes_nothing(job, certificate):
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    certificate.key.write_text("no key")
    before = sorted(job.output.parent.iterdir())
    with pytest.raises(MediaError, match="cannot be signed"):
        render(replace(job, certificate=certificate))
    assert sorted(job.output.parent.iterdir()) == before


def test_what_cannot_be_signed_is_said_first(tmp_path, certificate):
    with pytest.raises(InputError, match="cannot be signed: give -o a name in"):
        check_signing(certificate, tmp_path / "a.mkv")
    with pytest.raises(InputError, match="there is no file"):
        check_signing(replace(certificate, key=tmp_path / "none"), tmp_path / "a.mp4")
