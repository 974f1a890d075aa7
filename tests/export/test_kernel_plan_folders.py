"""Model folders that hold a plan: what export writes, judges and the engine opens."""

import numpy as np
import pytest
import torch

import lipstream_export.precisions
from engine.inference.kernels.toy_plans import needs_kernels
from export.small_mouths import WANTED_DB, files_of, loaded, noise, seeded, small
from lipstream import MouthModel
from lipstream.inference.kernels import kernels_run_here
from lipstream.storage import sha256_of
from lipstream_export.model_folder import PLAN, ExportOptions, export_mouth
from lipstream_export.parity import judge_pictures
from lipstream_export.precisions import psnr_db, reference_pictures
from lipstream_models.networks.wav2lip import Wav2Lip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small network and its model folder, int8 besides."""
    network, folder = small(), tmp_path_factory.mktemp("small") / "m"
    options = ExportOptions(precisions=("int8",), samples=noise(network, 6))
    export_mouth(loaded(network), folder, options)
    return network, folder, options


def test_a_folder_holds_its_plan_with_its_checksum(exported):
    _, folder, _ = exported
    entry = files_of(folder)["mouth_int8_plan"]
    assert entry["path"] == PLAN
    assert entry["sha256"] == sha256_of(folder / PLAN)
    if kernels_run_here():
        assert entry["psnr_db"] >= WANTED_DB
        assert entry["measured_on"] == "noise"


@needs_kernels
def test_the_engine_takes_it_for_int8(exported):
    network, folder, _ = exported
    samples = noise(network, 2, seed=2)
    truth = reference_pictures(network, samples)
    with MouthModel.open(folder, threads=1, precision="int8") as model:
        assert model.backend == "native"
        error = (
            model.mouth(samples.mels, model.face_features(samples.crops)) - truth.mouths[0] * 1.0
        )
    assert np.square(error).mean() < 255**2 * 10 ** (-WANTED_DB / 10)


@needs_kernels
def test_the_report_judges_a_plan_beside_the_graphs(exported):
    network, folder, options = exported
    rows = [row for row in judge_pictures(network, folder, options) if row.holds]
    (own,) = (row for row in rows if row.backend == "native")
    assert own.graph == "int8"
    assert own.psnr_db == pytest.approx(files_of(folder)["mouth_int8_plan"]["psnr_db"], abs=0.06)


@needs_kernels
def test_a_plan_that_paints_too_far_off_is_not_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(lipstream_export.precisions.LEAST_PSNR_DB, "int8", 90.0)
    network = small()
    options = ExportOptions(precisions=("int8",), samples=noise(network, 3))
    export_mouth(loaded(network), tmp_path / "m", options)
    assert "no plan is written" in caplog.text
    assert "mouth_int8_plan" not in files_of(tmp_path / "m")


@pytest.mark.slow
def test_wav2lip_at_its_full_size_is_planned(tmp_path):
    torch.manual_seed(5)
    network = seeded(Wav2Lip())
    samples = noise(network, 6)
    options = ExportOptions(precisions=("int8",), samples=samples)
    export_mouth(loaded(network), tmp_path / "m", options)
    entry = files_of(tmp_path / "m")["mouth_int8_plan"]
    assert entry["sha256"] == sha256_of(tmp_path / "m" / PLAN)
    if not kernels_run_here():
        pytest.skip("the int8 kernels need Linux, AVX-512 VNNI and to be built")
    assert entry["psnr_db"] >= WANTED_DB
    truth = reference_pictures(network, noise(network, 4, seed=1))
    assert truth.mouths[0].std() > 40
    assert psnr_db(tmp_path / "m" / entry["path"], truth, "native", "int8")[0] >= WANTED_DB
