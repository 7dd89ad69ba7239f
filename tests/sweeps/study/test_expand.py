from pathlib import Path

import pytest

from portal.learners.schedule import TrainingSchedule
from portal.train_config import TrainConfig
from sweeps.study.catalogue import STUDIES
from sweeps.study.context import StudyContext
from sweeps.study.expand import expand, load_study, read_study
from sweeps.study.study_file import StudyFile
from tests.support.studies import TINY, load_text


def test_a_study_lists_every_run_once_with_sources_before_ports(study_path):
    study = load_study(study_path)

    methods = [run.method for run in study.runs]
    assert sorted(methods) == ["base"] + ["lora"] * 4 + ["portal"] * 2 + ["source"] * 2
    assert methods[-2:] == ["portal", "portal"]
    assert len(study.by_key) == len(study.runs) == 9


def test_a_port_names_the_source_run_of_its_seed(study_path):
    study = load_study(study_path)

    sources = {run.seed: run.key for run in study.runs if run.method == "source"}
    ports = [run for run in study.runs if run.method == "portal"]
    assert {run.seed: run.source for run in ports} == sources
    assert all(run.adapter.rank == 4 and run.hypernet.d_core == 16 for run in ports)


def test_what_a_study_leaves_out_is_the_papers_setting(tmp_path):
    study = load_text(
        tmp_path, "name: s\ntargets: [mini-qwen3-s]\ntasks: [fact_qa]\nmethods: {lora: {}}\nseeds: [3]"
    )

    (run,) = study.runs
    assert (run.adapter.rank, run.adapter.alpha, len(run.adapter.modules)) == (16, 32, 7)
    assert run.train == TrainConfig(lr=1e-4)
    assert run.data.size == 2000


RESULTS = Path(__file__).parents[3] / "docs" / "results"
RECIPE_STUDY = """
name: s
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
tasks: [fact_qa]
methods: {source: {}, hypernet: {}, portal: {}, lora: {}}
"""


def test_a_study_follows_the_papers_recipe_by_default(tmp_path):
    study = load_text(tmp_path, RECIPE_STUDY)

    assert {run.seed for run in study.runs} == {0, 1, 2}
    assert {run.data.size for run in study.runs} == {2000}
    assert {run.train for run in study.runs if run.method != "lora"} == {TrainConfig()}


def test_portallibs_recipe_is_a_key_of_the_study(tmp_path):
    study = load_text(tmp_path, RECIPE_STUDY + "recipe: portallib-0.2\n")

    runs = {run.method: run for run in study.runs}
    assert {run.seed for run in study.runs} == {0}
    for method in ("source", "hypernet"):
        train = runs[method].train
        assert (train.epochs, train.rounds_per_epoch, runs[method].data.size) == (12, 500, 2000)
    refit = runs["portal"]
    assert (refit.train.epochs, refit.train.rounds_per_epoch, refit.data.size) == (5, None, 1000)
    for method in ("source", "portal"):
        assert (runs[method].train.schedule, runs[method].train.warmup_ratio) == ("linear", 0.1)
    assert runs["lora"].train == TrainConfig(lr=1e-4)


def test_the_recipe_of_many_tasks_takes_as_many_steps_at_every_size(tmp_path):
    text = RECIPE_STUDY.replace("portal: {}", "portal: {size: 48, curve: {sizes: [1, 4]}}")
    study = load_text(tmp_path, text + "recipe: many-tasks\n")

    ports = [run for run in study.runs if run.method == "portal"]
    assert {run.data.size for run in ports} == {1, 4, 48}
    assert len({run.train for run in ports}) == 1
    for run in study.runs:
        schedule = TrainingSchedule(run.train, {"fact_qa": 3 if run.data.size == 1 else 40}, joint=True)
        assert schedule.task_steps("fact_qa") == run.train.rounds_per_epoch
        assert schedule.num_evaluations("fact_qa") == 1


def test_what_a_study_says_goes_before_its_recipe(tmp_path):
    text = RECIPE_STUDY.replace("portal: {}", "portal: {size: null, train: {epochs: 1}}")
    study = load_text(tmp_path, text + "recipe: portallib-0.2\nseeds: [4]\n")

    (port,) = [run for run in study.runs if run.method == "portal"]
    assert (port.seed, port.data.size, port.train.epochs, port.train.schedule) == (4, None, 1, "linear")


