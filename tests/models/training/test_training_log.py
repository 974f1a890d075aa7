"""The diary of a run."""

import json

import pytest

from lipstream.errors import InputError
from lipstream_models.training.trainer import TrainingLog, plot, time_left


class Clock:
    """Time that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_report_holds_means_pace_and_the_time_left(tmp_path):
    clock = Clock()
    journal = TrainingLog(tmp_path / "a" / "run.jsonl", 100, every=2, clock=clock)
    assert journal.note(1, 32, {"loss": 1.0, "sync": 4.0}) is None
    clock.now = 4.0
    told = journal.note(2, 32, {"loss": 3.0, "sync": 6.0})
    assert lines(tmp_path / "a" / "run.jsonl") == [
        {"step": 2, "samples_per_second": 16.0, "loss": 2.0, "sync": 5.0}
    ]
    assert "step 2 of 100" in told
    assert "4 min left" in told


def test_the_last_step_is_always_reported(tmp_path):
    journal = TrainingLog(tmp_path / "run.jsonl", 3, every=50)
    assert journal.note(2, 1, {"loss": 1.0}) is None
    assert "0 s left" in journal.note(3, 1, {"loss": 1.0})


def test_a_continued_run_takes_out_what_it_does_again(tmp_path):
    path = tmp_path / "run.jsonl"
    journal = TrainingLog(path, 10, every=2)
    for step in range(1, 7):
        journal.note(step, 1, {"loss": float(step)})
    again = TrainingLog(path, 10, every=2, first=4)
    assert [line["step"] for line in lines(path)] == [2, 4]
    again.note(5, 1, {"loss": 0.0})
    again.note(6, 1, {"loss": 0.0})
    assert [line["step"] for line in lines(path)] == [2, 4, 6]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (99, "99 s"), (300, "5 min"), (7380, "2 h 03 min")]
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert time_left(seconds) == said


@pytest.mark.slow
def test_a_plot_is_a_picture(tmp_path):
    path = tmp_path / "run.jsonl"
    journal = TrainingLog(path, 6, every=2)
    for step in range(1, 7):
        journal.note(step, 1, {"loss": 1.0 / step, "sync": 0.5})
    plot(path, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"


def test_an_empty_or_strange_journal_is_told(tmp_path):
    path = tmp_path / "run.jsonl"
    TrainingLog(path, 1)
    with pytest.raises(InputError, match="no reports"):
        plot(path, tmp_path / "run.png")
    path.write_text("not json\n")
    with pytest.raises(InputError, match="not a training log"):
        TrainingLog(path, 1)
