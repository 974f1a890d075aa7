"""KernelPlan files: what is written is read, and what is damaged is named."""

import json

import numpy as np
import pytest

from engine.inference.kernels.wrong_plans import KIND, refusal
from lipstream.inference.kernels.plan import load_plan
from lipstream.storage import PackKind, read_pack, write_pack


def test_what_is_saved_is_loaded(plan, path):
    loaded = load_plan(path)
    for part in ("inputs", "output", "tensors", "steps"):
        assert getattr(loaded, part) == getattr(plan, part)
    for found, wanted in zip(loaded.arrays, plan.arrays, strict=True):
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name].reshape(-1), array.reshape(-1))


def test_what_is_no_file_of_plans_is_named(path):
    path.unlink()
    assert "cannot be read" in refusal(path)
    path.write_bytes(b"")
    assert "it is empty" in refusal(path)
    path.write_bytes(b"no plan at all" * 99)
    assert "is not a plan of lipstream's kernels" in refusal(path)


@pytest.mark.parametrize("place", [60, 500, -1])
def test_one_byte_that_changed_is_damage(path, place):
    held = bytearray(path.read_bytes())
    held[place] ^= 1
    path.write_bytes(held)
    assert "is damaged: its checksum differs" in refusal(path)


@pytest.mark.parametrize("kept", [30, 47, 48, 2000, -1])
def test_a_file_that_ends_early_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert "damaged" in refusal(path) or "is not a plan" in refusal(path)


def test_another_version_says_which(path):
    pack = read_pack(path, KIND)
    header = json.loads(pack.text)
    write_pack(path, PackKind(KIND.magic, 7, KIND.what), header, {})
    assert "is version 7, this program reads 2" in refusal(path)


def test_a_pack_of_another_sort_is_no_plan(path):
    write_pack(path, PackKind(b"LIPAVATR", 1, "an avatar"), {}, {})
    assert "is not a plan" in refusal(path)
