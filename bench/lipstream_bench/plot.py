"""Reports as pictures."""

from pathlib import Path
from typing import Any

from lipstream.errors import BackendUnavailable, InputError
from lipstream_bench.report import Report

_SUFFIXES = {".png", ".svg", ".pdf"}
_COLOURS = {"p50": "#2a6f97", "p95": "#89c2d9", "p99": "#e9c46a"}


def check_plot(path: Path) -> None:
    """Raise unless a plot can be made under that name: asked before measuring, not after."""
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"cannot plot to {path.name}: end its name in .png, .svg or .pdf")
    _open_matplotlib()


def plot_report(report: Report, path: Path) -> None:
    """Draw the percentiles of every row as bars. Raises InputError when it cannot be written."""
    pyplot = _open_matplotlib()
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.6 * len(report.rows)), layout="constrained")
    labels = _labels(report)
    for offset, (name, colour) in zip((-0.26, 0.0, 0.26), _COLOURS.items(), strict=True):
        places = [k + offset for k in range(len(labels))]
        values = [getattr(row, name) for row in report.rows]
        bars = axes.barh(places, values, height=0.26, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(_axis(report))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    machine = report.machine
    title = f"lipstream bench {report.benchmark}: {report.subject.model}"
    axes.set_title(f"{title}\n{machine.cpu}, {machine.cores} cores", fontsize=10, loc="left")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another") from error
    finally:
        pyplot.close(figure)


def _labels(report: Report) -> list[str]:
    """Say what each row is: where all measure the same, the backend, and how much faster it is."""
    if _same_throughout(report):
        faster = {
            name.partition(": ")[0]: f", {ratio:.1f} times as fast"
            for name, ratio in report.summary.items()
            if ": times faster than " in name
        }
        return [f"{row.backend}{faster.get(row.backend, '')}" for row in report.rows]
    return [f"{row.name} · {row.backend}" for row in report.rows]


def _axis(report: Report) -> str:
    first = report.rows[0]
    return f"{first.name}, {first.unit}" if _same_throughout(report) else first.unit


def _same_throughout(report: Report) -> bool:
    return len({row.name for row in report.rows}) == 1 < len(report.rows)


def _open_matplotlib() -> Any:
    try:
        import matplotlib  # noqa: PLC0415  optional
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "--plot needs the package matplotlib: pip install 'lipstream[plot]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415  optional

    return pyplot
