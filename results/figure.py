"""Draws the README's figure from results/headroom: python results/figure.py."""

import pathlib

import matplotlib.pyplot as plt
import pandas as pd

HERE = pathlib.Path(__file__).parent
CASES = {
  "noise0.0_passes10": "original labels",
  "noise0.3_passes10": "30 % wrong labels",
}
SAMPLERS = {
  "tilt_easy": "fixed: prefers the easy arms",
  "without_hardest_3": "fixed: drops the hardest 3 of 10 arms",
  "bandit": "bandit, paid for the gain on its training batch",
  "bandit_mean": "bandit, paid for the gain on uniform probes",
  "influence": "bandit, paid for influence on held-out drawings",
}


def main() -> None:
  figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), layout="constrained")
  for axis, (case, title) in zip(axes, CASES.items(), strict=True):
    table = pd.read_csv(HERE / "headroom" / case / "summary.csv")
    table = table.set_index("sampler").loc[list(SAMPLERS)[::-1]]
    points = 100 * table[["top1_difference", "top1_low", "top1_high"]]
    middle, low, high = points.to_numpy().T
    axis.errorbar(
      middle,
      range(len(table)),
      xerr=[middle - low, high - middle],
      fmt="o",
      capsize=3,
    )
    axis.axvline(0, color="gray", linewidth=1)
    axis.set(title=title, xlabel="top-1, points over uniform sampling")
    axis.set_yticks(range(len(table)), [SAMPLERS[name] for name in table.index])
    axis.grid(axis="x", alpha=0.3)
  axes[1].tick_params(axis="y", labelleft=False)
  figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
  main()
