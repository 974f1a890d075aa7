"""The benchmarks run and say what they mean. No figure is a condition: machines differ."""

import importlib.util
import json

import numpy as np
import pytest

from lipstream.avatar.pack import Avatar
from lipstream.cli import main
from lipstream.errors import InputError
from lipstream.inference.model import MouthModel
from lipstream.storage import user_cache
from lipstream.timing import MODEL_RATE
from lipstream_bench import live as latency_module
from lipstream_bench.live import (
    FrameTimes,
    LiveSession,
    LoadLevel,
    expected_frames,
    live_engines,
    measure_latency,
    measure_sessions,
    search_limit,
    turns,
)
from lipstream_bench.report import RATE, SCHEMA, Measurement, Settings, timing_of
from lipstream_bench.stages import filled, measure_stages, processor_times
from toys import make_toy_avatar

ROW_KEYS = {"backend", "name", "unit", "count", "mean", "p50", "p95", "p99", "worst"}


@pytest.fixture(scope="module")
def tiny(toy_folder, toy_pack):
    return Settings(toy_folder, toy_pack, ("cpu",), seconds=0.1, threads=1)


def test_percentiles_are_those_of_the_values():
    row = Measurement.of("cpu", "x", list(range(101)))
    assert (row.count, row.mean, row.p50, row.p95, row.p99, row.worst) == (101, 50, 50, 95, 99, 100)


def test_percentiles_lie_between_values_where_there_are_few():
    assert Measurement.of("cpu", "x", [10.0, 20.0]).p50 == 15.0
    assert Measurement.of("cpu", "x", [10.0, 20.0]).p95 == pytest.approx(19.5)


def test_nothing_measured_is_said():
    with pytest.raises(InputError, match="--seconds"):
        Measurement.of("cpu", "x", [])


@pytest.mark.slow
def test_stages_name_every_step_of_a_frame(tiny):
    report = measure_stages(tiny)
    names = [row.name for row in report.rows]
    steps = ["resampling", "mel", "network", "paste", "whole frame", "conversion"]
    assert names == [*steps, "outside the network"]
    assert all(row.count >= 20 and 0 < row.p50 <= row.p95 <= row.worst for row in report.rows)
    assert report.subject.model == "toy 1"


@pytest.mark.slow
def test_the_parts_of_a_frame_are_all_of_it_and_a_face_fills_its_picture():
    avatar = filled(Avatar.open(), 256)
    assert avatar.frames.shape == (1, 256, 256, 3)
    middle = avatar.crops[0, :, :2].sum(1) / 2 + avatar.crops[0, :, 2]
    assert middle == pytest.approx([128, 128], abs=1)
    with MouthModel.open(threads=1) as model:
        parts = processor_times(model, avatar, 0.1)
    *apart, whole = (np.array(times) for times in parts.values())
    np.testing.assert_allclose(np.sum(apart, 0), whole)


@pytest.mark.slow
def test_one_backend_at_two_precisions_has_two_names(toy_folder, toy_pack):
    pytest.importorskip("openvino", reason="bf16 is OpenVINO's")
    settings = Settings(toy_folder, toy_pack, ("openvino", "openvino:bf16"), threads=1)
    names = [engine.backend for engine in live_engines(settings, capacity=1)]
    assert names == ["openvino", "openvino:bf16"]


@pytest.fixture(scope="module")
def latency(toy_folder, toy_pack):
    return measure_latency(Settings(toy_folder, toy_pack, ("cpu",), seconds=1.0, threads=1))


def test_latency_parts_add_up(latency):
    rows = {row.name: row for row in latency.rows}
    parts = rows["look-ahead"].mean + rows["beyond look-ahead"].mean
    assert rows["total"].mean == pytest.approx(parts)
    assert rows["look-ahead"].worst <= latency.subject.look_ahead_ms + 0.001


def test_opening_to_the_first_frame_is_measured(latency):
    rows = {row.name: row for row in latency.rows}
    assert (rows["first opening"].count, rows["prepared opening"].count) == (1, 3)
    assert 0 < rows["prepared opening"].p50 < 60_000
    assert latency.summary["cpu: prepared opening, s of processor"] > 0


