"""Two processes and one workdir: the second refuses, the first continues."""

import pytest
import victim

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
  "moment", ["difficulty: needs", "difficulty: .*%", "uniform: +[1-9]"]
)
def test_the_second_refuses(moment, account, place):
  outcome = account("two processes on one workdir")
  first = victim.Victim(place)
  first.wait_for(moment)
  first.freeze()
  before = victim.contents(place.room)
  second = victim.run(place)
  assert victim.contents(place.room) == before
  first.thaw()
  outcome.refuses(second, 2, "in use by process")
  ended = first.end()
  ended.expect(0)
  outcome.is_equal(place.workdir)