def test_one_more_seed_keeps_the_keys_of_the_others(tmp_path):
    before = load_text(tmp_path, TINY)
    after = load_text(tmp_path, TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))

    assert set(before.by_key) < set(after.by_key)
    assert {after.by_key[key].seed for key in set(after.by_key) - set(before.by_key)} == {2}


def test_the_name_and_pack_size_of_a_study_are_no_part_of_a_runs_identity(tmp_path):
    one = load_text(tmp_path, TINY)
    other = load_text(tmp_path, TINY.replace("name: tiny", "name: other\npack_size: 1"))

    assert set(one.by_key) == set(other.by_key)


def test_an_override_changes_one_target_only(tmp_path):
    text = TINY.replace("targets: [mini-qwen3-s]", "targets: [mini-qwen3-s, mini-qwen3-m]").replace(
        "portal: {size: 8,", "portal: {overrides: {mini-qwen3-m: {size: 4, train: {lr: 2e-5}}}, size: 8,"
    )

    ports = [run for run in load_text(tmp_path, text).runs if run.method == "portal"]

    changed = {run.bases[0].name: (run.data.size, run.train.lr, run.train.epochs) for run in ports}
    assert changed == {"mini-qwen3-s": (8, 1e-3, 2), "mini-qwen3-m": (4, 2e-5, 2)}


CROSSED = """
  cross_lora: {}
  projected: {method: cross_lora, transfer: project, source_base: mini-qwen3-m}
  random_lora: {seeds: [1]}
  zero_lora: {}
"""


def test_a_transfer_brings_the_lora_it_starts_from(tmp_path):
    text = TINY.replace("targets: [mini-qwen3-s]", "targets: [mini-qwen3-s, mini-qwen3-m]") + CROSSED

    study = load_text(tmp_path, text)

    crossed = [run for run in study.runs if study.labels[run.key] == "cross_lora"]
    assert {(run.bases[0].name, run.seed) for run in crossed} == {
        (name, seed) for name in ("mini-qwen3-s", "mini-qwen3-m") for seed in (0, 1)
    }
    for run in crossed:
        lora = study.by_key[run.source]
        assert (lora.method, lora.bases[0].name, lora.seed) == ("lora", "mini-qwen3-xs", run.seed)
        assert (lora.adapter, lora.data) == (run.adapter, run.data)
        assert study.labels[lora.key] == "lora"
    projected = [run for run in study.runs if study.labels[run.key] == "projected"]
    assert {run.bases[0].name for run in projected} == {"mini-qwen3-s"}
    assert {run.transfer for run in projected} == {"project"}
    assert {run.seed for run in study.runs if run.method == "random_lora"} == {1}
    assert {run.seed for run in study.runs if run.method == "zero_lora"} == {None}
    order = [run.key for run in study.runs]
    assert all(order.index(run.source) < order.index(run.key) for run in crossed + projected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cross_lora: {}", "cross_lora: {source: lorra}"), "no lora method 'lorra'; did you mean 'lora'"),
        (("cross_lora: {}", "cross_lora: {source_base: mini-qwen3-z}"), "is no base of the study; did you"),
        (("cross_lora: {}", "cross_lora: {size: 8}"), "method 'cross_lora' takes no 'size'"),
        (("cross_lora: {}", "cross_lora: {transfer: rotate}"), "methods.cross_lora.transfer"),
        (("eval_size: 4", "eval_size: 4\nprecision: 4bit"), "does not keep; leave 'precision' out"),
        (("  lora: {size: 8", "  lora: {method: hypernet, size: 8"), "no method 'lora' to start from"),
    ],
)
def test_a_mistake_in_a_transfer_is_one_line_that_names_it(tmp_path, change, message):
    text = (TINY + CROSSED.replace(", source_base: mini-qwen3-m", "")).replace(*change)

    with pytest.raises(ValueError) as caught:
        load_text(tmp_path, text)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("lora: {", "lorra: {"), "unknown method 'lorra'; did you mean 'lora'"),
        (("seeds: [0, 1]", "seedz: [0, 1]"), "unknown key; did you mean 'seeds'"),
        (("epochs: 2, lr", "epoch: 2, lr"), "unknown key; did you mean 'epochs'"),
        (("fact_qa", "fact_qq"), "did you mean 'fact_qa'"),
        (("[mini-qwen3-s]", "[mini-qwen3-z]"), "unknown base 'mini-qwen3-z'; did you mean"),
        (("lora: {size: 8", "lora: {size: 0"), "methods.lora.size"),
        (("sizes: [4]", "sizes: [-4]"), "size -4 is below 1"),
        (("lr: 1e-3", "lr: fast"), "methods.lora.train.lr"),
        (("seeds: [0, 1]", "seeds: [0, 0]"), "seeds must be different"),
        (("seeds: [0, 1]", "seeds: [0]\nseeds: [1]"), "line 7: key 'seeds' is given twice"),
        (("name: tiny", "name: ../tiny"), "is no name"),
        (("portal: {size: 8", "portal: {adapter: {rank: 4}, size: 8"), "takes no 'adapter'"),
        (("lora: {size: 8", "lora: {targets: [mini-gemma3], size: 8"), "is not a target of the study"),
        (("seeds: [0, 1]", "seeds: &a [0, 1]\ntargets: *a"), "alias *a is not allowed"),
        (("sources: [mini-qwen3-xs]", "sources: []"), "the study names no sources"),
        (("portal: {size: 8", "portal: {seeds: [5], size: 8"), "seed 5 has no run of 'source'"),
        (("name: tiny", "name: !!python/object:os.system x"), "could not determine a constructor"),
        (("eval_size: 4", "eval_size: [4"), "line"),
        (("name: tiny", "name: tiny\nrecipe: papers"), "recipe"),
    ],
)
def test_a_mistake_in_a_study_is_one_line_that_names_it(tmp_path, change, message):
    with pytest.raises(ValueError) as caught:
        load_text(tmp_path, TINY.replace(*change))

    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert "study.yaml" in text


