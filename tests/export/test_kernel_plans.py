"""Mouth graphs as plans of our kernels: Wav2Lip's whole, and small ones of its parts."""

import contextlib
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.inference.kernels.toy_plans import needs_kernels
from export.small_mouths import NARROW, WANTED_DB, loaded, noise, seeded, small
from lipstream.inference.backends import open_backend
from lipstream.inference.kernels.plan import load_plan, save_plan
from lipstream_export.kernel_plans import make_plan
from lipstream_export.model_folder import MOUTH, PLAN, export_mouth
from lipstream_export.onnx_graphs import find_reaches
from lipstream_export.precisions import plan_mouth, psnr_db, reference_pictures
from lipstream_models.networks.wav2lip import Wav2Lip


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A Wav2Lip of few channels, its graph and its plan: all that is published but the size."""
    torch.manual_seed(3)
    network, folder = seeded(Wav2Lip(NARROW)), tmp_path_factory.mktemp("narrow") / "m"
    export_mouth(loaded(network), folder)
    save_plan(folder / PLAN, plan_mouth(folder / MOUTH, network, noise(network, 6)).plan)
    return network, folder


def test_its_steps_are_those_of_the_network(narrow):
    network, folder = narrow
    plan = load_plan(folder / PLAN)
    kinds = Counter(step.kind for step in plan.steps)
    loads = {step.input for step in plan.steps if step.kind == "convert"}
    assert loads == set(network.feature_names)
    assert plan.inputs.keys() == {"mel", *network.feature_names}
    assert (kinds["quantize_f32"], kinds["sigmoid"], plan.steps[-1].kind) == (1, 1, "sigmoid")
    assert plan.output == (48, 96, 3)
    # one pixel becomes nine in nine steps; five blocks double their tensors, in four steps each
    alone = [s for s in plan.steps if s.kind == "igemm" and (s.height, s.width) == (1, 1)]
    assert len(alone) == 3 + 9
    assert sum(step.target.stride == 2 for step in plan.steps) == 5 * 4
    # every 3 x 3 convolution of 32 channels and more on more than a few pixels
    winograd = [step for step in plan.steps if step.kind == "winograd"]
    assert len(winograd) == 9
    assert min(step.depth for step in winograd) == 32
    assert max(step.height * step.width for step in winograd) == 49 * 96
    # below the middle of the face rows are dropped, of what is added too
    assert sum(step.add_row == 1 for step in winograd) == 6


@needs_kernels
def test_it_paints_what_the_fp32_graph_paints(narrow):
    network, folder = narrow
    truth = reference_pictures(network, noise(network, 5, seed=1))
    assert min(mouth.std() for mouth in truth.mouths) > 40
    found, _ = psnr_db(folder / PLAN, truth, "native", "int8")
    assert found >= WANTED_DB
    with contextlib.closing(open_backend(folder / MOUTH, "cpu", 1)) as usual:
        wanted = usual.run(truth.feeds[0])["mouth"].astype(float)
    with contextlib.closing(open_backend(folder / PLAN, "native", 1, "int8")) as own:
        painted = own.run(truth.feeds[0])["mouth"]
        assert 10 * np.log10(255**2 / np.square(painted - wanted).mean()) >= WANTED_DB
        # it hears: other sound on the same faces moves the picture far more than that
        other = truth.feeds[0] | {"mel": truth.feeds[0]["mel"][::-1].copy()}
        before = painted.astype(float)
        assert np.square(own.run(other)["mouth"] - before).mean() > 100


def planned_db(network, folder):
    export_mouth(loaded(network), folder / "m")
    model = onnx.load(folder / "m" / MOUTH)
    plan = make_plan(
        model, find_reaches(model, reference_pictures(network, noise(network, 6)).feeds)
    )
    save_plan(folder / "m.plan", plan)
    truth = reference_pictures(network, noise(network, 6, seed=1))
    assert truth.mouths[0].std() > 20
    return psnr_db(folder / "m.plan", truth, "native", "int8")[0]


@needs_kernels
@pytest.mark.parametrize(
    "parts",
    [
        dict,
        lambda: {"face": nn.Identity()},  # negative, and read by a Winograd step alone
        lambda: {"inner": nn.Conv2d(16, 16, 3, padding=1, bias=False)},
        lambda: {
            "inner": nn.Sequential(
                nn.Conv2d(16, 48, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(48, 16, 3, 2, 1, 1)
            )
        },
        lambda: {"last": nn.Conv2d(32, 32, 3, padding=(1, 1), bias=False)},
    ],
    ids=["plain", "signed", "unbiased", "there_and_back", "unbiased_last"],
)
def test_small_networks_are_planned_too(parts, tmp_path):
    assert planned_db(small(parts), tmp_path) >= WANTED_DB
