"""Measure the networks on a GPU, on a machine that has a driver, Python and torch, and no network.

    python tools/measure_gpu.py --out bench/results

``--device cpu`` tries the script where there is no GPU; its figures mean nothing.
What torch alone can do is always done: Wav2Lip's mouth graph and the lip network with seeded
weights, in fp32 and fp16, eager, compiled and as one recorded CUDA graph, their pictures compared
with torch in fp32 (TF32 off). Runtimes of lipstream that are installed are measured in the same
run, their model folder exported first. What is missing is named in the result. gpu.json and gpu.svg
are written whole at the end, and within --minutes: what does not fit is named too.
"""

import argparse
import copy
import functools
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / one) for one in ("engine", "models", "export")]

FPS = 25
LEAST_PACKAGES = ("cv2", "av", "onnxruntime")
"""What lipstream imports as it is imported; its networks need torch alone."""
Run = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    device: str
    batches: tuple[int, ...]
    turns: int
    ends_at: float
    """Of ``time.monotonic``."""
    sessions: tuple[int, ...]


@dataclass(slots=True)
class Result:
    """What came out."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Runtime -> figure with its unit -> value."""
    missing: dict[str, str] = field(default_factory=dict)
    """What was not measured -> why."""

    def add(self, name: str, figure: str, value: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(name, {})[figure] = value


@dataclass(frozen=True, slots=True)
class Case:
    """A network, what it takes, and what it has to give."""

    name: str
    network: nn.Module
    feeds: tuple[Tensor, ...]
    """Of the largest batch."""
    truth: Tensor
    peak: float
    """What PSNR is told against."""


def make_importable() -> None:
    """Let lipstream's modules be imported one by one where the package itself cannot be."""
    if all(importlib.util.find_spec(one) is not None for one in LEAST_PACKAGES):
        return
    bare = types.ModuleType("lipstream")
    bare.__path__ = [str(ROOT / "engine" / "lipstream")]
    sys.modules["lipstream"] = bare


@torch.no_grad()
def cases(plan: Plan) -> tuple[Case, Case]:
    """Make the networks on the device, with what fp32 gives there."""
    from lipstream_models.networks.lip_network import LipNetwork, LipWindow  # noqa: PLC0415
    from lipstream_models.networks.loading import seed_weights  # noqa: PLC0415
    from lipstream_models.networks.wav2lip import FaceGraph, MouthGraph, Wav2Lip  # noqa: PLC0415

    rows = max(plan.batches)
    random = torch.Generator().manual_seed(2)
    wav2lip = seed_weights(Wav2Lip()).to(plan.device)
    crops = torch.randint(0, 256, (rows, 96, 96, 3), generator=random, dtype=torch.uint8)
    mel = torch.rand(rows, 1, 80, 16, generator=random) * 8 - 4
    features = FaceGraph(wav2lip)(crops.to(plan.device))
    mouth, feeds = MouthGraph(wav2lip), (mel.to(plan.device), *features)
    ear = LipWindow(seed_weights(LipNetwork()), "quality").to(plan.device).eval()
    sound = (torch.rand(rows, 1, 80, 52, generator=random) * 8 - 4).to(plan.device)
    return (
        Case("Wav2Lip 96", mouth, feeds, mouth(*feeds), 255.0),
        Case("lip network", ear, (sound,), ear(sound)[0], 1.0),
    )


def first(made: Any) -> Tensor:
    """Return what is compared of a network's outputs."""
    tensor: Tensor = made[0] if isinstance(made, tuple) else made
    return tensor


def psnr(made: Tensor, truth: Tensor, peak: float) -> float:
    """Return dB, 99 at most."""
    error = (made.double() - truth.double()).square().mean().item()
    return min(99.0, 10 * float(np.log10(peak**2 / max(error, 1e-30))))


def milliseconds(run: Run, plan: Plan) -> float:
    """Return the median of a call, waited for."""
    for _ in range(3):
        run()
    taken = []
    for _ in range(plan.turns):
        wait(plan)
        begun = time.perf_counter()
        run()
        wait(plan)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def wait(plan: Plan) -> None:
    """Wait for the device."""
    if plan.device == "cuda":
        torch.cuda.synchronize()


def recorded(network: nn.Module, feeds: tuple[Tensor, ...]) -> Run:
    """Return a run of the network as one recorded CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(*feeds)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = network(*feeds)

    def run() -> Any:
        graph.replay()
        return made

    return run


def gathered(network: nn.Module, feeds: tuple[Tensor, ...]) -> nn.Module:
    """Return the network with banks of features, of which each row takes one by its index."""

    class FromBanks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.banks = network, feeds[1:]

        def forward(self, mel: Tensor, rows: Tensor) -> Any:
            return self.network(mel, *(bank.index_select(0, rows) for bank in self.banks))

    return FromBanks()


def half(case: Case) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the network and its feeds in fp16."""
    network = copy.deepcopy(case.network).half()
    return network, tuple(one.half() for one in case.feeds)


def torch_runs(case: Case, rows: int, plan: Plan) -> Iterator[tuple[str, Callable[[], Run]]]:
    """Yield what torch can be told to do with a batch: its name, and what makes it."""
    full = tuple(one[:rows] for one in case.feeds)
    yield "torch fp32", lambda: lambda: case.network(*full)
    if plan.device != "cuda":  # a trial: processors take seconds for what a GPU does in fp16
        return
    small, halved = half(case)
    few = tuple(one[:rows] for one in halved)
    yield "torch fp16", lambda: lambda: small(*few)
    yield "torch.compile fp16", lambda: compiled(small, few)
    yield "torch fp16, CUDA graph", lambda: recorded(small, few)
    if len(few) > 1:
        order = torch.arange(rows, device=plan.device)
        banked = gathered(small, halved)
        yield "torch fp16, CUDA graph, banks", lambda: recorded(banked, (few[0], order))


def compiled(network: nn.Module, feeds: tuple[Tensor, ...]) -> Run:
    """Return a run of the compiled network."""
    made: Any = torch.compile(network)
    return lambda: made(*feeds)


def measure_torch(plan: Plan, result: Result) -> None:
    """Parity and times of everything that needs nothing but torch."""
    result.missing["torch int8"] = "torch convolves no int8 on a GPU: lipstream's runtimes do"
    for case in cases(plan):
        for rows in plan.batches:
            for name, make in torch_runs(case, rows, plan):
                label = f"{case.name}: {name}"
                if time.monotonic() > plan.ends_at:
                    result.missing[f"{label}, batch {rows}"] = "out of time"
                    continue
                try:
                    with torch.no_grad():
                        run = make()
                        got = psnr(first(run()), case.truth[:rows], case.peak)
                        taken = milliseconds(run, plan)
                except Exception as error:  # noqa: BLE001  whatever a compiler raises is told
                    result.missing[f"{label}, batch {rows}"] = one_line(error)
                    continue
                result.add(label, f"dB against fp32, batch {rows}", got)
                result.add(label, f"ms a frame, batch {rows}", taken / rows)
                result.add(label, f"sessions, batch {rows}", 1000 * rows / taken / FPS)


RUNTIMES = [
    *(("cuda", one) for one in ("fp32", "fp16")),
    *(("tensorrt", one) for one in ("fp32", "fp16", "int8")),
    *(("tensorrt_rtx", one) for one in ("fp32", "fp16", "int8")),
]
ON_CPU = [("cpu", "fp32")]


def measure_runtimes(plan: Plan, result: Result) -> None:
    """Parity and times of lipstream's own backends, through banks, and of sessions."""
    needed = ("onnx", *LEAST_PACKAGES)
    absent = [one for one in needed if importlib.util.find_spec(one) is None]
    if absent:
        result.missing["lipstream's runtimes"] = f"not installed: {', '.join(absent)}"
        return
    if time.monotonic() > plan.ends_at:
        result.missing["lipstream's runtimes"] = "out of time"
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "wav2lip"
        export(folder, plan, result)
        case = cases(plan)[0]
        for backend, precision in RUNTIMES if plan.device == "cuda" else ON_CPU:
            label = f"Wav2Lip 96: lipstream {backend} {precision}"
            if time.monotonic() > plan.ends_at:
                result.missing[label] = "out of time"
                continue
            try:
                measure_backend(folder, (backend, precision), (case, plan), result)
            except Exception as error:  # noqa: BLE001  the others are still measured
                result.missing[label] = one_line(error)


def export(folder: Path, plan: Plan, result: Result) -> None:
    """Write the model folder: fp32, and what of fp16 and int8 there is time for."""
    from lipstream_export.model_folder import ExportOptions, export_mouth  # noqa: PLC0415
    from lipstream_export.precisions import Samples  # noqa: PLC0415
    from lipstream_models.networks.loading import LoadedMouth, seed_weights  # noqa: PLC0415
    from lipstream_models.networks.wav2lip import Wav2Lip  # noqa: PLC0415

    network = seed_weights(Wav2Lip())
    random = np.random.default_rng(6)
    crops = random.integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    samples = Samples(crops, random.uniform(-4, 4, (6, 1, 80, 16)).astype(np.float32), "noise")
    precisions = ("fp16", "int8") if plan.device == "cuda" else ()
    begun = time.monotonic()
    loaded = LoadedMouth(network, "wav2lip", "seeded", "none", "tools/measure_gpu.py")
    export_mouth(loaded, folder, ExportOptions(precisions=precisions, samples=samples))
    result.add("export", "s", time.monotonic() - begun)


def measure_backend(
    folder: Path, how: tuple[str, str], wanted: tuple[Case, Plan], result: Result
) -> None:
    """Open one backend, and measure its batches and sessions."""
    from lipstream import MouthModel  # noqa: PLC0415
    from lipstream.inference.backends import BankRow  # noqa: PLC0415

    (backend, precision), (case, plan) = how, wanted
    label = f"Wav2Lip 96: lipstream {backend} {precision}"
    begun = time.monotonic()
    with MouthModel.open(folder, backend=backend, precision=precision) as model:
        result.add(label, "s to open", time.monotonic() - begun)
        arrays = [one.float().cpu().numpy() for one in case.feeds]
        features = dict(zip(model.manifest.features, arrays[1:], strict=True))
        bank = model.open_bank(features, len(arrays[0]))
        for rows in plan.batches:
            mels = [arrays[0][k : k + 1] for k in range(rows)]
            run = functools.partial(model.paint_rows, mels, [BankRow(bank, k) for k in range(rows)])
            made = torch.from_numpy(run().copy())
            truth = case.truth[:rows].cpu()
            result.add(label, f"dB against fp32, batch {rows}", psnr(made, truth, case.peak))
            taken = milliseconds(run, plan)
            result.add(label, f"ms a frame, batch {rows}", taken / rows)
            result.add(label, f"sessions, batch {rows}", 1000 * rows / taken / FPS)
        if model.pastes and time.monotonic() < plan.ends_at:
            measure_paste(model, label, plan, result)
    for count in plan.sessions:
        measure_sessions((folder, how), count, plan, result)


def measure_paste(model: Any, label: str, plan: Plan, result: Result) -> None:
    """Paste on the card: time of a frame, and how far it is from what the processor pastes."""
    from lipstream import Avatar  # noqa: PLC0415
    from lipstream.inference.backends import BankRow  # noqa: PLC0415
    from lipstream.live.compositor import Target, pixel_compositor, planes_of  # noqa: PLC0415
    from lipstream.live.frame_source import PreparedAvatar  # noqa: PLC0415
    from lipstream.types import Still  # noqa: PLC0415

    prepared = PreparedAvatar.prepare(Avatar.open(), model, paste_on_gpu=True)
    if not prepared.on_gpu:
        result.missing[f"{label}, pasting"] = "the pictures of the avatar are too large for it"
        return
    sound = np.random.default_rng(8).uniform(-4, 4, (max(plan.batches), 1, 80, 16))
    mels = [one[None] for one in sound.astype(np.float32)]
    bank, count = prepared.bank, len(prepared.targets)
    for rows in plan.batches:
        banked = [BankRow(bank, k % count) for k in range(rows)]
        run = functools.partial(model.paste_rows, mels[:rows], banked, [1.0] * rows)
        result.add(label, f"ms a frame pasted, batch {rows}", milliseconds(run, plan) / rows)
    target, row = prepared.targets[0], [BankRow(bank, 0)]
    assert isinstance(target, Target)
    mouth = model.paint_rows(mels[:1], row)[0].copy()
    wanted = planes_of(Still(pixel_compositor(model).paste(target, mouth))).y[target.patch_box]
    made = model.paste_rows(mels[:1], row, [1.0])[0].y
    off = float(np.abs(made.astype(int) - wanted).max())
    result.add(label, "levels of luma from what the processor pastes, at most", off)


def measure_sessions(
    opened: tuple[Path, tuple[str, str]], count: int, plan: Plan, result: Result
) -> None:
    """Feed sessions three seconds at once: how many get their pictures, pasted, in time."""
    from lipstream import Avatar, MouthModel, Worker  # noqa: PLC0415

    folder, (backend, precision) = opened
    label = f"Wav2Lip 96: lipstream {backend} {precision}"
    model = MouthModel.open(folder, backend=backend, precision=precision)
    seconds, lock, done, made = 3, threading.Lock(), threading.Event(), [0]
    sound = np.random.default_rng(7).normal(0, 3000, 16_000 * seconds).astype(np.int16)

    def take(_frame: Any) -> None:
        with lock:
            made[0] += 1
            if made[0] == count * FPS * seconds:
                done.set()

    with Worker(model, capacity=count) as worker:
        avatar = Avatar.open()
        sessions = [worker.open_session(avatar, rate=16_000, on_frame=take) for _ in range(count)]
        begun, begun_at = time.perf_counter(), time.monotonic()
        for session in sessions:
            session.feed(sound)
            session.flush()
        if not done.wait(min(300.0, max(1.0, plan.ends_at - begun_at))):
            result.missing[f"{label}, {count} sessions"] = f"{made[0]} pictures, then out of time"
            return
        spent = time.perf_counter() - begun
    result.add(label, f"sessions pasted, {count} fed", count * seconds / spent)


def measure_encoding(plan: Plan, result: Result) -> None:
    """Pictures of 512 x 512 a second of one encoder on the processor, and of NVENC."""
    if importlib.util.find_spec("av") is None:
        result.missing["encoding"] = "PyAV is not installed"
        return
    import av  # noqa: PLC0415  optional

    random = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = np.ascontiguousarray(random.repeat(8, 0).repeat(8, 1))
    for name in ("libvpx", "libx264", "h264_nvenc"):
        try:
            encoder: Any = av.CodecContext.create(name, "w")
            encoder.width = encoder.height = 512
            encoder.pix_fmt, encoder.thread_count = "yuv420p", 1
            encoder.framerate, encoder.time_base = Fraction(FPS), Fraction(1, FPS)
            encoder.options = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}}.get(name, {})
            count, begun = 2 * plan.turns, time.perf_counter()
            for at in range(count):
                frame: Any = av.VideoFrame.from_ndarray(np.roll(picture, at, 1), "bgr24")
                frame = frame.reformat(format="yuv420p")
                frame.pts = at
                encoder.encode(frame)
            spent = time.perf_counter() - begun
        except Exception as error:  # noqa: BLE001  an encoder that is not there says so here
            result.missing[f"encoding with {name}"] = one_line(error)
            continue
        result.add(f"encoding, {name}", "sessions, one thread", count / spent / FPS)


