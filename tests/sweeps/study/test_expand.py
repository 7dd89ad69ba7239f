"""Every run of a study once, resolved, after the runs that it starts from; mistakes are named in one line."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.learners.schedule import TrainingSchedule
from portal.train_config import TrainConfig
from sweeps.study.catalogue import STUDIES
from sweeps.study.expand import Study, calibrated_tasks, load_study, read_study
from sweeps.study.study_file import StudyFile
from tests.support.encoders import save_encoder
from tests.support.studies import TINY, by_label, load_text


@pytest.fixture
def study(study_path: Path) -> Study:
    return load_study(study_path)


def refusal(folder: Path, text: str) -> str:
    """The one line by which the study is refused."""
    with pytest.raises(ValueError) as caught:
        load_text(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_study_lists_every_run_once_with_sources_before_ports_that_name_those_of_their_seed(study):
    methods = [run.method for run in study.runs]
    assert sorted(methods) == ["base"] + ["lora"] * 4 + ["portal"] * 2 + ["source"] * 2
    assert methods[-2:] == ["portal", "portal"]
    assert len(study.by_key) == len(study.runs) == 9
    assert StudyFile.model_validate(study.settings.model_dump()) == study.settings
    sources = {run.seed: run.key for run in study.runs if run.method == "source"}
    ports = [run for run in study.runs if run.method == "portal"]
    assert {run.seed: run.source for run in ports} == sources
    assert all(run.adapter.rank == 4 and run.hypernet.d_core == 16 for run in ports)


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
    lora = by_label(study)["lora"][0]
    assert (lora.adapter.rank, lora.adapter.alpha, len(lora.adapter.modules)) == (16, 32, 7)
    assert lora.train == TrainConfig(lr=1e-4)


def test_portallibs_recipe_is_a_key_of_the_study_and_what_the_study_says_goes_before_it(tmp_path):
    text = RECIPE_STUDY + "recipe: portallib-0.2\n"
    study = load_text(tmp_path, text)

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
    said = text.replace("portal: {}", "portal: {size: null, train: {epochs: 1}}") + "seeds: [4]\n"
    (port,) = [run for run in load_text(tmp_path, said).runs if run.method == "portal"]
    assert (port.seed, port.data.size, port.train.epochs, port.train.schedule) == (4, None, 1, "linear")


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


def test_one_more_seed_keeps_the_keys_of_the_others_which_no_name_and_pack_size_change(tmp_path):
    one = load_text(tmp_path, TINY)
    other = load_text(tmp_path, TINY.replace("name: tiny", "name: other\npack_size: 1"))
    more = load_text(tmp_path, TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))

    assert set(one.by_key) == set(other.by_key) < set(more.by_key)
    assert {more.by_key[key].seed for key in set(more.by_key) - set(one.by_key)} == {2}


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

    crossed, projected = (by_label(study)[label] for label in ("cross_lora", "projected"))
    assert {(run.bases[0].name, run.seed) for run in crossed} == {
        (name, seed) for name in ("mini-qwen3-s", "mini-qwen3-m") for seed in (0, 1)
    }
    for run in crossed:
        lora = study.by_key[run.source]
        assert (lora.method, lora.bases[0].name, lora.seed) == ("lora", "mini-qwen3-xs", run.seed)
        assert (lora.adapter, lora.data) == (run.adapter, run.data)
        assert study.labels[lora.key] == "lora"
    assert {(run.bases[0].name, run.transfer) for run in projected} == {("mini-qwen3-s", "project")}
    assert [[run.seed for run in by_label(study)[each]] for each in ("random_lora", "zero_lora")] == [
        [1, 1], [None, None],
    ]  # fmt: skip
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
        (("lora: {size", "lorra: {size"), "unknown method 'lorra'; did you mean 'lora'"),
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
    text = TINY + CROSSED.replace(", source_base: mini-qwen3-m", "")
    assert change[0] in text

    told = refusal(tmp_path, text.replace(*change))

    assert message in told
    assert "study.yaml" in told


def test_yaml_1_2_floats_are_numbers_and_on_is_text(tmp_path):
    study = load_text(tmp_path, TINY.replace("name: tiny", "name: on").replace("lr: 1e-3", "lr: 5E-4"))

    assert study.name == "on"
    assert {run.train.lr for run in study.runs if run.method == "lora"} == {5e-4}


def test_every_study_file_is_well_formed_or_a_record_that_is_refused_and_whose_page_names_the_commit():
    files = [*STUDIES.glob("*.yaml"), *RESULTS.glob("*/*.yaml")]
    assert len(files) >= 38
    records = [file for file in files if "# A record:" in file.read_text()]
    assert len(records) == 5
    for file in files:
        if file not in records:
            assert read_study(file).name == file.stem
            continue
        with pytest.raises(ValueError, match="is no longer there; commit ea55e6a"):
            read_study(file)
        assert "ea55e6a" in (file.parent / "README.md").read_text()
    with pytest.raises(ValueError, match="unknown study 'dem'; did you mean 'demo'"):
        load_study("dem")


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


def test_a_part_has_the_runs_of_its_seeds_and_those_without_one(study):
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


NEW_TASKS = """
name: s
suite: village
tasks: [new-frames]
seeds: [0, 1]
sources: [village-qwen3-xs]
targets: [village-qwen3-xs, village-qwen3-m]
methods:
  base: {}
  lora: {size: 16}
  source: {tasks: [source-11], size: 48}
  portal: {targets: [village-qwen3-m], size: 8}
  taught: {targets: [village-qwen3-xs], size: 16, curve: {sizes: [1, 4]}}
  carried: {targets: [village-qwen3-m], curve: {sizes: [4]}}
  mean_latent: {targets: [village-qwen3-m]}
  shared_lora: {tasks: [source-11], targets: [village-qwen3-m], size: 8}
