"""Names that other tools have for fields of a config."""

from alcurr.experiments.config import schema

_BUDGET = "--config.budget='{} {}'"

# What each name is here, as one writes it on the command line.
SYNONYMS = {
  "--config.optimizer.learning_rate": ("eta", "learning_rate", "lr"),
  "--config.optimizer.name": ("optim", "tx"),
  "--config.optimizer.schedule": (
    "lr_schedule",
    "lr_scheduler",
    "lr_scheduler_type",
    "schedule",
    "scheduler",
  ),
  _BUDGET.format(10, "epochs"): (
    "epoch",
    "epochs",
    "max_epochs",
    "n_epochs",
    "num_epochs",
    "num_train_epochs",
  ),
  _BUDGET.format(2000, "steps"): (
    "iterations",
    "max_duration",
    "max_steps",
    "n_steps",
    "num_steps",
    "num_train_steps",
    "steps",
    "total_steps",
    "train_steps",
  ),
  "--config.batch_size": (
    "batch",
    "bs",
    "per_device_train_batch_size",
    "train_batch_size",
  ),
  "--config.eval_batch_size": ("per_device_eval_batch_size",),
  "--config.trials": ("n_seeds", "num_seeds", "num_trials", "repeats", "seeds"),
  "--config.model.name": (
    "arch",
    "architecture",
    "backbone",
    "model_name",
    "net",
    "network",
  ),
  "--config.data.dir": (
    "data_dir",
    "data_path",
    "data_root",
    "dataset",
    "root",
  ),
  "--config.data.classes": ("classes", "num_classes"),
  "--config.data.image_size": ("image_size", "img_size", "resolution"),
  "--config.data.label_noise": ("label_noise", "noise", "noise_rate"),
  "--config.data.valid_fraction": (
    "val_fraction",
    "valid_fraction",
    "validation_fraction",
    "validation_split",
  ),
  "--config.loss": ("criterion", "loss_fn", "objective"),
  "--config.augment": ("augmentation", "transforms"),
  "--config.checkpoint.steps": ("save_interval", "save_steps"),
  "--config.num_evals": ("eval_interval", "eval_steps", "evals"),
  "--config.tracking": ("logger", "loggers", "report_to", "tracker"),
  "--config.samplers.NAME.name": ("method", "sampler", "strategy"),
  "--workdir": ("log_dir", "logdir", "out", "output_dir", "workdir"),
}
_BY_NAME = {name: field for field, names in SYNONYMS.items() for name in names}


def hint(name: str) -> str:
  """Returns ". Here it is <field>" for another tool's name, else nothing.

  A field's own name is one, too, where --config. is missing.
  """
  name = name.lower().replace("-", "_")
  field = f"--config.{name}" if name in schema.FIELDS else _BY_NAME.get(name)
  return f". Here it is {field}" if field else ""
