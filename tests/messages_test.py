"""The sentences of the errors that users meet most.

All other tests of errors assert the code and the place.
"""

import bad_input
import bad_input_test
import pytest

MESSAGES = {
  "--config.trails=3": "--config.trails: no such field. Did you mean "
  "--config.trials?",
  "--config.trials=three": "--config.trials: expected a whole number, got "
  "'three'",
  "--config.trials=0": "trials: expected at least 1, got 0",
  "--config.baseline=unifrom": "baseline: no 'unifrom'. Known: bandit, "
  "label_trust, uniform. Did you mean uniform?",
  "--config.optimizer.name=adma": "optimizer.name: no 'adma'. Known: adam, "
  "adamw, lamb, lion, rmsprop, sgd. Did you mean adam?",
  "--config.optimizer.learning_rate=0": "optimizer.learning_rate: expected a "
  "positive, finite number, got 0.0",
  "--config.samplers.bandit.epsilon=2": "samplers.bandit: active_bandit: "
  "epsilon must be in [0, 1], got 2.0",
  "--config.samplers.bandit.bandit=softmax(lerning_rate=1)": "samplers.bandit."
  "bandit: softmax takes no 'lerning_rate'. Known: learning_rate. Did you mean "
  "learning_rate?",
  "--config.samplers.bandit.reward=rank(window=1.5)": "samplers.bandit.reward."
  "window: expected a whole number or None, got 1.5",
  "--config.samplers.bandit.reward=open('/etc/passwd')": "samplers.bandit."
  "reward: expected a name or a call such as rank(window=500), got "
  "\"open('/etc/passwd')\"",
  "--config.samplers.bandit.partition=dificulty": "samplers.bandit.partition: "
  "no 'dificulty'. Known: clusters, difficulty, difficulty_in_pool, groups, "
  "label, label_difficulty, planted, shuffled. Did you mean difficulty?",
  "--config.budget=fast": "budget: expected epochs, examples or steps such as "
  '"1 epoch" or "2000 steps", got \'fast\'',
  "--config.budget=3 examples": "budget: expected 1 to 2147483647 batches of "
  "32, got '3 examples'",
  "--config.train_on=train_and_probe": "train_on: 'train_and_probe' needs a "
  "probe split, data.probe_fraction above 0 or data.probe_dir",
  "--config.difficulty.seed=1": "difficulty.seed: 1 is the seed of a trial too",
  "--config.augment=afine": "augment: no 'afine'. Known: affine, none. Did you "
  "mean affine?",
}
FILES = {
  "--config=configs/quikstart.py": "--config=configs/quikstart.py: no such "
  "file. Did you mean configs/quickstart.py?",
  "--config=": "--config: expected a name of `alcurr list configs`, such as "
  "quickstart, or a Python file with get_config()",
  "a config that raises": "--config=DIR/x.py, line 2: ZeroDivisionError: "
  "division by zero",
  "a `config.json` that is a list": "DIR/run/config.json: expected a config; "
  "choose another --workdir",
  "an experiment of another seed": "--workdir: DIR/run holds an experiment of "
  "another config (seed is 5 there, 0 here)",
}


@pytest.mark.parametrize(("given", "message"), {**MESSAGES, **FILES}.items())
def test_a_message_is_this(given, message, tmp_path, monkeypatch, capfd):
  (case,) = (c for c in bad_input.CASES if c.given.strip("`") == given)
  case.make(tmp_path)
  bad_input_test.run(case, tmp_path, monkeypatch)
  lines = capfd.readouterr().err.strip().splitlines()
  printed = [line for line in lines if line.startswith("alcurr: ")]
  assert printed == [f"alcurr: {message}".replace("DIR", str(tmp_path))]
