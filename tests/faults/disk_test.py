"""Disks that are full, read-only or gone."""

import shutil

import pytest
import victim

pytestmark = pytest.mark.faults

# A namespace in which users may mount, if the system allows it. The mounts end
# with it.
ALONE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
NO_MOUNT = 99
# $0 is the folder, $1 the size, then a folder for a copy of the content, then
# the command.
FULL = f"""
mount -t tmpfs -o size="$1" none "$0" || exit {NO_MOUNT}
copy="$2"; shift 2
"$@"; status=$?
cp -a "$0" "$copy"
exit $status
"""
# $0 is the folder.
READ_ONLY = f"""
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit {NO_MOUNT}
exec "$@"
"""


def _end(started: victim.Victim) -> victim.Ended:
  ended = started.end()
  if ended.status == NO_MOUNT or "unshare: " in ended.log:
    pytest.skip(f"nothing can be mounted here: {ended.log.strip()}")
  return ended


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_full(share, undisturbed, account, place, tmp_path):
  """With a share of the space that an undisturbed run uses."""
  outcome = account("a full disk")
  rooms = undisturbed.shared / "room"
  need = sum(path.lstat().st_blocks * 512 for path in rooms.rglob("*"))
  copy = tmp_path / "copy"
  script = (*ALONE, FULL, place.room, f"{int(share * need)}", copy)
  ended = _end(victim.Victim(place, inside=script))
  outcome.refuses(ended, 1, "[Nn]o space left|disk is full")
  # Moved to a larger disk.
  outcome.resumes(place._replace(room=copy))


@pytest.mark.parametrize("run", ["new", "cut", "finished"])
def test_read_only(run, cut, undisturbed, account, place):
  outcome = account("a read-only disk")
  source = {"cut": cut.room, "finished": undisturbed.shared / "room"}
  if run in source:
    shutil.copytree(source[run], place.room)
  else:
    place.room.mkdir()
  before = victim.contents(place.room)
  script = (*ALONE, READ_ONLY, place.room)
  ended = _end(victim.Victim(place, inside=script))
  outcome.refuses(ended, 2, "cannot be written to")
  assert victim.contents(place.room) == before
  outcome.resumes(place)


@pytest.mark.parametrize("what", ["room", "workdir"])
@pytest.mark.parametrize(
  "moment", ["difficulty: needs", "difficulty: .*%", "bandit: +[2-8]"]
)
def test_deleted_under_the_run(what, moment, account, place):
  outcome = account(f"the {what} deleted under the run")
  started = victim.Victim(place)
  started.wait_for(moment)
  started.freeze()
  if getattr(place, what).exists():
    shutil.rmtree(getattr(place, what))
  started.thaw()
  ended = started.end()
  if ended.status:
    outcome.refuses(ended, 1, "No such file|deleted|gone")
  outcome.resumes(place)
