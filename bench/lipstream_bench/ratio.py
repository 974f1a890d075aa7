"""How many times faster than the way everybody runs it: the whole graph in ONNX Runtime, fp32.

Other programs slow a machine down from one second to the next, so the runs take turns: one of each,
again and again, and the ratio is the median of those within each turn.
"""

import statistics
import time
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lipstream.audio.mel import BANDS
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.model import MouthModel
from lipstream_bench.report import Measurement
from lipstream_bench.subject import Settings, open_model

BASELINE = "ONNX Runtime, whole graph, fp32"
_WARM_UP = 3
_LEAST_ROUNDS = 10
_REST_SECONDS = 0.1
"""Between two runs: ONNX Runtime's threads look for more work for a while after theirs is done, and
took the next run's core."""


def has_whole_graph(folder: Path | None) -> bool:
    """Return whether a model folder names its whole graph ('lipstream export --whole')."""
    if folder is None or not (folder / "model.toml").is_file():
        return False
    return "whole" in tomllib.loads((folder / "model.toml").read_text("utf-8")).get("files", {})


@dataclass(slots=True)
class _Turns:
    """What each turn of one run took, milliseconds."""

    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    """Of all threads of this process; meaningful where the runs have one thread."""


def measure_ratios(settings: Settings) -> tuple[list[Measurement], dict[str, float]]:
    """Return a row for the baseline and each backend, and the ratios by name.

    With one thread there is a second ratio, of processor time, which other programs hardly change.
    Raises InputError when the model folder has no whole graph.
    """
    if settings.model is None or not has_whole_graph(settings.model):
        raise InputError("there is no whole graph to compare with: export with --whole")
    with ExitStack() as stack:
        models = {b: stack.enter_context(open_model(settings, b)) for b in settings.backends}
        runs = {BASELINE: _baseline(settings, next(iter(models.values())))}
        runs |= {name: _mouth_of(model) for name, model in models.items()}
        times = _take_turns(runs, settings.seconds * len(runs))
    rows = [
        Measurement.of(name, "network, in turns", turns.wall_ms) for name, turns in times.items()
    ]
    ratios: dict[str, float] = {}
    baseline = times.pop(BASELINE)
    for name, turns in times.items():
        ratio = median_ratio(baseline.wall_ms, turns.wall_ms)
        ratios[f"{name}: times faster than {BASELINE}"] = ratio
        if settings.threads == 1:
            ratio = median_ratio(baseline.processor_ms, turns.processor_ms)
            ratios[f"{name}: times less processor time than {BASELINE}"] = ratio
    return rows, ratios


def median_ratio(baseline: list[float], times: list[float]) -> float:
    """Return the median of the ratios within each turn: a slow moment slows both."""
    return statistics.median(a / b for a, b in zip(baseline, times, strict=True))


def _take_turns(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, _Turns]:
    for run in runs.values():
        for _ in range(_WARM_UP):
            run()
    times = {name: _Turns() for name in runs}
    end = time.perf_counter() + seconds
    while len(times[BASELINE].wall_ms) < _LEAST_ROUNDS or time.perf_counter() < end:
        for name, run in runs.items():
            time.sleep(_REST_SECONDS)
            run()  # whoever ran before has left its own weights in the cache
            started, cpu_started = time.perf_counter(), time.process_time()
            run()
            times[name].wall_ms.append((time.perf_counter() - started) * 1000)
            times[name].processor_ms.append((time.process_time() - cpu_started) * 1000)
    return times


def _baseline(settings: Settings, model: MouthModel) -> Callable[[], object]:
    """Return a run of the whole graph with the options ONNX Runtime has when nobody sets any."""
    try:
        import onnxruntime  # noqa: PLC0415  optional
    except ImportError as error:
        raise BackendUnavailable(
            "comparing needs onnxruntime: pip install 'lipstream[cpu]'"
        ) from error
    assert settings.model is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(
        str(settings.model / "whole.onnx"), options, providers=["CPUExecutionProvider"]
    )
    size, columns = model.manifest.face_size, model.manifest.mel_columns
    random = np.random.default_rng(1)
    feeds = {
        "mel": random.uniform(-4, 4, (1, 1, BANDS, columns)).astype(np.float32),
        "face": random.random((1, 6, size, size), np.float32),
    }
    return lambda: session.run(None, feeds)


def _mouth_of(model: MouthModel) -> Callable[[], object]:
    size, columns = model.manifest.face_size, model.manifest.mel_columns
    random = np.random.default_rng(1)
    crops = random.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    mel = random.uniform(-4, 4, (1, 1, BANDS, columns)).astype(np.float32)
    features = model.face_features(crops)
    return lambda: model.mouth(mel, features)
