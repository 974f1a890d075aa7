"""Packs changed at random, their checksum made right again: opened, or refused by name."""

import hashlib
import json
import struct

import numpy as np
import pytest

from fuzzing import COUNT, SEED, mutated_bytes, mutated_value, seeds
from lipstream import Avatar
from lipstream.errors import AvatarError
from lipstream.face.crop import FacePicture, cut_crop

PREFIX = struct.Struct("<8sII32s")


def sealed(magic: bytes, version: int, text: bytes, body: bytes) -> bytes:
    """Return a pack with these parts and a right checksum."""
    padding = bytes(-(PREFIX.size + len(text)) % 64)
    rest = text + padding + body
    return PREFIX.pack(magic, version, len(text), hashlib.sha256(rest).digest()) + rest


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_fuzzed_packs_are_opened_or_refused(toy_avatar, tmp_path, codec):
    path = tmp_path / "a.avatar"
    shown = FacePicture(toy_avatar.frames[0], toy_avatar.crops[0])
    toy_avatar.with_open_mouth(shown).save(path, codec=codec)
    held = path.read_bytes()
    magic, version, length, _ = PREFIX.unpack(held[: PREFIX.size])
    header = json.loads(held[PREFIX.size : PREFIX.size + length])
    body = held[-(-(PREFIX.size + length) // 64) * 64 :]
    outcomes = set()
    for chance in seeds(2 * COUNT, SEED):
        text, changed = header, body
        if chance.random() < 0.8:
            text = mutated_value(header, chance)
        if chance.random() < 0.3:
            changed = mutated_bytes(body, chance)
        made = sealed(magic, version, json.dumps(text).encode(), changed)
        if chance.random() < 0.1:
            made = mutated_bytes(made, chance)
        path.write_bytes(made)
        try:
            opened = Avatar.open(path)
            opened.cut_crops(16)
            opened.at(10_000, opened.fps)
            if opened.open_mouth is not None:
                cut_crop(opened.open_mouth.image, opened.open_mouth.crop, 16)
            outcomes.add("opened")
        except AvatarError:
            outcomes.add("refused")
    assert outcomes == {"opened", "refused"}


def test_an_avatar_overwritten_in_place_is_still_the_one_that_was_opened(toy_avatar, toy_pack):
    opened = Avatar.open(toy_pack)
    held = toy_pack.read_bytes()
    try:
        with toy_pack.open("r+b") as file:
            file.truncate(100)
        np.testing.assert_array_equal(opened.frames, toy_avatar.frames)
    finally:
        toy_pack.write_bytes(held)
