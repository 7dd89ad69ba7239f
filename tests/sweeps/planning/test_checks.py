"""What would make a run fail later is refused before anything starts.

What does not fit a base is refused before anything is loaded. What a study asks of its rows is said when it
is planned: too few, or too long for a base.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from portal.answers import AnswerConfig
from portal.bases.registry import known_bases
from portal.config import AdapterConfig, BaseRef, Precision, RunConfig
from portal.evaluate.code_sandbox import ALLOWED
from portal.messages import refusal
from portal.modules import ALL_MODULES
from portal.train_config import TrainConfig
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.checks import (
    check_cpus,
    check_libraries,
    check_metrics,
    check_precisions,
    check_row_lengths,
    check_shapes,
    check_sizes,
    check_study,
    count_rows,
    coverage_notes,
    expected_device,
    metric_notes,
    row_warnings,
)
from sweeps.study.expand import Study, load_study
from tests.support.bases import TASKS, make_run
from tests.support.command_line import Portal
from tests.support.precision import cpu_with
from tests.support.studies import TINY, load_text
from tests.support.zoo import tiny_config


def ref(precision: Precision, name: str = "mini-qwen3-s") -> BaseRef:
    return BaseRef(name=name, revision="0", precision=precision)


def test_nodes_that_lack_bf16_are_named_where_a_base_is_in_it_and_else_not_asked() -> None:
    with pytest.raises(ValueError, match="on a CPU, and node-2, node-7 has neither; run it on") as raised:
        check_cpus([ref("default"), ref("bf16")], lambda check: dict.fromkeys(["node-7", "node-2"], "no"))

    assert "\n" not in str(raised.value)
    check_cpus([ref("bf16")], lambda check: {})
    check_cpus([ref("default")], unasked)
    check_cpus([], unasked)


def unasked(check: Callable[[], object]) -> Mapping[str, str]:
    raise AssertionError("nobody needs to know")


def judged_by(metric: str) -> RunConfig:
    return make_run("base", "tiny", data={"answers": {TASKS[0]: AnswerConfig(metric=metric)}})


def test_a_metric_that_a_node_lacks_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
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
    rows = [{"prompt": "a", "answer": "b", "split": split} for split in ("train", "validation", "test")]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choices = MIXED.replace("ledger", "mini").replace("home_1, gift_1, visit_1", "counting, own.jsonl")

    check_study(load_text(tmp_path, MIXED))
    check_study(load_text(tmp_path, MIXED.replace(", visit_1", "") + "metrics: one\n"))
    for text, told in (
        (MIXED, r"have 2: exact_match \(home_1, ...\), rouge_l \(visit_1\);"),
        (choices, r"have 2: acc_norm \(counting\), exact_match \(own\)"),
    ):
        with pytest.raises(ValueError, match=told) as raised:
            check_study(load_text(tmp_path, text + "metrics: one\n"))
        assert "\n" not in str(raised.value)


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
        check_precisions([], "cpu")  # of finished runs
        check_precisions([ref("bf16")], "cuda")
        with pytest.raises(ValueError, match="needs AVX512-BF16 or AMX-BF16"):
            check_precisions([ref("bf16")], "cpu")


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_a_second_quantisation_of_published_weights_is_refused_before_they_are_read(
    precision: Precision,
) -> None:
    check_precisions([ref("default", "gpt-oss-20b")], "cuda")
    with pytest.raises(ValueError, match="quantised by 'mxfp4' already") as raised:
        check_precisions([ref(precision, "gpt-oss-20b")], "cuda")

    assert "\n" not in str(raised.value)


def test_runs_are_expected_where_the_study_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert expected_device("auto") == "cpu"  # no test sees a GPU unless it is told to
    assert expected_device("cuda") == "cuda"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert expected_device("auto") == "cuda"
    assert expected_device("cpu") == "cpu"


def test_a_large_base_is_not_trained_on_a_cpu_by_accident() -> None:
    large, small = (ref("default", name) for name in ("qwen3-8b", "mini-qwen3-s"))

    check_sizes([small], "cpu", advice="do not")
    check_sizes([small, large], "cuda", advice="do not")
    with pytest.raises(
        ValueError, match=r"^base 'qwen3-8b' has 6\.9 billion weights in its layers, and do not$"
    ):
        check_sizes([small, large], "cpu", advice="do not")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of bases by family, with their configs alone."""
    found = {}
    for family in ("gpt2", "qwen3_5_text", "mixtral", "llama", "mamba"):
        folder: Path = tmp_path_factory.mktemp(family)
        tiny_config(family).save_pretrained(folder)
        found[family] = str(folder)
    return found


def run_on(method: str, base: str, modules: Sequence[str] = ALL_MODULES, **changes: object) -> RunConfig:
    run = make_run(method, "base", adapter=AdapterConfig(modules=modules, rank=2), **changes)
    return run.model_copy(update={"bases": (BaseRef(name=base, revision="0"),)})


def test_loras_adapt_what_a_base_has_and_say_so(folders: dict[str, str]) -> None:
    run = run_on("lora", folders["gpt2"])

    check_shapes([run])
    (note,) = coverage_notes([run, run])
    assert "qkv for q in 4" in note
    check_shapes([run_on("lora", folders["gpt2"], ("q", "v"))])  # which the fused module stands in for


