"""Every run of a planned study, one by one: what it is, and whether it is done."""

from typing import Any

from sweeps.planning.plan import Plan

RUN_HEADERS = ("label", "base", "size", "seed", "state", "key")


def run_records(plan: Plan) -> list[dict[str, Any]]:
    """One record per run, in the study's order: label, method, bases, size, seed, state and key.

    `size` is the most training rows per task; null for all rows, and for a run that trains on none.
    `calibrated` are the tasks that the run trains on; null where that is all of them.
    """
    status = plan.status
    ended = {*status.done, *status.failed_for_good}
    states = {key: state for key, state in status.states.items() if key in ended}
    return [
        {
            "run": None if plan.study.suite.is_outline else run.key,
            "label": plan.study.labels[run.key],
            "method": run.method,
            "bases": [ref.name for ref in run.bases],
            "size": None if run.train is None else run.data.size,
            "seed": run.seed,
            "calibrated": run.data.calibrated,
            "state": states.get(run.key, "missing"),
        }
        for run in plan.study.runs
    ]


def run_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Lines for a table with RUN_HEADERS."""
    return [
        (
            record["label"],
            "+".join(record["bases"]),
            "-" if record["size"] is None else str(record["size"]),
            "-" if record["seed"] is None else str(record["seed"]),
            record["state"],
            record["run"] or "-",
        )
        for record in run_records(plan)
    ]