def one_line(error: BaseException) -> str:
    """Return an error for the list of what is missing."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def about(plan: Plan) -> dict[str, str]:
    """Return what the figures depend on."""
    told = {
        "device": torch.cuda.get_device_name(0) if plan.device == "cuda" else "the processor",
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "weights": "seeded random",
    }
    if plan.device != "cuda":
        told["note"] = "a trial of the script: nothing here was measured on a GPU"
    return told


def draw(figures: dict[str, dict[str, float]], heading: str) -> str:
    """Return bars of ms a frame as SVG."""
    bars = [
        (f"{name}, {figure.rpartition(', ')[2]}", value)
        for name, measured in figures.items()
        for figure, value in measured.items()
        if figure.startswith("ms a frame")
    ]
    longest = max((value for _, value in bars), default=1.0)
    height = 40 + 18 * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="20" font-size="14">ms a frame, {escape(heading)}</text>',
    ]
    for at, (name, value) in enumerate(bars):
        y = 34 + 18 * at
        wide = 420 * value / longest
        lines.append(f'<text x="10" y="{y + 11}">{escape(name)}</text>')
        lines.append(f'<rect x="400" y="{y}" width="{wide:.1f}" height="13" fill="#2a6f97"/>')
        lines.append(f'<text x="{405 + wide:.1f}" y="{y + 11}">{value:.3g}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--sessions", default="8,32,128", help="fed at once; empty for none")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing is begun")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Measure, print, and write gpu.json and gpu.svg."""
    given = read_arguments(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device: run this on a machine with one", file=sys.stderr)
        return 1
    make_importable()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    plan = Plan(
        given.device,
        tuple(int(one) for one in given.batches.split(",")),
        given.turns,
        time.monotonic() + 60 * given.minutes,
        tuple(int(one) for one in given.sessions.split(",") if one),
    )
    result = Result()
    measure_torch(plan, result)
    measure_runtimes(plan, result)
    measure_encoding(plan, result)
    told = about(plan)
    report = {"about": told, "figures": result.figures, "missing": result.missing}
    print(json.dumps(report, indent=2))
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "gpu.json", json.dumps(report, indent=2) + "\n")
    write(given.out / "gpu.svg", draw(result.figures, f"{told['device']}, torch {told['torch']}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
