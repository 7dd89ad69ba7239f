"""What would make a run fail later is refused before anything starts."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from portal.answers import AnswerConfig
from portal.config import BaseRef, Precision, RunConfig
from portal.evaluate.code_sandbox import ALLOWED
from portal.messages import refusal
from sweeps.planning.checks import (
    check_cpus,
    check_libraries,
    check_metrics,
    check_precisions,
    check_sizes,
    check_study,
    expected_device,
    metric_notes,
)
from sweeps.study.expand import load_study
from tests.support.bases import TASKS, make_run
from tests.support.precision import cpu_with


def ref(precision: Precision) -> BaseRef:
    return BaseRef(name="mini-qwen3-s", revision="0", precision=precision)


def test_nodes_that_lack_bf16_are_named_where_a_base_is_in_it() -> None:
    with pytest.raises(ValueError, match="on a CPU, and node-2, node-7 has neither; run it on") as raised:
        check_cpus([ref("default"), ref("bf16")], lambda check: dict.fromkeys(["node-7", "node-2"], "no"))

    assert "\n" not in str(raised.value)
    check_cpus([ref("bf16")], lambda check: {})


def test_nodes_are_not_asked_where_no_base_is_in_bf16() -> None:
    check_cpus([ref("default")], unasked)
    check_cpus([], unasked)


def unasked(check: Callable[[], object]) -> Mapping[str, str]:
    raise AssertionError("nobody needs to know")


def judged_by(metric: str) -> RunConfig:
    return make_run("base", "tiny", data={"answers": {TASKS[0]: AnswerConfig(metric=metric)}})


def test_a_metric_that_a_node_lacks_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)

    def refusing(check: Callable[[], object]) -> Mapping[str, str]:
        return {} if (said := refusal(check)) is None else {"node-7": said, "node-2": said}

    check_metrics([judged_by("token_f1")], refusing)
    check_metrics([], unasked)
    with pytest.raises(
        ValueError, match=r"set PORTAL_RUN_CODE=1 to let it.* \(on node-2, node-7\)$"
    ) as raised:
        check_metrics([judged_by("exact_match"), judged_by("pass_at_1")], refusing)

    assert "\n" not in str(raised.value)


MIXED = """
name: s
suite: ledger
tasks: [home_1, gift_1, visit_1]
seeds: [0]
targets: [ledger-qwen3-xs]
methods: {base: {}}
"""


def test_tasks_of_several_metrics_are_refused_where_the_study_wants_one(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"

    def check(text: str) -> None:
        path.write_text(text)
        check_study(load_study(path))

    check(MIXED)
    check(MIXED.replace(", visit_1", "") + "metrics: one\n")
    with pytest.raises(
        ValueError, match=r"have 2: exact_match \(home_1, ...\), rouge_l \(visit_1\);"
    ) as raised:
        check(MIXED + "metrics: one\n")

    assert "\n" not in str(raised.value)


def test_choices_have_a_metric_of_their_own(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "b", "split": split} for split in ("train", "validation", "test")]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = MIXED.replace("ledger\n", "mini\n").replace(
        "home_1, gift_1, visit_1", f"counting, {tmp_path}/own.jsonl"
    )
    (tmp_path / "s.yaml").write_text(text.replace("ledger-qwen3-xs", "mini-qwen3-xs") + "metrics: one\n")

    with pytest.raises(ValueError, match=r"have 2: acc_norm \(counting\), exact_match \(own\)"):
        check_study(load_study(tmp_path / "s.yaml"))


def test_a_plan_says_what_this_machine_cannot_compute_and_refuses_a_name_that_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    run = judged_by("pass_at_1")

    check_libraries([run])
    (note,) = metric_notes([run, judged_by("exact_match")])
    assert note.endswith("in bubblewrap; every node that takes workers is asked at launch")
    with pytest.raises(ValueError, match="unknown metric 'exact_mach'; did you mean 'exact_match'"):
        check_libraries([judged_by("exact_mach")])


def test_a_plan_for_a_gpu_takes_what_this_cpu_cannot_do() -> None:
    with cpu_with():
        check_precisions([ref("bf16")], "cuda")
        with pytest.raises(ValueError, match="needs AVX512-BF16 or AMX-BF16"):
            check_precisions([ref("bf16")], "cpu")


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_a_second_quantisation_of_published_weights_is_refused_before_they_are_read(
    precision: Precision,
) -> None:
    check_precisions([BaseRef(name="gpt-oss-20b", revision="0")], "cuda")
    with pytest.raises(ValueError, match="quantised by 'mxfp4' already") as raised:
        check_precisions([BaseRef(name="gpt-oss-20b", revision="0", precision=precision)], "cuda")

    assert "\n" not in str(raised.value)


def test_finished_runs_need_no_precision() -> None:
    with cpu_with():
        check_precisions([], "cpu")


def test_runs_are_expected_where_the_study_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert expected_device("auto") == "cpu"  # no test sees a GPU unless it is told to
    assert expected_device("cuda") == "cuda"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert expected_device("auto") == "cuda"
    assert expected_device("cpu") == "cpu"


def test_a_large_base_is_not_trained_on_a_cpu_by_accident() -> None:
    large, small = (BaseRef(name=name, revision="0") for name in ("qwen3-8b", "mini-qwen3-s"))

    check_sizes([small], "cpu", advice="do not")
    check_sizes([small, large], "cuda", advice="do not")
    with pytest.raises(
        ValueError, match=r"^base 'qwen3-8b' has 6\.9 billion weights in its layers, and do not$"
    ):
        check_sizes([small, large], "cpu", advice="do not")
