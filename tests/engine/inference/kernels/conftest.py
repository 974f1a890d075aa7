"""A plan, and the file it lies in."""

import pytest

from engine.inference.kernels.toy_plans import small_mouth
from lipstream.inference.kernels.plan import save_plan


@pytest.fixture(scope="module")
def plan():
    return small_mouth()


@pytest.fixture
def path(plan, tmp_path):
    save_plan(tmp_path / "small.plan", plan)
    return tmp_path / "small.plan"
