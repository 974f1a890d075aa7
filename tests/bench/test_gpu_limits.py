"""What GPUs could serve at most, and the page that says so."""

import json
from dataclasses import replace

import pytest

from lipstream.cli import main
from lipstream_bench.gpu_limits import (
    CALL_S,
    CARDS,
    COPIES,
    ENCODING,
    KERNEL_GAP_S,
    NETWORK,
    PASTE,
    PCIE,
    Convolution,
    batch_seconds,
    count_network,
    first_to_bind,
    limits_table,
    measure_limits,
    sessions_of,
)
from source_tree import ROOT

PAGE = ROOT / "docs" / "gpu-limits.md"
CARD = replace(CARDS[0], multiprocessors=1, boost_hz=1e9, fp16_per_clock=1000, bandwidth=1e9)


@pytest.fixture(scope="module")
def network():
    return count_network()


def test_a_layer_takes_what_it_computes_or_what_it_moves_whichever_is_longer():
    computes = Convolution(flops=10**9, weights=1, moved=1)
    assert batch_seconds(CARD, [computes], 4) == pytest.approx(4e-3 + KERNEL_GAP_S)
    moves = Convolution(flops=1, weights=10**6, moved=10**5)
    assert batch_seconds(CARD, [moves], 4) == pytest.approx(2 * 1.4e-3 + KERNEL_GAP_S)


def test_what_the_network_does_is_counted_where_it_runs(network):
    first = network.layers[0]
    assert first.flops == 2 * 32 * 9 * 80 * 16  # 32 kernels of 3 x 3 over one sound of 80 x 16
    assert (first.weights, first.moved) == (32 * 9, 33 * 80 * 16)
    assert network.frame_bytes == (80 * 16 * 4, 48 * 96 * 3)
    assert len(network.features) == 7


def test_the_first_to_fill_is_the_smallest_and_without_encoders_the_processor_encodes():
    found = {NETWORK: 800.0, COPIES: 900.0, PASTE: 5000.0, ENCODING: 300.0, PCIE: 9000.0}
    assert first_to_bind(found) == ENCODING
    assert first_to_bind(found | {ENCODING: 1000.0}) == NETWORK
    assert first_to_bind(found | {ENCODING: None}) == ENCODING


def test_a_driver_that_limits_its_streams_limits_sessions(network):
    free = replace(CARDS[0], streams=None)
    assert sessions_of(replace(free, streams=5), network)[ENCODING] == 5
    assert sessions_of(free, network)[ENCODING] > 100


def test_features_are_told_in_two_calls_a_batch_and_copied_by_the_memory(network):
    told = replace(CARDS[0], bandwidth=1e30)
    assert sessions_of(told, network)[COPIES] == pytest.approx(32 / (2 * CALL_S * 25))
    copied = replace(CARDS[0], bandwidth=1e3)
    bound = copied.bandwidth / (2 * network.feature_bytes * 25)
    assert sessions_of(copied, network)[COPIES] == pytest.approx(bound)


@pytest.mark.slow
def test_the_page_has_the_table_that_the_command_calculates():
    assert limits_table(measure_limits()) in PAGE.read_text("utf-8"), (
        "copy what lipstream bench limits calculates into docs/gpu-limits.md"
    )


@pytest.mark.slow
def test_the_command_prints_and_writes_it(tmp_path, capsys):
    assert main(["bench", "limits", "--json", str(tmp_path / "limits.json")]) == 0
    assert "calculated, not measured" in capsys.readouterr().out
    written = json.loads((tmp_path / "limits.json").read_text())
    assert written["summary"]["L4: sessions by network"] > 100
    assert "H100 SXM: sessions by encoding" not in written["summary"]
