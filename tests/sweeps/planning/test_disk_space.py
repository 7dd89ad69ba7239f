"""What a plan says of disk space is what finished runs have and checkpoints hold."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from portal.cli import main
from portal.mini.tasks import mini_examples
from sweeps.planning.disk_space import checkpoint_bytes, kept_bytes
from sweeps.planning.memory import count_params
from sweeps.planning.plan import plan_study
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.studies import Tables


def test_an_artifact_holds_as_many_numbers_as_counted(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path
) -> None:
    plan = plan_study(tiny_study, tmp_path)
    store = RunStore(unbroken[0])
    for run in tiny_study.runs:
        files = [*(store.run_folder(run.key) / "artifact").rglob("*.safetensors")]
        stored = sum(tensor.numel() for path in files for tensor in load_file(path).values())
        counts = [count_params(run, ref.name) for ref in run.bases]

        assert stored == sum(each.trained + each.held for each in counts)
        size = sum(path.stat().st_size for path in store.run_folder(run.key).rglob("*") if path.is_file())
        assert 4 * stored <= kept_bytes(run, plan.checked.works[run.key]) <= size


def test_a_checkpoint_holds_three_numbers_for_each_that_trains(tiny_study: Study) -> None:
    for run in tiny_study.runs:
        trained = sum(count_params(run, ref.name).trained for ref in run.bases)

        assert checkpoint_bytes([run]) == 3 * 3 * 4 * trained
        assert (trained > 0) == (run.train is not None)
    assert checkpoint_bytes(tiny_study.runs) == sum(checkpoint_bytes([run]) for run in tiny_study.runs)


def test_scored_rows_are_counted_by_evaluation(tiny_study: Study, tmp_path: Path) -> None:
    plan = plan_study(tiny_study, tmp_path)
    rows = sum(
        min(4, len(mini_examples(task, split)))
        for task in tiny_study.tasks
        for split in ("validation", "test")
    )

    scored = {
        run.method: plan.checked.works[run.key].scored_rows for run in tiny_study.runs if run.method != "lora"
    }

    assert scored == {"base": rows, "source": 3 * rows, "portal": 3 * rows}


def test_the_plan_says_what_it_costs(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "plan", str(study_path), "--out", str(tmp_path), "--device", "b200", "--price", "4"]

    assert main(command) == 0
    printed = capsys.readouterr().out

    assert "in the output folder: " in printed
    assert "cost at 4 per device-hour: " in printed
