"""A context is opened once; from then on a study is expanded without reading anything."""

import json
from pathlib import Path

import pytest

from portal.storage.strict_yaml import read_yaml
from sweeps.search.run_search import run_search
from sweeps.search.search_file import SearchPlan
from sweeps.study import context as contexts
from sweeps.study.context import StudyContext
from sweeps.study.expand import expand, load_study
from sweeps.study.study_file import StudyFile
from tests.support.studies import TINY

SEARCH = """
search:
  method: lora
  trials: 3
  parallel: 1
  prune: null
  space: {lora.train.lr: [1e-4, 1e-3, 1e-2], lora.adapter.rank: [1, 2]}
"""


def settings_of(path: Path) -> StudyFile:
    return StudyFile.model_validate(read_yaml(path))


def test_a_study_is_expanded_without_its_rows(tmp_path: Path) -> None:
    rows = tmp_path / "sums.jsonl"
    lines = [{"prompt": f"{n} + 1 =", "choices": [f" {n + 1}", f" {n + 2}"], "gold": 0} for n in range(40)]
    rows.write_text("\n".join(map(json.dumps, lines)))
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("[fact_qa, counting]", f"[{rows}]"))
    study, context = load_study(path), StudyContext.open(settings_of(path))
    rows.unlink()

    again = expand(settings_of(path), context)

    assert (again.runs, again.labels, again.tasks) == (study.runs, study.labels, ("sums",))


def test_a_mistake_in_a_name_is_found_before_a_row_is_read(study_path: Path, tmp_path: Path) -> None:
    study_path.write_text(TINY.replace("lora: {", "laro: {").replace("suite: mini", f"suite: {tmp_path}"))

    with pytest.raises(ValueError, match="unknown method 'laro'; did you mean 'lora'"):
        StudyContext.open(settings_of(study_path))


def test_another_studys_context_is_refused(study_path: Path) -> None:
    context = StudyContext.open(settings_of(study_path))
    study_path.write_text(TINY.replace("[fact_qa, counting]", "[fact_qa]"))

    with pytest.raises(AssertionError, match="the context is another study's"):
        expand(settings_of(study_path), context)


@pytest.mark.slow
def test_a_search_reads_its_rows_once_for_all_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[tuple[str, ...]] = []
    examples_hash = contexts.examples_hash

    def counted(suite, tasks):  # type: ignore[no-untyped-def]
        hashed.append(tuple(tasks))
        return examples_hash(suite, tasks)

    monkeypatch.setattr(contexts, "examples_hash", counted)
    path = tmp_path / "search.yaml"
    text = TINY[: TINY.index("  source:")].replace("curve: {sizes: [4]}", "adapter: {rank: 2}")
    path.write_text(text.replace("seeds: [0, 1]", "seeds: [0]") + SEARCH)

    found = run_search(SearchPlan(path), tmp_path / "out", executor="local")

    assert [trial.state for trial in found.trials] == ["complete"] * 3
    assert hashed == [("fact_qa", "counting")]