def test_an_unknown_study_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown study 'dem'; did you mean 'demo'"):
        load_study("dem")


def test_yaml_1_2_floats_are_numbers_and_on_is_text(tmp_path):
    study = load_text(tmp_path, TINY.replace("name: tiny", "name: on").replace("lr: 1e-3", "lr: 5E-4"))

    assert study.name == "on"
    assert {run.train.lr for run in study.runs if run.method == "lora"} == {5e-4}


@pytest.mark.parametrize("name", ["demo", "demo-eleven", "headroom"])
def test_a_shipped_study_on_embedded_bases_expands(name):
    assert load_study(name).runs


def test_every_study_that_is_shipped_or_lies_beside_its_results_is_well_formed():
    files = [*STUDIES.glob("*.yaml"), *RESULTS.glob("*/*.yaml")]
    assert len(files) >= 38
    for file in files:
        assert read_study(file).name == file.stem


def test_expanding_twice_gives_the_same_keys(study_path):
    settings = load_study(study_path).settings

    runs = [expand(settings, StudyContext.open(settings)).runs for _ in range(2)]
    assert [run.key for run in runs[0]] == [run.key for run in runs[1]]
    assert StudyFile.model_validate(settings.model_dump()) == settings


def test_alpha_follows_the_rank_and_the_trunk_follows_the_modules(tmp_path):
    study = load_text(
        tmp_path,
        TINY.replace("lora: {size: 8,", "lora: {size: 8, adapter: {rank: 4},")
        .replace("adapter: {rank: 4, alpha: 8}", "adapter: {modules: [q, k, v, o, gate, up, down], rank: 2}")
        .replace("hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}", "hypernet: {d_latent: 16}"),
    )

    shapes = {run.method: (run.adapter.rank, run.adapter.alpha) for run in study.runs if run.adapter}
    assert shapes == {"lora": (4, 8), "source": (2, 4), "portal": (2, 4)}
    assert {run.hypernet.hidden for run in study.runs if run.hypernet} == {1024}


def test_a_part_has_the_runs_of_its_seeds_and_those_without_one(study_path):
    study = load_study(study_path)
    first, *others = study.manifest.seeds
    parts = [study.part([first]), study.part(others)]

    assert parts[0].manifest.seeds == (first,)
    assert {*parts[0].by_key} | {*parts[1].by_key} == {*study.by_key}
    assert {*parts[0].by_key} & {*parts[1].by_key} == {run.key for run in study.runs if run.seed is None}
    assert all({*part.labels} == {*part.by_key} for part in parts)
    for part in parts:
        sources = {(run.seed, run.method) for run in part.runs if run.method == "source"}
        assert {run.seed for run in part.runs if run.method == "portal"} == {seed for seed, _ in sources}
    with pytest.raises(ValueError, match="no run of seed 99"):
        study.part([99])
