"""The files of the unit tier, by path within this folder.

`pytest -m unit` runs them in less than a minute. None of their tests compiles
a program; `conftest.py` fails one that does. Other tiers are markers of single
tests.
"""

UNIT_FILES = (
  "benchmarks/suite_test.py",
  "benchmarks/tables_by_hand_test.py",
  "core/errors_test.py",
  "core/lock_test.py",
  "data/arrays_test.py",
  "data/cache_test.py",
  "data/image_folder_test.py",
  "data/partitions_test.py",
  "data/planted_test.py",
  "data/quickdraw/download_test.py",
  "data/quickdraw/records_test.py",
  "data/strokes_test.py",
  "data/quickdraw/kaggle_test.py",
  "data/quickdraw/synthetic_test.py",
  "experiments/loggers/loggers_test.py",
  "experiments/loggers/pictures_test.py",
  "experiments/loggers/tensorboard_test.py",
  "experiments/preemption_test.py",
  "layout_test.py",
  "report/best_setting_test.py",
  "report/factorial_test.py",
  "report/figures_test.py",
  "report/forged_test.py",
  "report/interactive_test.py",
  "report/paper_test.py",
  "report/regret_test.py",
  "report/tables_test.py",
)
