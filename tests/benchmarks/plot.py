"""Draws `results.json` as one SVG for each benchmark; run by the environment that has a plotting library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt


def draw(path: Path, title: str, unit: str, figures: dict[str, dict[str, Any]]) -> None:
    """Bars of the medians, with the range from turn to turn."""
    names = list(figures)[::-1]
    medians = [figures[name]["median"] for name in names]
    below = [figures[name]["median"] - figures[name]["lowest"] for name in names]
    above = [figures[name]["highest"] - figures[name]["median"] for name in names]
    chart, axes = plt.subplots(figsize=(9, 0.4 * len(names) + 1.2))
    axes.barh(
        names,
        medians,
        xerr=[below, above],
        color=["#3b7dd8" if "coordinator" in n or "worker-stub" in n else "#b5bcc7" for n in names],
    )
    axes.set_xlabel(unit)
    axes.set_title(title)
    chart.tight_layout()
    chart.savefig(path, metadata={"Date": None})
    plt.close(chart)


def main(folder: Path) -> None:
    """Draw all benchmarks that hold figures of contenders."""
    mpl.rcParams["svg.hashsalt"] = "bench"
    results = json.loads((folder / "results.json").read_text())
    for bench in {one["bench"] for one in results}:
        mine = [one for one in results if one["bench"] == bench and one["figures"]]
        figures = {name: figure for one in mine for name, figure in one["figures"].items()}
        if figures:
            draw(folder / f"{bench}.svg", bench, mine[0]["unit"], figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
