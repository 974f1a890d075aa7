"""``bench export`` on a network of few channels, one face and one sound."""

import json
import wave

import cv2
import numpy as np
import pytest
import torch

from lipstream.avatar.pack import Avatar
from lipstream.cli import main
from lipstream_bench.stages import BASELINE
from lipstream_models.networks.wav2lip import Layout, LayoutBlock, Wav2Lip

FEW = Layout(
    96,
    (LayoutBlock(4, 0, 7), *(LayoutBlock(4, 1) for _ in range(5))),
    (LayoutBlock(8),),
    (LayoutBlock(8, 0, 1), LayoutBlock(8, 1), *(LayoutBlock(6, 1) for _ in range(5))),
    (4, 4, 4, 4, 8),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, and a face and a sound to calibrate on."""
    made = tmp_path_factory.mktemp("exporting")
    torch.manual_seed(1)
    torch.save({"state_dict": Wav2Lip(FEW).state_dict()}, made / "few.pth")
    (made / "real").mkdir()
    cv2.imwrite(str(made / "real" / "face.png"), Avatar.open().frames[0])
    noise = np.random.default_rng(1).standard_normal(32_000) * 3000
    with wave.open(str(made / "real" / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(noise.astype(np.int16).tobytes())
    return made


@pytest.mark.slow
def test_one_table_says_what_each_precision_costs_and_does(folder, capsys):
    words = ["bench", "export", "--checkpoint", folder / "few.pth", "--calibrate", folder / "real"]
    words += ["--precision", "bf16", "fp16", "--seconds", "0.1", "--threads", "1"]
    words += ["--json", folder / "out.json", "-o", folder / "model"]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert "PSNR dB" in shown
    assert "whole graph" in shown
    assert "method:" in shown
    report = json.loads((folder / "out.json").read_text())
    assert report["benchmark"] == "export"
    names = [BASELINE, "cpu", "openvino", "cpu:fp16", "openvino:fp16", "openvino:bf16"]
    assert sorted(row["backend"] for row in report["rows"]) == sorted(names)
    summary = report["summary"]
    assert summary["fp32: export, s"] > 0
    assert summary["fp16: file, MB"] < summary["fp32: file, MB"]
    assert "bf16: file, MB" not in summary
    assert summary["openvino:bf16: PSNR, dB"] <= summary["openvino: PSNR, dB"]
    assert summary[f"openvino:bf16: times faster than {BASELINE}"] > 0
    assert (folder / "model" / "model.toml").is_file()


def test_another_checkpoint_is_refused(capsys, tmp_path):
    checkpoint = tmp_path / "some.pth"
    torch.save({"state_dict": {"layer.weight": torch.zeros(3, 3)}}, checkpoint)
    assert main(["bench", "export", "--checkpoint", str(checkpoint)]) == 2
    assert str(checkpoint) in capsys.readouterr().err
