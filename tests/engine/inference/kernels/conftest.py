"""A plan, and the file it lies in."""

import os
from pathlib import Path

import pytest

import lipstream.inference.kernels as kernels

if given := os.environ.get("LIPSTREAM_TEST_KERNELS"):  # a build for any processor, see scalar/
    kernels._NEEDED, kernels.LIBRARY = (), Path(given)

from engine.inference.kernels.toy_plans import small_mouth
from lipstream.inference.kernels.plan import save_plan


@pytest.fixture(scope="module")
def plan():
    return small_mouth()


@pytest.fixture
def path(plan, tmp_path):
    save_plan(tmp_path / "small.plan", plan)
    return tmp_path / "small.plan"
