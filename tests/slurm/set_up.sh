#!/usr/bin/env bash
# Sets up Slurm on this machine, for `pytest -m slurm`: Debian's packages, the
# controller and a node of 2 CPUs on localhost, without accounting. Run it as
# root, in a container or on a machine that has no other Slurm.
set -euo pipefail
if ! command -v sbatch >/dev/null; then
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install -y slurm-wlm munge
fi
if [ -e /etc/slurm/slurm.conf ] && ! grep -q '^ClusterName=alcurr' /etc/slurm/slurm.conf; then
  echo "/etc/slurm/slurm.conf is of another cluster" >&2
  exit 1
fi
state=/var/lib/alcurr-slurm
mkdir -p "$state/ctld" "$state/d" /etc/slurm
cat >/etc/slurm/slurm.conf <<END
ClusterName=alcurr
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
# Processes are found by /proc: a container may have no cgroups to write to.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MinJobAge=86400
SchedulerParameters=sched_interval=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
mkdir -p /run/munge
chown munge:munge /run/munge
pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd
for _ in $(seq 60); do
  sinfo --noheader --format=%T 2>/dev/null | grep -q '^idle\|^mixed' && exit 0
  sleep 1
done
echo "Slurm did not start: see $state/*.log" >&2
exit 1
