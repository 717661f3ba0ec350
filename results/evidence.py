"""Sums up results/evidence: python results/evidence.py.

Writes the table of regimes and methods into docs/evidence.md, and draws the
README's figure.png. Differences to uniform sampling have the 95 % intervals of
summary.csv, by the paired bootstrap over trials and test examples. A star says
that the p-value of a normal distribution with that interval, adjusted for the
methods of the regime (Holm 1979), is below 0.05.
"""

import pathlib

import matplotlib.pyplot as plt
import pandas as pd
from scipy import stats

from alcurr.report.selection import holm

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent / "docs" / "evidence.md"
START, END = "<!-- table -->", "<!-- end of table -->"
REGIMES = {
  "clean": "right labels, ten passes",
  "short": "right labels, four passes",
  "one_pass": "right labels, one pass",
  "one_pass_noise30": "30 % wrong, one pass",
  "noise10": "10 % wrong",
  "noise30": "30 % wrong",
  "pairs": "30 % wrong, by pairs",
  "human": "labels by people (CIFAR-10N)",
  "imbalance": "50 : 1 imbalance",
  "copies": "four copies, a quarter of the budget",
}
METHODS = {
  "label_trust": "`label_trust`",
  "trust_smoothing": "`label_trust`, label smoothing",
  "trust_elr": "`label_trust`, ELR",
  "smoothing": "label smoothing",
  "gce": "GCE",
  "elr": "ELR",
  "logit_adjustment": "logit adjustment",
  "class_balanced": "`class_balanced`",
  "self_paced": "`self_paced`",
  "infobatch": "`infobatch`",
  "selective_backprop": "`selective_backprop`",
  "small_loss": "`small_loss`",
  "oracle": "knows the wrong labels",
}
DRAWN_REGIMES = ("clean", "noise30", "pairs", "human")
DRAWN = (
  *("label_trust", "trust_smoothing", "smoothing"),
  *("gce", "self_paced", "infobatch"),
)


def read(regime: str) -> pd.DataFrame:
  """Returns the methods of a regime, in points of top-1."""
  folder = HERE / "evidence" / regime
  table = pd.read_csv(folder / "summary.csv").set_index("sampler")
  # The oracle is no method.
  names = [name for name in METHODS if name in table.index and name != "oracle"]
  rows = table.loc[names]
  error = (rows["top1_high"] - rows["top1_low"]) / (2 * stats.norm.ppf(0.975))
  p = 2 * stats.norm.sf((rows["top1_difference"].abs() / error).to_numpy())
  columns = ["top1", "top1_difference", "top1_low", "top1_high"]
  points = 100 * table[columns]
  points["flops"] = table["flops"] / table["flops"]["uniform"]
  points["p"] = pd.Series(holm(p), names)
  return points


def cell(points: pd.DataFrame, name: str) -> str:
  if name not in points.index:
    return ""
  row = points.loc[name]
  if name == "uniform":
    return f"{row['top1']:.2f}"
  star = "*" if row["p"] < 0.05 else ""
  interval = f"[{row['top1_low']:+.2f}, {row['top1_high']:+.2f}]"
  return f"{row['top1_difference']:+.2f}{star} {interval}"


def draw(tables: dict[str, pd.DataFrame]) -> None:
  figure, axes = plt.subplots(
    1,
    len(tables),
    figsize=(2.3 * len(tables), 2.4),
    squeeze=False,
    layout="constrained",
  )
  for axis, (regime, points) in zip(axes.flat, tables.items(), strict=True):
    for place, name in enumerate(reversed(DRAWN)):
      row = points.loc[name]
      middle = row["top1_difference"]
      error = [[middle - row["top1_low"]], [row["top1_high"] - middle]]
      color = "C1" if "trust" in name else "C0"
      axis.errorbar(middle, place, xerr=error, fmt="o", color=color, capsize=3)
    axis.axvline(0, color="gray", linewidth=1)
    title = REGIMES[regime].replace(", ", ",\n").replace(" (", "\n(")
    axis.set_title(title, fontsize=9)
    axis.set_yticks([])
    axis.grid(axis="x", alpha=0.3)
  labels = [METHODS[name].replace("`", "") for name in reversed(DRAWN)]
  axes[0, 0].set_yticks(range(len(DRAWN)), labels)
  figure.supxlabel("points of top-1 over uniform sampling", fontsize=9)
  figure.savefig(HERE / "figure.png", dpi=110)


def main() -> None:
  known = [r for r in REGIMES if (HERE / "evidence" / r).exists()]
  tables = {regime: read(regime) for regime in known}
  lines = ["| | " + " | ".join(REGIMES[r] for r in known) + " |"]
  lines.append("|---" * (1 + len(known)) + "|")
  for name, title in {"uniform": "`uniform`, top-1", **METHODS}.items():
    cells = [cell(points, name) for points in tables.values()]
    if any(cells):
      lines.append(f"| {title} | " + " | ".join(cells) + " |")
  before, _, rest = PAGE.read_text().partition(START)
  _, _, after = rest.partition(END)
  table = "\n".join(lines)
  PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{after}")
  draw({r: t for r, t in tables.items() if r in DRAWN_REGIMES})


if __name__ == "__main__":
  main()