def test_a_core_whose_heads_nothing_would_train_is_refused_with_what_to_ask_for(
    folders: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r"heads for k, v, gate would never .* modules qkv,o,up,down$"):
        check_shapes([run_on("source", folders["gpt2"])])
    check_shapes([run_on("source", folders["gpt2"], ("qkv", "o", "up", "down"))])
    for method in ("portal", "mean_latent", "carried", "mismatched_latent", "taught"):  # they hold a core
        check_shapes([run_on(method, folders["gpt2"])])


def test_a_port_does_not_need_its_sources_base(folders: dict[str, str]) -> None:
    run = run_on("portal", folders["llama"], ("q", "v"))
    run = run.model_copy(update={"source_bases": ("/no/such/base",)})

    check_shapes([run])
    assert coverage_notes([run]) == []


@pytest.mark.parametrize(
    ("family", "modules", "message"),
    [
        ("mixtral", ("q", "gate"), "base '.*': the base has no projection 'gate'; it has q, k, v, o"),
        ("mamba", ("o",), "the base has no projection 'o'; it has in_proj"),
        ("llama", ("q", "in_z"), "the base has no projection 'in_z'"),
    ],
)
def test_a_module_that_a_base_lacks_is_refused_with_what_it_has(
    folders: dict[str, str], family: str, modules: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_shapes([run_on("lora", folders[family], modules)])


def test_a_choice_loss_is_refused_where_choices_cannot_share_a_row(folders: dict[str, str]) -> None:
    train = TrainConfig(epochs=1, choice_loss=1.0)

    check_shapes([run_on("portal", folders["llama"], ("q", "v"), train=train)])
    with pytest.raises(ValueError, match="choice_loss needs all choices of a question in one row"):
        check_shapes([run_on("portal", folders["qwen3_5_text"], ("q", "v"), train=train)])


def test_full_coverage_refuses_layers_without_a_module(folders: dict[str, str]) -> None:
    for family in ("qwen3_5_text", "llama"):
        check_shapes([run_on("lora", folders[family], ("q", "v"))], full_coverage=True)
    with pytest.raises(ValueError, match="coverage full is asked for"):
        check_shapes([run_on("lora", folders["mixtral"])], full_coverage=True)


def test_a_curve_above_its_methods_size_and_a_task_with_too_few_rows_are_named(
    study_path: Path, portal: Portal
) -> None:
    study_path.write_text(TINY.replace("curve: {sizes: [4]}", "curve: {sizes: [4, 16, 9999]}"))
    study = load_study(study_path)
    rows = count_rows(study.suite, study.tasks)

    lines = row_warnings(study)

    assert lines == [
        "methods.lora.curve: sizes 16, 9999 are above the method's size 8",
        f"task 'fact_qa': {rows['fact_qa']} training rows are there; asked for: lora 9999",
        f"task 'counting': {rows['counting']} training rows are there; asked for: lora 9999",
    ]
    told = portal("sweep plan tiny.yaml --out out").err
    assert told.splitlines() == [f"portal: {line}" for line in lines]


def test_a_recipes_cap_asks_for_no_rows(tmp_path: Path) -> None:
    text = TINY.replace("size: 8, ", "").replace("curve: {sizes: [4]}", "curve: {sizes: [16]}")

    assert row_warnings(load_text(tmp_path, text)) == []


def test_test_rows_that_other_splits_have_are_named_by_plan_and_run(
    study_path: Path, tmp_path: Path, portal: Portal
) -> None:
    rows = [("train", f"p{index} is", index % 2) for index in range(8)]
    rows += [("validation", "v is", 0), ("test", "t is", 0), ("test", "p3 is", 1)]
    lines = [
        {"prompt": prompt, "choices": [" a", " b"], "gold": gold, "split": split, "cluster": prompt}
        for split, prompt, gold in rows
    ]
    (tmp_path / "leaky.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    text = TINY.replace("[fact_qa, counting]", "[leaky.jsonl]").replace("seeds: [0, 1]", "seeds: [0]")
    study_path.write_text(text.replace("size: 8", "size: 4").replace("[4]", "[2]"))
    warning = (
        "task 'leaky': 1 test row repeats the text of training or validation rows; "
        "1 cluster of test rows is in other splits, too"
    )

    assert portal("sweep plan tiny.yaml --out out --json").json["warnings"] == [warning]
    ran = portal("sweep run tiny.yaml --out out --executor local")
    assert f"portal: {warning}" in ran.err.splitlines()


def test_a_base_that_cannot_read_the_longest_row_is_refused_by_the_plan(
    study_path: Path, tmp_path: Path, portal: Portal
) -> None:
    folder = Path(shutil.copytree(known_bases()["mini-qwen3-s"].location, tmp_path / "short"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))
    study_path.write_text(TINY.replace("[mini-qwen3-s]", f"[{folder}]"))

    error = portal.refusal("sweep plan tiny.yaml --out out")

    assert f"base '{folder}' reads at most 8 tokens, the longest prompt with its choice has" in error


@pytest.mark.usefixtures("study_path")
def test_lengths_come_from_the_token_cache_where_there_is_one(
    tiny_study: Study, tmp_path: Path, portal: Portal
) -> None:
    study, out = tiny_study, tmp_path / "out"
    assert check_row_lengths(study, out, study.bases) == study.bases
    told = portal("sweep plan tiny.yaml --out out").out
    assert "the longest texts per task fit mini-qwen3-xs, mini-qwen3-s;" in told
    prepare_rows(study.suite, study.data, study.bases, out)

    assert check_row_lengths(study, out, study.bases) == ()
    assert "longest texts" not in portal("sweep plan tiny.yaml --out out").out
