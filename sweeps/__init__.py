"""Which runs there are and how they get done; Ray lives here.

The names below are its public API; docs/api.md shows them at work. They are loaded when they are first used:
Ray only where a study runs on it.
"""

from typing import TYPE_CHECKING

from portal.lazy import lazy_attributes

if TYPE_CHECKING:
    from sweeps.launch.driver import LaunchResult, run_study
    from sweeps.launch.single_run import SingleRun, TrainRequest, finish_run, port_run, source_run, teach_run
    from sweeps.planning.devices import Device, find_device
    from sweeps.planning.plan import Plan, plan_study
    from sweeps.results.live import read_status
    from sweeps.results.run_artifacts import final_scores
    from sweeps.results.snapshot import collect_snapshot
    from sweeps.search.run_search import SearchPlan, SearchResult, run_search
    from sweeps.sinks.alerts import Alerts
    from sweeps.store.run_store import RunFailure, RunStore
    from sweeps.store.study_status import StudyStatus
    from sweeps.study.expand import Study, load_study

__all__ = [
    "Alerts",
    "Device",
    "LaunchResult",
    "Plan",
    "RunFailure",
    "RunStore",
    "SearchPlan",
    "SearchResult",
    "SingleRun",
    "Study",
    "StudyStatus",
    "TrainRequest",
    "collect_snapshot",
    "find_device",
    "final_scores",
    "finish_run",
    "load_study",
    "plan_study",
    "port_run",
    "read_status",
    "run_search",
    "run_study",
    "source_run",
    "teach_run",
]
if not TYPE_CHECKING:  # else every misspelt name would pass a type checker
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "sweeps.launch.driver": "LaunchResult run_study",
            "sweeps.launch.single_run": "SingleRun TrainRequest finish_run port_run source_run teach_run",
            "sweeps.planning.devices": "Device find_device",
            "sweeps.planning.plan": "Plan plan_study",
            "sweeps.results.live": "read_status",
            "sweeps.results.run_artifacts": "final_scores",
            "sweeps.results.snapshot": "collect_snapshot",
            "sweeps.search.run_search": "SearchPlan SearchResult run_search",
            "sweeps.sinks.alerts": "Alerts",
            "sweeps.store.run_store": "RunFailure RunStore",
            "sweeps.store.study_status": "StudyStatus",
            "sweeps.study.expand": "Study load_study",
        },
    )
