"""``lipstream train look-ahead`` as called: a figure for every look-ahead and folder."""

import json

import pytest

from lipstream.cli import main
from lipstream_models.training import mouth_command
from prepared_clips import make_folder


@pytest.mark.slow
def test_every_look_ahead_is_judged_on_clips_held_out_and_on_strangers(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(mouth_command, "STARTS_MS", (-340, -240))
    monkeypatch.setattr(mouth_command, "_PIECES", 2)
    clips, strangers, out = tmp_path / "clips", tmp_path / "strangers", tmp_path / "ahead.json"
    make_folder(clips, clips=4)
    make_folder(strangers, clips=2)
    words = ["--clips", str(clips), "--judge", str(strangers), "--samples", "1"]
    assert main(["train", "look-ahead", *words, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert [(one["folder"], one["look_ahead_ms"]) for one in found] == [
        ("clips", 72.5),
        ("strangers", 72.5),
        ("clips", 172.5),
        ("strangers", 172.5),
    ]
    assert all(-1.0 <= one["gap_correlation"] <= 1.0 for one in found)
    assert capsys.readouterr().out.count(" ms ahead, ") == 4
    assert out.with_suffix(".png").stat().st_size > 1000
