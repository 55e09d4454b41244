"""Steps to an accuracy at three batches, beside what the gradient noise scale says of them.

Small patches of the demo's scenes, two ranks, Adam at a constant rate. Each batch has its own best
rate of a grid, by the median steps of three seeds: a rate that suits one batch does not suit
others, and the theory (McCandlish et al., arXiv 1812.06162) is of the best. From the noise scale of
the runs at the middle batch, and their steps, follow the steps at the others. Steps are counted,
nothing is timed. Between two validations the accuracy is taken to change evenly.
"""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import bench
from scaling.laws import noise_scale

SCENES, PATCH, STRIDE = 24, 32, 128
TARGET = 0.91
SEEDS = (0, 1, 2)
BASE = 16
"""the batch whose runs say what the others will need"""
GRIDS = {
    4: (1e-3, 2e-3, 4e-3, 8e-3),
    16: (1e-3, 2e-3, 4e-3, 8e-3),
    64: (2e-3, 4e-3, 8e-3, 1.6e-2),
}
"""learning rates of each global batch"""
EPOCHS = {4: 12, 16: 24, 64: 48}
"""after which a run gives up"""
RANKS = 2
OPTIONS = (
    *("--widths", 8, 16, 32, "--precision", "float32", "--no-augment", "--lr-decay", "none"),
    *("--noise-scale", "--target-accuracy", TARGET, "--stop-at-target"),
    *("--no-tensorboard", "--no-verify"),
)
PICTURE = bench.ROOT / "docs" / "pictures" / "noise-scale.png"


@dataclass(frozen=True)
class Run:
    """One training."""

    batch: int
    rate: float
    seed: int
    steps: float | None
    """to the target; None where it gave up"""
    epochs: int
    noise: dict[str, Any]
    """noise_scale of its summary"""


def main() -> None:
    data = patches()
    runs = [
        train(data, batch, rate, seed)
        for batch, rates in GRIDS.items()
        for rate in rates
        for seed in SEEDS
    ]
    figures = compare(runs)
    for line in figures["lines"]:
        print(line)
    bench.keep(
        "noise_scale",
        target_accuracy=TARGET,
        ranks=RANKS,
        options=[str(word) for word in OPTIONS],
        **{name: value for name, value in figures.items() if name != "lines"},
        runs=[asdict(run) for run in runs],
    )
    draw(figures, PICTURE)  # at last: the record names the commit, with a + if files have changed


def patches() -> Path:
    """480 training patches from all over the demo's scenes, and 240 to validate."""
    scenes, out = bench.WORK / "noise-scenes", bench.WORK / "noise-patches"
    size = ("--height", 600, "--width", 750)
    bench.run([*bench.CLOUDMASK, "synth", "--out", scenes, "--scenes", SCENES, *size])
    cut = ("--patch-size", PATCH, "--stride", STRIDE, "--split", "train=0.7,valid=0.3")
    bench.run([*bench.CLOUDMASK, "prepare", scenes, "--out", out, *cut])
    return out


def train(data: Path, batch: int, rate: float, seed: int) -> Run:
    out = bench.WORK / "noise-run"
    shutil.rmtree(out, ignore_errors=True)
    words = ["--data", data, "--out", out, "--seed", seed, "--global-batch", batch, "--lr", rate]
    words += ["--epochs", EPOCHS[batch], *OPTIONS]
    bench.run([bench.MPIRUN, "-n", RANKS, *bench.TRAIN, *words])
    found = bench.summary(out)
    steps = steps_to_target(found["history"], TARGET)
    run = Run(batch, rate, seed, steps, found["epochs_run"], found["noise_scale"])
    scale = run.noise["b_noise"]
    print(
        f"  batch {batch}, rate {rate:g}, seed {seed}: {_text(steps)} steps, noise {_text(scale)}"
    )
    return run


def steps_to_target(history: list[dict[str, Any]], target: float) -> float | None:
    """Where the line between the validations before and after reaches it; None if none does."""
    before, step_before = None, 0
    for record in history:
        accuracy, step = record["valid"]["accuracy"], record["step"]
        if accuracy >= target:
            if before is None:
                return float(step)
            return step_before + (step - step_before) * (target - before) / (accuracy - before)
        before, step_before = accuracy, step
    return None


