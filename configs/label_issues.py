"""Wrong labels in files of data: the rows that are probably mislabelled.

  python -m alcurr.main --config=configs/label_issues.py:dir=photos \
    --workdir=runs/labels

Trains on every example and judges the label of each. The result is in
runs/labels: runs/label_trust/suspects.csv, the most suspect first, by path or
by file and line, and report.html with their images. Arguments: `source`, as of
data.source (folder, files, npz, prepared, tfds); `dir`; `passes`; `trials`.
"""

from ml_collections import ConfigDict

from alcurr.experiments.label_issues import SETTINGS
from configs import default


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(text, source="folder", dir="", passes=10, trials=3)
  config = default.get_config()
  config.update_from_flattened_dict(SETTINGS)
  config.data.source = args["source"]
  config.data.dir = args["dir"]
  config.data.classes = "all"
  config.budget = f"{args['passes']} epochs"
  config.trials = args["trials"]
  config.baseline = "label_trust"
  config.samplers = ConfigDict({"label_trust": {"name": "label_trust"}})
  return config
