"""Cosines of the tasks' gradients of a core, against finite differences of the losses themselves."""

from dataclasses import replace

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.config import AdapterConfig
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.learners.core_cosines import core_cosines, task_cosines
from tests.support.artifacts import write_artifact
from tests.support.bases import TASKS, make_base, make_rows
from tests.support.packs import refused_forwards
from tests.support.zoo import tiny_base

ADAPTER = AdapterConfig(modules=("q", "v"), rank=1, alpha=3)
EPSILON = 3e-2


@pytest.fixture(scope="module")
def base():
    return make_base("tiny", "qwen3", layers=1)


@pytest.fixture(scope="module")
def artifact(base, tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp("cosines")
    write_artifact(folder, base, ADAPTER)
    return Artifact.load(folder)


@pytest.fixture(scope="module")
def rows(base) -> dict[str, tuple[TokenRow, ...]]:
    table = make_rows(base)
    return {task: tuple(table.rows(task, "train"))[:4] for task in TASKS}


def test_cosines_are_those_of_the_losses_differences(base, artifact, rows):
    names = [name for name in artifact.tensors if name.startswith("core.")]

    def losses() -> torch.Tensor:
        found = []
        for task, own in rows.items():
            with artifact.applied(base, task):
                found.append(summarise(score_rows(base, own)).log_loss)
        return torch.tensor(found, dtype=torch.float64)

    slopes = []
    for name in names:
        values = artifact.tensors[name].view(-1)
        for place in range(len(values)):
            before = values[place].item()
            values[place] = before + EPSILON
            above = losses()
            values[place] = before - EPSILON
            slopes.append((above - losses()) / (2 * EPSILON))
            values[place] = before
    jacobian_TP = torch.stack(slopes, dim=1)
    unit_TP = jacobian_TP / jacobian_TP.norm(dim=1, keepdim=True)

    found_TT = core_cosines(artifact, base, rows)

    assert found_TT.shape == (len(TASKS), len(TASKS))
    torch.testing.assert_close(found_TT.double(), unit_TP @ unit_TP.T, atol=0.02, rtol=0)


def test_forwards_that_run_out_of_memory_are_made_smaller_and_their_number_changes_nothing(
    base, artifact, rows
):
    whole_TT = core_cosines(artifact, base, rows)
    torch.testing.assert_close(core_cosines(artifact, base, rows, max_tokens=1), whole_TT, atol=1e-5, rtol=0)
    longest = max(len(row.gold_ids) for own in rows.values() for row in own)

    with refused_forwards(base, above=2 * longest):
        found_TT = core_cosines(artifact, base, rows)
    torch.testing.assert_close(found_TT, whole_TT, atol=1e-5, rtol=0)

    with refused_forwards(base, above=1), pytest.raises(torch.OutOfMemoryError, match="no room"):
        core_cosines(artifact, base, rows)


def test_a_task_without_a_gradient_has_no_cosines_and_another_base_is_refused(base, artifact, rows):
    tensors = {
        name: torch.zeros_like(value) if name.startswith("alignment.output") else value
        for name, value in artifact.tensors.items()
    }

    assert torch.isnan(core_cosines(replace(artifact, tensors=tensors), base, rows)).all()
    with pytest.raises(ValueError, match="made for base"):
        core_cosines(artifact, make_base("other", "qwen3", hidden=36), rows)


def test_heads_that_a_base_does_not_use_are_left_out_of_the_cosines(tmp_path):
    base = tiny_base("gpt2")
    write_artifact(tmp_path, base, AdapterConfig(modules=("q", "v", "up"), rank=2, alpha=4))
    table = make_rows(base)

    rows = {task: tuple(table.rows(task, "train"))[:3] for task in TASKS}

    cosines = core_cosines(Artifact.load(tmp_path), base, rows)

    torch.testing.assert_close(torch.diagonal(torch.as_tensor(cosines)), torch.ones(len(TASKS)))


def test_cosines_are_those_of_the_gradients_over_all_parameters() -> None:
    rows = ((3.0, 0.0, 4.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0))

    found = task_cosines([(torch.tensor(row[:1]), torch.tensor(row[1:])) for row in rows])

    torch.testing.assert_close(found[0, 1], torch.tensor(0.8))
    assert found[2].isnan().all()