def compare(runs: list[Run]) -> dict[str, Any]:
    """Of each batch: its best rate, the steps measured there, and those predicted from BASE."""
    best = {batch: best_rate([run for run in runs if run.batch == batch]) for batch in GRIDS}
    chosen = {
        batch: [run for run in runs if run.batch == batch and run.rate == rate]
        for batch, rate in best.items()
    }
    measured = {batch: [run.steps for run in found] for batch, found in chosen.items()}
    scales = {batch: [run.noise["b_noise"] for run in found] for batch, found in chosen.items()}
    predicted = {
        batch: [
            run.steps * noise_scale.steps_ratio(run.noise["b_noise"], batch, BASE)
            for run in chosen[BASE]
            if run.steps is not None and run.noise["b_noise"] is not None
        ]
        for batch in GRIDS
    }
    rows: list[dict[str, Any]] = []
    for batch in GRIDS:
        steps = [value if value is not None else math.inf for value in measured[batch]]
        rows.append(
            {
                "batch": batch,
                "rate": best[batch],
                "at_edge_of_grid": best[batch] in (GRIDS[batch][0], GRIDS[batch][-1]),
                "steps": measured[batch],
                "median_steps": _finite(statistics.median(steps)),
                "predicted_steps": predicted[batch],
                "median_predicted": statistics.median(predicted[batch]),
                "noise_scales": scales[batch],
            }
        )
    whole = [run for found in chosen.values() for run in found]
    fitted = fit([(run.batch, run.steps) for run in whole if run.steps is not None])
    lines = [
        f"batch {row['batch']} at rate {row['rate']:g}: {_text(row['median_steps'])} steps "
        f"({', '.join(map(_text, row['steps']))}), predicted {_text(row['median_predicted'])} "
        f"({', '.join(map(_text, row['predicted_steps']))}); "
        f"noise scale {', '.join(map(_text, row['noise_scales']))}"
        for row in rows
    ]
    lines.append(f"critical batch that the measured steps follow: {fitted}")
    return {
        "base": BASE,
        "rows": rows,
        "fitted_critical_batch": asdict(fitted),
        "lines": lines,
    }


@dataclass(frozen=True)
class Fitted:
    """steps = least (1 + critical / batch), by least squares of logarithms."""

    least_steps: float
    critical_batch: float
    low: float
    high: float
    """of the critical batch: 95 %, of its logarithm"""


def fit(found: Sequence[tuple[int, float]]) -> Fitted:
    """The critical batch that measured steps follow, whatever the gradients say."""
    import numpy as np
    from scipy import optimize, stats

    batch, steps = np.array(found, float).T

    def law(batch: Any, least: float, critical: float) -> Any:
        return least + np.log1p(np.exp(critical) / batch)

    values, covariance = optimize.curve_fit(law, batch, np.log(steps), p0=(4.0, 3.0))
    reach = stats.t.ppf(0.975, len(steps) - 2) * math.sqrt(covariance[1, 1])
    least, critical = map(float, values)
    bounds = math.exp(critical - reach), math.exp(critical + reach)
    return Fitted(math.exp(least), math.exp(critical), *bounds)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Measured and predicted steps over the batch, and what the fit to the former is."""
    from matplotlib.figure import Figure

    rows, base = figures["rows"], figures["base"]
    batches = [row["batch"] for row in rows]
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, colour, marker, shift in (
        ("steps", "#0072B2", "o", 0.97),
        ("predicted_steps", "#D55E00", "s", 1.03),
    ):
        median = "median_steps" if name == "steps" else "median_predicted"
        line = "-" if name == "steps" else "--"
        label = "measured" if name == "steps" else f"predicted from the noise scale at {base}"
        middle = [row[median] for row in rows]
        axes.plot(batches, middle, line, marker=marker, color=colour, label=label)
        for row in rows:
            seeds = [value for value in row[name] if value is not None]
            axes.plot([row["batch"] * shift] * len(seeds), seeds, ".", color=colour, alpha=0.6)
    middle = next(row["median_steps"] for row in rows if row["batch"] == base)
    perfect = [middle * base / batch for batch in batches]
    axes.plot(batches, perfect, ":", color="#999999", label="if all patches counted alike")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xticks(batches, labels=list(map(str, batches)))
    axes.set_xlabel("global batch, patches")
    axes.set_ylabel(f"steps to an accuracy of {TARGET}")
    axes.set_title("Steps to a target: measured, and by the gradient noise scale", loc="left")
    axes.legend(frameon=False)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def best_rate(runs: list[Run]) -> float:
    """The rate with the least median of steps; a run that gave up counts as endless."""
    steps: dict[float, list[float]] = {}
    for run in runs:
        steps.setdefault(run.rate, []).append(math.inf if run.steps is None else run.steps)
    return min(steps, key=lambda rate: statistics.median(steps[rate]))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f}"
