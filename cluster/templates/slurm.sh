#!/bin/bash
# A study on $nodes Slurm nodes of $gpus GPUs: sbatch this file. Five minutes before the time limit, or when the job is
# preempted, the driver stops, and the job goes back into the queue; the study continues from its run folders.
#SBATCH --job-name=portal-$job
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=$gpus
#SBATCH --cpus-per-task=$cpus
#SBATCH --exclusive
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=portal-$job-%j.log
set -euo pipefail

out=$out
case "$${out}" in *://*) ;; *) mkdir -p "$${out}" ;; esac # an object store has no folders to make
${data_export}export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$${HOME}/.ray-token-$${SLURM_JOB_ID}" # a home that all nodes share
trap 'rm -f "$${RAY_AUTH_TOKEN_PATH}"' EXIT
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$${RAY_AUTH_TOKEN_PATH}")

head=$$(scontrol show hostnames "$${SLURM_JOB_NODELIST}" | head -n 1)
port=$$((20000 + SLURM_JOB_ID % 20000)) # jobs that share a node do not meet
address="$${head}:$${port}"
temporary="/tmp/ray-$${SLURM_JOB_ID}"
export SRUN_CPUS_PER_TASK="$cpus" # srun does not take it from the job, and may bind Ray to one core
srun --nodes=1 --ntasks=1 --nodelist="$${head}" --overlap \
  ray start --head --node-ip-address="$${head}" --port="$${port}" --temp-dir="$${temporary}" --block &
ray_head=$$!
give_up=$$((SECONDS + 300))
until ray health-check --address "$${address}" > /dev/null 2>&1; do
  if ! kill -0 "$${ray_head}" 2> /dev/null || [ "$${SECONDS}" -ge "$${give_up}" ]; then
    echo "portal: Ray's head did not start on $${head}" >&2
    exit 1
  fi
  sleep 2
done
if [ "$${SLURM_JOB_NUM_NODES}" -gt 1 ]; then
  srun --nodes=$$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$$((SLURM_JOB_NUM_NODES - 1)) --exclude="$${head}" --overlap \
    ray start --address="$${address}" --block &
fi
portal cluster wait --address "$${address}" --nodes "$${SLURM_JOB_NUM_NODES}" --timeout 600

RAY_ADDRESS="$${address}" portal sweep run $study --out "$${out}" --gpus $all_gpus --wait &
driver=$$!
requeue=no
trap 'requeue=yes; kill -TERM "$${driver}"' USR1
code=0
wait "$${driver}" || code=$$?
if [ "$${requeue}" = yes ]; then
  wait "$${driver}" || true # the first wait ended with the signal
  rm -f "$${RAY_AUTH_TOKEN_PATH}" # requeueing may end this script before its trap
  scontrol requeue "$${SLURM_JOB_ID}"
  exit 0
fi
exit "$${code}"