def test_opening_is_measured_with_nothing_kept_and_leaves_the_users_files_alone(
    toy_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    make_toy_avatar(9).save(tmp_path / "nine.avatar")
    openings, prepared = [], latency_module.LipSync.open

    def opened(options):
        faces = user_cache() / "faces"
        openings.append(len(list(faces.iterdir())) if faces.is_dir() else 0)
        assert tmp_path not in faces.parents
        return prepared(options)

    monkeypatch.setattr(latency_module.LipSync, "open", opened)
    measured = Settings(toy_folder, tmp_path / "nine.avatar", ("cpu",), seconds=0.5, threads=1)
    latency_module._openings(measured, "cpu")
    assert openings == [0, 1, 1, 1]
    assert user_cache() == tmp_path / "own" / "lipstream"


def test_a_frame_is_never_out_before_its_sound_was_spoken(latency):
    beyond = next(row for row in latency.rows if row.name == "beyond look-ahead")
    assert beyond.p50 > 0
    assert FrameTimes(0, 0.0, 0.17, 0.19).beyond_look_ahead_ms == pytest.approx(20)


def test_frames_expected_of_a_second_are_those_whose_sound_is_there(toy_model):
    timing = timing_of(toy_model)
    count = expected_frames(timing, 1.0)
    assert timing.mel_span(count - 1).stop / MODEL_RATE <= 1.0
    assert timing.mel_span(count + 1).stop / MODEL_RATE > 1.0
    assert timing.frame_start(count) < RATE


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 63, 64, 100])
def test_the_search_finds_the_limit(limit):
    asked = []

    def holds(count):
        asked.append(count)
        return count <= limit

    assert search_limit(holds) == min(limit, 64)
    assert len(asked) <= 13


def test_blocks_are_fed_in_the_order_in_which_they_are_spoken(toy_model):
    sessions = [LiveSession(timing_of(toy_model), begin=0.013 * k) for k in range(3)]
    fed = turns(sessions, 5)
    due = [session.block_due(block) for block, session in fed]
    assert due == sorted(due)
    for one in sessions:
        assert [block for block, session in fed if session is one] == list(range(5))
    assert due[0] == pytest.approx(0.020)


def test_a_lost_or_late_frame_breaks_a_level():
    assert LoadLevel(1, [10.0, 20.0], lost=0).holds(80)
    assert not LoadLevel(1, [10.0, 90.0], lost=0).holds(80)
    assert not LoadLevel(1, [10.0], lost=1).holds(80)


@pytest.mark.slow
def test_a_report_is_written_and_drawn(toy_folder, toy_pack, tmp_path, capsys):
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    words = ["bench", "stages", "--seconds", "0.1", "--model", toy_folder, "--avatar", toy_pack]
    words += ["--backends", "cpu", "--json", out]
    if importlib.util.find_spec("matplotlib"):
        words += ["--plot", plot]
    assert main([str(word) for word in words]) == 0
    written = json.loads(out.read_text())
    assert written["schema"] == SCHEMA
    assert written["benchmark"] == "stages"
    assert {"cpu", "cores", "system", "python", "versions"} <= written["machine"].keys()
    assert all(row.keys() == ROW_KEYS for row in written["rows"])
    assert "--plot" not in words or plot.stat().st_size > 5000
    shown = capsys.readouterr().out
    assert "method:" in shown
    assert "machine:" in shown
    assert "resampling" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--json", "no/out.json"], "no folder"),
        (["--plot", "out.txt"], "end its name"),
        (["--backends", "abacus"], "no backend 'abacus'"),
    ],
)
def test_unfit_words_are_named_before_measuring(toy_folder, toy_pack, capsys, words, says):
    given = ["bench", "stages", "--model", str(toy_folder), "--avatar", str(toy_pack), *words]
    assert main(given) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_sessions_are_counted(toy_folder, toy_pack):
    settings = Settings(toy_folder, toy_pack, ("cpu",), seconds=0.6, threads=1, deadline_ms=0.001)
    report = measure_sessions(settings)
    assert report.summary == {"cpu: sessions at 25 fps": 0}
    assert report.rows[0].name == "1 session"
    assert np.isfinite(report.rows[0].p95)
