"""Specs: what they name, and the code and place of what is wrong in them."""

import pytest
import toy

from alcurr import samplers
from alcurr.core import registry as registry_module
from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.registry import Registry
from alcurr.core.schedules import SCHEDULES
from alcurr.samplers.policies import POLICIES, Policy
from alcurr.types import Bandit, Gain, Pool, Sampler, Schedule


def _pair(*, first: int, second: int = 2, num_steps: int | None = None):
  if first < 0:
    raise ValueError(f"first must not be negative, got {first}")
  return first, second, num_steps


REGISTRY = {"pair": _pair, "nothing": lambda: ()}


@pytest.mark.parametrize(
  ("spec", "expected"),
  [
    ("pair(first=1)", (1, 2, 7)),
    (" pair(first=1, second=-3) ", (1, -3, 7)),
    ({"name": "pair", "first": 4}, (4, 2, 7)),
    ({"name": "pair(second=5)", "first": 4}, (4, 5, 7)),
    ("nothing", ()),
    ("nothing()", ()),
  ],
)
def test_specs_name_factories(spec, expected):
  assert specs.make(spec, REGISTRY, "x", num_steps=7) == expected


@pytest.mark.parametrize(
  ("spec", "code", "place"),
  [
    ("pear(first=1)", "unknown", "x"),
    ("pair(frist=1)", "unknown", "x"),
    ("pair(first=1, num_steps=3)", "unknown", "x"),
    ("pair(first=-1)", "argument", "x"),
    ("pair(first=1.5)", "type", "x.first"),
    ("pair", "missing", "x.first"),
    ("pair(1)", "syntax", "x"),
    ("pair(first=open('/etc/passwd'))", "syntax", "x"),
    ("__import__('os')", "syntax", "x"),
    ("pair(", "syntax", "x"),
    ("", "syntax", "x"),
    ({"first": 1}, "missing", "x.name"),
    (3, "type", "x"),
  ],
)
def test_mistakes_name_the_field(spec, code, place):
  with pytest.raises(UserError) as raised:
    specs.make(spec, REGISTRY, "x", num_steps=7)
  assert (raised.value.code, raised.value.place) == (code, place)
  assert "\n" not in str(raised.value)


def test_an_unknown_name_comes_with_the_nearest():
  with pytest.raises(UserError, match=r"Did you mean pair\?"):
    specs.make("pear", REGISTRY, "x")


def test_a_missing_part_comes_with_the_names_that_there_are():
  spec = "fixed_policy(partition='groups')"
  with pytest.raises(UserError) as raised:
    specs.make(spec, samplers.SAMPLERS, "x", batch_size=8, num_steps=40)
  assert (raised.value.code, raised.value.place) == ("missing", "x.policy")
  assert all(name in raised.value.text for name in POLICIES)


@pytest.fixture
def plug_in(monkeypatch):
  """A sampler as another package writes it, and what its factory was given."""
  given = {}

  def their_sampler(
    *,
    batch_size: int,
    temperature: float | Schedule = 1.0,
    decay: "Schedule" = None,
    learner: Bandit | None = None,
    signal: Gain = None,
    start: Policy = None,
    inner: Sampler = None,
  ) -> Sampler:
    given.update(locals())
    return samplers.uniform(batch_size=batch_size)

  monkeypatch.setitem(samplers.SAMPLERS, "theirs", their_sampler)

  def make(**arguments):
    spec = {"name": "theirs", **arguments}
    toy.make_sampler(spec, "samplers.x", batch_size=8, num_steps=40)
    return given

  return make


def test_arguments_of_a_plug_in_are_read_by_their_annotations(plug_in):
  given = plug_in(
    temperature="linear(value=1.0, end=0.1)",
    decay="0.5",
    learner="softmax(learning_rate=0.3)",
    signal={"name": "influence", "probe_size": 4},
    start="uniform",
    inner="active_bandit(gain='influence(probe_size=2)', warmup=3)",
  )
  # Each gets the run's context: the schedule spans its 40 steps.
  assert float(given["temperature"](20)) == pytest.approx(0.55)
  assert float(given["decay"](9)) == 0.5
  assert float(given["learner"].init(3).learning_rate) == pytest.approx(0.3)
  assert given["signal"].prepare is not None
  assert given["start"](4).tolist() == [[0.25] * 4]
  assert given["inner"].signal.prepare is not None


@pytest.mark.parametrize("number", [0.2, "0.2", " 2e-1"])
def test_a_number_stays_one_where_numbers_are_admitted(plug_in, number):
  assert plug_in(temperature=number)["temperature"] == 0.2
  assert float(plug_in(decay=number)["decay"](0)) == pytest.approx(0.2)


def test_records_and_none_pass(plug_in):
  bandit = samplers.BANDITS["softmax"]()
  assert plug_in(learner=bandit)["learner"] is bandit
  assert plug_in(learner=None)["learner"] is None


@pytest.mark.parametrize(
  ("arguments", "code", "place"),
  [
    ({"temperature": "linaer(value=1.0)"}, "unknown", "temperature"),
    ({"temperature": True}, "type", "temperature"),
    ({"temperature": "linear(value='x')"}, "type", "temperature.value"),
    ({"temperature": "linear(value=-1)"}, "argument", "temperature"),
    ({"decay": None}, "type", "decay"),
    ({"signal": 3}, "type", "signal"),
    ({"signal": ["influence"]}, "type", "signal"),
    ({"inner": "theirs(temperature='lots')"}, "unknown", "inner.temperature"),
  ],
)
def test_a_mistake_in_a_nested_spec_names_its_argument(
  plug_in, arguments, code, place
):
  with pytest.raises(UserError) as raised:
    plug_in(**arguments)
  error = raised.value
  assert (error.code, error.place) == (code, f"samplers.x.{place}")


def test_a_registry_belongs_to_its_record(monkeypatch):
  monkeypatch.setattr(
    registry_module, "_BY_RECORD", list(registry_module._BY_RECORD)
  )
  pools = Registry("pools", {"none": lambda: None}, record=Pool)
  assert registry_module.registry_of(Pool) is pools
  assert registry_module.registry_of(Schedule) is SCHEDULES
  assert registry_module.registry_of(int) is None