"""
TAUGHT_AND_CARRIED = """taught: {targets: [village-qwen3-xs], size: 16, curve: {sizes: [1, 4]}}
  carried: {targets: [village-qwen3-m], curve: {sizes: [4]}}"""
VARIANTS = """
variants:
  few: {methods: [source, portal, taught], tasks: [source-11]}
  many: {methods: [source, portal, taught], tasks: [source-35]}
"""


@pytest.fixture(scope="module")
def new_tasks(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_text(tmp_path_factory.mktemp("new"), NEW_TASKS)


def test_latents_are_taught_on_one_base_and_carried_to_another(new_tasks):
    study, of = new_tasks, by_label(new_tasks)
    own, known = study.own_tasks, of["source"][0].data.tasks
    assert (len(own), len(known), len(study.tasks)) == (28, 11, 39)
    assert {run.data.tasks for label in ("base", "lora", "taught", "carried") for run in of[label]} == {own}
    assert {run.data.tasks for run in of["portal"]} == {known}
    assert sorted(run.data.size for run in of["taught"]) == [1, 1, 4, 4, 16, 16]
    assert sorted(run.data.size for run in of["carried"]) == [4, 4, 16, 16]
    for run in of["carried"]:
        port, taught = (study.by_key[key] for key in run.parent_keys)
        assert (port.method, taught.method) == ("portal", "taught")
        assert {port.seed, taught.seed} == {run.seed}
        assert port.source == taught.source
        assert (run.data, run.adapter, run.hypernet) == (taught.data, port.adapter, port.hypernet)
    assert [run.method for run in study.runs].index("carried") > max(
        place for place, run in enumerate(study.runs) if run.method in ("portal", "taught")
    )


def test_new_tasks_are_described_in_words_that_the_source_never_saw(tmp_path):
    encoder = save_encoder(tmp_path)
    described = """
  described: {targets: [village-qwen3-xs]}
  mismatched_description: {targets: [village-qwen3-xs]}
  carried_words: {method: carried, latents: described, targets: [village-qwen3-m]}
