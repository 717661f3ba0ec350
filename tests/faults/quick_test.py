"""A few faults, one after the other: what every change is tested with."""

import signal

import victim


def test_killed_damaged_stopped_and_shared(account, place):
  """One experiment's bad day; its end is as if there had been none."""
  workdir = place.workdir
  killed = account("SIGKILL while training")
  started = victim.Victim(place)
  started.wait_for(lambda: len(victim.checkpoints(workdir, "bandit")) > 1)
  started.send(signal.SIGKILL)
  started.end()

  flipped = account("a checkpoint's file, one bit flipped in")
  newest = victim.newest(workdir, "bandit")
  largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size)
  victim.flip(largest)

  stopped = account("SIGTERM while training")
  started = victim.Victim(place)
  started.wait_for(lambda: len(victim.checkpoints(workdir, "uniform")) > 1)
  assert f"{newest} is damaged" in started.log
  started.send(signal.SIGTERM)
  stopped.refuses(started.end(), 143, "same command")

  shared = account("two processes on one workdir")
  first = victim.Victim(place)
  first.wait_for("jax .* on ")
  first.send(signal.SIGSTOP)
  shared.refuses(victim.run(place), 2, "another --workdir")
  first.send(signal.SIGCONT)
  ended = first.end()
  assert ended.status == 0, ended.log
  for harmed in (killed, flipped, stopped, shared):
    harmed.is_whole(workdir)
