"""Rows to examples: carving by cluster, choice order, and what is counted."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.tasks.builder import Builder, Draft, carve, shuffle_choices
from portal.tasks.example import Example
from portal.tasks.lint import Lint
from portal.tasks.records import Record


def carved(
    examples: Sequence[Example], *, share: float, most: int = 1000
) -> tuple[list[Example], list[Example]]:
    return carve("sums", examples, share=share, most=most, lint=Lint())


def example(number: int, cluster: str, *, gold: int = 0) -> Example:
    return Example("sums", f"{number:04d}", f"{number} + 1 =", (" a", " b", " c"), gold, cluster)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=120).filter(lambda names: len(set(names)) > 1))
def test_carving_takes_whole_clusters_and_leaves_some(clusters: list[int]) -> None:
    examples = [example(number, str(cluster)) for number, cluster in enumerate(clusters)]

    rest, taken = carved(examples, share=0.2)

    assert rest
    assert taken
    assert sorted(e.id for e in rest + taken) == [e.id for e in examples]
    assert not {e.cluster for e in rest} & {e.cluster for e in taken}


def test_a_carved_slice_has_its_share_and_no_more_than_its_cap() -> None:
    examples = [example(number, str(number)) for number in range(1000)]

    assert len(carved(examples, share=0.1, most=500)[1]) == 100
    assert len(carved(examples, share=0.1, most=50)[1]) == 50


def test_carving_does_not_depend_on_the_order_of_the_rows() -> None:
    examples = [example(number, str(number % 40)) for number in range(200)]

    first = {e.id for e in carved(examples, share=0.2)[1]}
    second = {e.id for e in carved(examples[::-1], share=0.2)[1]}

    assert first == second


def test_rows_of_one_cluster_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="task 'sums': all 5 rows share one cluster"):
        carved([example(number, "same") for number in range(5)], share=0.1)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_cannot_be_split(count: int) -> None:
    with pytest.raises(ValueError, match="task 'sums': fewer than two rows are left: none can be held out"):
        carved([example(number, "c") for number in range(count)], share=0.1)


@given(st.integers(0, 2), st.integers(0, 500))
def test_shuffling_moves_the_gold_choice_with_its_text(gold: int, number: int) -> None:
    before = example(number, "c", gold=gold)

    after = shuffle_choices(before)

    assert after.choices[after.gold] == before.choices[gold]
    assert sorted(after.choices) == sorted(before.choices)
    assert shuffle_choices(before) == after


def plain(record: Record) -> Draft:
    return Draft(record["prompt"], tuple(record["choices"]), record["gold"])


def test_faulty_rows_are_counted_by_reason_and_repeated_ones_stay() -> None:
    good = [{"prompt": f"{n} + 1 =", "choices": [" a", " b"], "gold": 0} for n in range(10)]
    faulty = [
        {"prompt": "  ", "choices": [" a", " b"], "gold": 0},
        {"prompt": "x", "choices": [" a", " "], "gold": 0},
        {"prompt": "x", "choices": [" a", " a"], "gold": 1},
    ]
    rows = [*good, *faulty, good[0]]
    builder = Builder("sums", None, "none", ("prompt", "choices", "gold"), plain, validation="v", test="t")

    splits, lint = builder.examples(lambda split: rows if split == "train" else good)
    lint.compare(splits)

    assert lint.dropped == {
        ("train", "empty prompt"): 1,
        ("train", "empty choice"): 1,
        ("train", "only one choice"): 1,
    }
    assert lint.merged["train"] == 1
    assert lint.duplicates == {"train": 1, "validation": 0, "test": 0}
    assert lint.counts() == (3, 1, 10, 1, 10)
    assert len(splits["train"]) == 11


def test_a_split_without_a_usable_row_is_refused() -> None:
    rows = [{"prompt": "", "choices": [" a", " b"], "gold": 0}]
    builder = Builder("sums", None, "none", ("prompt",), plain)

    with pytest.raises(
        ValueError, match="task 'sums', split 'train': no usable row among 1; dropped rows: 1 of"
    ):
        builder.examples(lambda split: rows)


def test_too_few_rows_are_explained_by_the_rows_that_were_dropped() -> None:
    rows: list[Record] = [
        {"prompt": "1 + 1 =", "choices": [" a", " b"], "gold": 0},
        *({"prompt": f"{n} + 1 =", "choices": [" a"], "gold": 0} for n in range(2)),
        {"prompt": " ", "choices": [" a", " b"], "gold": 0},
    ]
    builder = Builder("sums", None, "none", ("prompt",), plain, test=None)

    with pytest.raises(ValueError, match="fewer than two rows are left") as caught:
        builder.examples(lambda split: rows)

    assert str(caught.value).endswith(
        "dropped rows: 1 of split train: empty prompt (first: row 3); "
        "2 of split train: only one choice (first: row 1)"
    )


def test_rows_that_name_no_cluster_are_clusters_of_their_own_and_shared_by_no_split() -> None:
    rows = [{"prompt": f"{n} + 1 =", "choices": [" a", " b"], "gold": 0} for n in range(12)]
    named = {0: "mine", 5: "other"}
    builder = Builder(
        "sums",
        None,
        "none",
        ("prompt",),
        plain,
        lambda records: [named.get(index) for index in range(len(records))],
        validation="v",
        test="t",
    )

    splits, lint = builder.examples(lambda split: rows)
    lint.compare(splits)

    assert [e.cluster for e in splits["test"]][:6] == ["mine", "1", "2", "3", "4", "other"]
    assert lint.shared_clusters == 2