"""
    text = NEW_TASKS.replace("carried: {", "carried: {latents: taught, ").rstrip() + described
    study = load_text(tmp_path, text.replace("source: {", f"source: {{text: {{encoder: {encoder}}}, "))

    for run in study.runs:
        own = {phrasing for phrasings in run.data.descriptions.values() for phrasing in phrasings}
        known = {phrasing for each in study.suite.descriptions.values() for phrasing in each.phrasings}
        if run.method == "source":
            assert run.text is not None
            assert (run.text.encoder, len(run.text.encoder_sha256)) == (str(encoder), 64)
            assert {len(phrasings) for phrasings in run.data.descriptions.values()} == {8}
            assert own <= known
        elif run.method in ("described", "mismatched_description"):
            assert (run.data.size, run.data.trained_tasks, run.train) == (0, (), None)
            assert {len(phrasings) for phrasings in run.data.descriptions.values()} == {1}
            assert not own & known
        else:
            assert not own
    of = by_label(study)
    first, second = of["described"]
    assert first.data.descriptions != second.data.descriptions
    for run in of["carried_words"]:
        assert run.data.size == 0
        assert study.by_key[run.latents].method == "described"


def test_controls_that_know_other_tasks_are_scored_on_the_studys_without_a_row(new_tasks):
    study, of = new_tasks, by_label(new_tasks)

    for run in of["mean_latent"]:
        assert (run.data.tasks, run.data.trained_tasks, run.data.size) == (study.own_tasks, (), 8)
    for run in of["shared_lora"]:
        assert set(run.data.tasks) == set(study.tasks)
        assert set(run.data.trained_tasks) == set(study.tasks) - set(study.own_tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("taught: {targets: [village-qwen3-xs]", "taught: {targets: [village-qwen3-m]"), "is no source of"),
        (("tasks: [source-11], size: 48", "tasks: [source-12], size: 48"), "no task 'source-12'"),
        (("carried: {", "carried: {latents: portal, "), "or described method 'portal'"),
        ((TAUGHT_AND_CARRIED, "described: {targets: [village-qwen3-xs]}"), "as methods.source.text"),
        (("curve: {sizes: [1, 4]}", "train: {latent_start: description}"), "trained without descriptions"),
        (("source: {", "source: {text: {encoder: nowhere}, "), "encoder 'nowhere': no such folder"),
        (("lora: {", "lora: {text: {}, "), "method 'lora' takes no 'text'"),
        (("taught: {", "taught: {seeds: [0], "), "seed 1 has no run of 'taught'"),
        (("curve: {sizes: [4]}}\n  mean", "curve: {sizes: [5]}}\n  mean"), "'taught' has no size 5"),
        (("  lora: {size: 16}", "  lora: {size: 16, tasks: [source-11]}"), "method 'lora' takes no 'tasks'"),
    ],
)
def test_what_new_tasks_cannot_have_is_refused(tmp_path, change, message):
    assert change[0] in NEW_TASKS
    assert message in refusal(tmp_path, NEW_TASKS.replace(*change))


def test_what_trains_nothing_is_in_every_variant_of_what_it_starts_from_unless_it_names_one(tmp_path):
    text = NEW_TASKS.replace("carried: {", "carried: {source: portal-few, latents: taught-few, ")
    text = text.replace("mean_latent: {", "mean_latent: {source: portal-many, ")

    named, every = (load_text(tmp_path, each + VARIANTS) for each in (text, NEW_TASKS))

    of_named, of_every = (
        {
            study.labels[run.key]: [study.labels[key] for key in run.parent_keys]
            for run in study.runs
            if run.method in ("carried", "mean_latent")
        }
        for study in (named, every)
    )
    assert of_named == {"carried": ["portal-few", "taught-few"], "mean_latent": ["portal-many"]}
    assert of_every == {
        "carried-few": ["portal-few", "taught-few"],
        "carried-many": ["portal-many", "taught-many"],
        "mean_latent-few": ["portal-few"],
        "mean_latent-many": ["portal-many"],
    }
    for name, number in (("few", 11), ("many", 35)):
        assert {len(run.data.tasks) for run in by_label(every)[f"portal-{name}"]} == {number}


TASKS = tuple(f"task-{index}" for index in range(12))


def drawn(
    wanted: int | float, seed: int = 0, tasks: tuple[str, ...] = TASKS, kinds: dict[str, str] | None = None
) -> tuple[str, ...]:
    found = calibrated_tasks(tasks, wanted, seed, kinds or {})
    assert found is not None
    return found


@given(st.integers(1, 10), st.integers(0, 2**31 - 1))
def test_fewer_tasks_are_among_more_of_the_same_seed(count: int, seed: int) -> None:
    assert set(drawn(count, seed)) < set(drawn(count + 1, seed))


def test_other_seeds_draw_other_tasks_but_another_order_of_the_list_or_one_kind_for_all_does_not() -> None:
    shuffled = tuple(random.Random(0).sample(TASKS, len(TASKS)))
    again = drawn(5, tasks=shuffled)
    sets = {drawn(3, seed) for seed in range(40)}

    assert set(again) == set(drawn(5))
    assert list(again) == [task for task in shuffled if task in again]
    assert drawn(5, kinds=dict.fromkeys(TASKS, "one")) == drawn(5)
    assert len(sets) > 20
    assert {task for each in sets for task in each} == set(TASKS)


@given(st.integers(1, 11), st.integers(0, 2**31 - 1))
def test_kinds_take_turns(count: int, seed: int) -> None:
    kinds = {task: "abc"[index % 3] for index, task in enumerate(TASKS)}

    counts = Counter({"a": 0, "b": 0, "c": 0})
    counts.update(kinds[task] for task in drawn(count, seed, kinds=kinds))

    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(drawn(count, seed, kinds=kinds)) <= set(drawn(min(count + 1, 11), seed, kinds=kinds))


def test_a_share_is_rounded_to_a_number_of_tasks_and_never_to_none_and_all_are_no_choice() -> None:
    for share, count in ((0.01, 1), (0.25, 3), (0.5, 6), (0.9, 11)):
        assert drawn(share) == drawn(count)
    for wanted in (None, 12, 1.0, TASKS):
        assert calibrated_tasks(TASKS, wanted, 0, {}) is None


def test_named_tasks_come_in_the_studys_order_and_what_it_does_not_have_is_refused() -> None:
    assert calibrated_tasks(TASKS, ("task-7", "task-2"), 0, {}) == ("task-2", "task-7")
    for wanted, message in (
        (("task-2", "tusk-3"), "calibrate: the study has no task 'tusk-3'; did you mean 'task-3'?"),
        (13, "calibrate: 13 tasks, the study has 12"),
    ):
        with pytest.raises(ValueError) as caught:
            calibrated_tasks(TASKS, wanted, 0, {})
        assert str(caught.value) == message
