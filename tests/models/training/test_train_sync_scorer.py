"""``lipstream train sync-scorer`` as called: it trains, goes on, checks and leaves a log."""

import argparse
import json

import numpy as np
import pytest
import torch

from lipstream_models.evaluation.metrics import SyncScore
from lipstream_models.evaluation.sync_scorer import (
    SHIFTS,
    check_scorer,
    load_sync_network,
)
from lipstream_models.training.command import add_sync_scorer_arguments, run_sync_scorer
from prepared_clips import make_folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorer") / "clips"
    make_folder(folder, clips=2)
    return folder


def run(*words):
    parser = argparse.ArgumentParser()
    add_sync_scorer_arguments(parser)
    return run_sync_scorer(parser.parse_args([str(word) for word in words]))


@pytest.mark.slow
def test_a_run_leaves_checkpoint_weights_log_plot_and_check(clips, tmp_path, capsys):
    out, weights = tmp_path / "scorer.pt", tmp_path / "weights.pt"
    words = ("--clips", clips, "--out", out, "--batch", 1, "--fp32", "--weights", weights)
    assert run(*words, "--steps", 1) == 0
    assert run(*words, "--steps", 2, "--check", clips) == 0
    assert f"continuing {out} at step 1 of 2" in capsys.readouterr().out
    assert torch.load(out, weights_only=True)["step"] == 2
    load_sync_network(weights)
    assert [json.loads(line)["step"] for line in (tmp_path / "scorer.jsonl").open()] == [1, 2]
    assert (tmp_path / "scorer.png").stat().st_size > 1000
    checks = json.loads((tmp_path / "scorer.json").read_text())
    assert [check["clips"] for check in checks] == [1, 2]


class Sure:
    """A scorer that is always as wrong as it is told."""

    def __init__(self, clip, error):
        self.clip, self.error = clip, error

    def sync(self, crops, mel, first=0):
        shown = next(k for k in range(75) if np.array_equal(crops[0], self.clip[k]))
        return SyncScore(first - shown + self.error, 0.5, 0.1)


@pytest.mark.parametrize(("error", "share"), [(0.4, 1.0), (-1.5, 0.0)])
def test_a_check_counts_offsets_found_to_a_frame(tmp_path, error, share):
    folder = make_folder(tmp_path / "clips", clips=1)
    film = folder.crops[0].copy()
    film[:, 0, 0, 0] = np.arange(75)  # so that every frame is told from the others
    folder.crops[0] = film
    check = check_scorer(Sure(film, error), folder, [0])
    assert (check.clips, check.correct_share) == (1, share)
    assert check.error_frames == pytest.approx(abs(error))
    assert len(set(SHIFTS)) == 3
