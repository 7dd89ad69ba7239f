"""A run's work, of three tasks with short rows, which are scored in six forwards."""

from sweeps.planning.workload import ScoredSet, Work

WORK = Work(
    steps=10,
    rows_per_step=12,
    tasks=3,
    row_tokens=30,
    answer_tokens=3,
    scored_tokens=5000,
    scored_answer_share=0.2,
    scored_rows=100,
    scored_sets=(ScoredSet(100, 6.0, ((52, 1),)),),
)
