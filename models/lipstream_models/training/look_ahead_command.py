"""``lipstream train look-ahead``: how much better lips are heard when the sound is known longer."""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lipstream.types import Float32

if TYPE_CHECKING:
    from lipstream_models.training.grid_corpus import PreparedFolder
    from lipstream_models.training.sound import HeardLips

STARTS_MS = (-390, -365, -340, -315, -290, -265, -240, -200)
"""Starts of the windows tried; each ends 387.5 ms later, and half an STFT window follows."""
_MEASURED = slice(3, 70)
"""Frames whose windows lie in the clip's sound."""
_PIECES = 40
"""Pieces of music that every sound stage learns to keep still at."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How well a sound stage with one look-ahead hears the lips of one folder."""

    folder: str
    look_ahead_ms: float
    seed: int
    gap_correlation: float
    """Lip gap heard against lip gap seen, median over clips."""
    mean_correlation: float
    """The same, mean over all measures of the lips."""
    gap_spread: float
    """Standard deviation of the lip gap heard over that seen, median over clips."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="folders to learn from"
    )
    parser.add_argument(
        "--judge", type=Path, nargs="+", required=True, help="folders to judge all clips of"
    )
    parser.add_argument("--out", type=Path, required=True, help=".json to write; a .png beside it")
    parser.add_argument("--samples", type=int, default=80_000, help="examples for each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Train and judge one sound stage for every look-ahead and seed; keep all figures."""
    import torch  # noqa: PLC0415

    from lipstream_models.training.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.training.music import piece_mels  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    folders = [PreparedFolder(path) for path in arguments.clips]
    judges = [PreparedFolder(path) for path in arguments.judge]
    figures: list[Hearing] = []
    for seed in arguments.seeds:
        music = piece_mels(_PIECES, seed)
        for start_ms in STARTS_MS:
            heard = _trained(folders, music, start_ms, seed, arguments.samples)
            found = [_judged(heard, folders[0], seed, held_out=True)]
            found += [_judged(heard, judge, seed, held_out=False) for judge in judges]
            figures += found
            for one in found:
                print(
                    f"{one.look_ahead_ms:.1f} ms ahead, {one.folder}: lip gap"
                    f" {one.gap_correlation:.3f}, all measures {one.mean_correlation:.3f}",
                    flush=True,
                )
            arguments.out.write_text(json.dumps([asdict(one) for one in figures], indent=1))
    _plot(figures, arguments.out.with_suffix(".png"))
    return 0


def _trained(
    folders: "list[PreparedFolder]", music: Float32, start_ms: int, seed: int, samples: int
) -> "HeardLips":
    from lipstream_models.networks.mouth_flow import COLUMNS  # noqa: PLC0415
    from lipstream_models.training.dataset import Window  # noqa: PLC0415
    from lipstream_models.training.sound import (  # noqa: PLC0415
        SOUND_OPTIONS,
        SoundTrainer,
        VoiceSource,
    )

    window = Window(COLUMNS, start_ms)
    source = VoiceSource(folders, [1.0] * len(folders), music, window)
    trainer = SoundTrainer(source, window, replace(SOUND_OPTIONS, samples=samples, seed=seed))
    for _ in trainer.run():
        pass
    return trainer.heard


def _judged(heard: "HeardLips", folder: "PreparedFolder", seed: int, *, held_out: bool) -> Hearing:
    from lipstream_models.evaluation.metrics import correlation  # noqa: PLC0415
    from lipstream_models.evaluation.painters import make_timing  # noqa: PLC0415
    from lipstream_models.training.dataset import shapes_of, split_rows  # noqa: PLC0415
    from lipstream_models.training.sound import hear_clips  # noqa: PLC0415

    trained_on, rows = split_rows(folder)
    if not held_out:
        rows = np.union1d(trained_on, rows)
    seen = shapes_of(folder, rows)[:, _MEASURED]
    told = hear_clips(heard, folder, [int(row) for row in rows])[:, _MEASURED]
    per_measure = np.array(
        [
            [correlation(a[:, k], b[:, k]) for k in range(seen.shape[2])]
            for a, b in zip(told, seen, strict=True)
        ]
    )
    spread = told[..., 0].std(1) / seen[..., 0].std(1)
    window = heard.window
    return Hearing(
        folder.folder.name,
        make_timing(window.columns, window.start_ms).look_ahead_ms,
        seed,
        float(np.median(per_measure[:, 0])),
        float(np.median(per_measure, 0).mean()),
        float(np.median(spread)),
    )


def _plot(figures: list[Hearing], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in dict.fromkeys(one.folder for one in figures):
        ahead = sorted({one.look_ahead_ms for one in figures})
        mean = [
            np.mean(
                [o.gap_correlation for o in figures if (o.folder, o.look_ahead_ms) == (name, at)]
            )
            for at in ahead
        ]
        axes.plot(ahead, mean, marker="o", label=name)
    axes.set(xlabel="look-ahead, ms (with half an STFT window)", ylabel="lip gap correlation")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
