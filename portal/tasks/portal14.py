"""Prompt set `portal14`: fourteen public benchmarks as multiple choice, and their known sizes.

Prompts are those that the reference trained its published latents on. Rows are never shipped: they come from
the hub at a pinned revision, or from a folder of the same rows. Every choice starts with one space. Plans
where the rows are not at hand use the sizes: numbers of rows are those that the builders make of the
publishers' splits; lengths were measured on rows of all fourteen tasks, of some on a part of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from portal.tasks.builder import Builder, Draft, Dropped, clusters_by
from portal.tasks.example import SPLITS, Example
from portal.tasks.records import HubSource, Record

NO_YES, TRUE_FALSE = (" no", " yes"), (" True", " False")
CLAIMS = (*TRUE_FALSE, " Neither")


def _super_glue(config: str) -> HubSource:
    return HubSource("aps/super_glue", config, "3de24cf8022e94f4ee4b9d55a6f539891524d646")


def _arc(config: str) -> HubSource:
    return HubSource("allenai/ai2_arc", config, "210d026faf9955653af8916fad021475a3f00453")


def _question(text: str) -> str:
    return f"Question: {text.strip()}\nAnswer:"


def _choices(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f" {text.strip()}" for text in texts)


def _label(record: Record, choices: tuple[str, ...]) -> int | Dropped:
    """The label as an index into `choices`; the publishers' -1 and '' mean that there is none."""
    value = record["label"]
    if value in (-1, "", "-1", None):
        return Dropped("no label")
    label = int(value)
    if not 0 <= label < len(choices):
        raise ValueError(f"label {value!r} is none of the {len(choices)} choices")
    return label


def _labelled(
    prompt: Callable[[Record], str], choices: tuple[str, ...]
) -> Callable[[Record], Draft | Dropped]:
    """A task with the same answers in every row."""

    def draft(record: Record) -> Draft | Dropped:
        label = _label(record, choices)
        return label if isinstance(label, Dropped) else Draft(prompt(record), choices, label)

    return draft


def _keyed(column: str) -> Callable[[Record], Draft | Dropped]:
    """A task with answers in `choices.text` and their keys, letters or digits, in `choices.label`."""

    def draft(record: Record) -> Draft | Dropped:
        key = record["answerKey"]
        if not key:
            return Dropped("no label")
        labels = list(record["choices"]["label"])
        if key not in labels:
            raise ValueError(f"answerKey {key!r} is none of {', '.join(labels)}")
        return Draft(_question(record[column]), _choices(record["choices"]["text"]), labels.index(key))

    return draft


def _truthfulqa(record: Record) -> Draft | Dropped:
    labels = list(record["mc1_targets"]["labels"])
    if sum(labels) != 1:
        raise ValueError(f"mc1_targets has {sum(labels)} true answers, not one")
    return Draft(_question(record["question"]), _choices(record["mc1_targets"]["choices"]), labels.index(1))


def _rte(record: Record) -> str:
    return f"{record['premise'].strip()}\nQuestion: {record['hypothesis'].strip()} True or False?\nAnswer:"


def _cb(record: Record) -> str:
    claim = record["hypothesis"].strip()
    return f"{record['premise'].strip()}\nQuestion: {claim} True, False, or Neither?\nAnswer:"


def _wic(record: Record) -> str:
    return (
        f"Sentence 1: {record['sentence1']}\nSentence 2: {record['sentence2']}\n"
        f"Question: Is the word '{record['word']}' used the same way in both sentences?\nAnswer:"
    )


def _wsc(record: Record) -> str:
    pronoun, noun = record["span2_text"], record["span1_text"]
    return (
        f"{record['text']}\nQuestion: In the passage above, does the pronoun "
        f'"{pronoun}" refer to "{noun}"?\nAnswer:'
    )


def _copa(record: Record) -> Draft | Dropped:
    choices = tuple(" " + _lower_first(record[name].strip()) for name in ("choice1", "choice2"))
    label = _label(record, choices)
    if isinstance(label, Dropped):
        return label
    joints = {"cause": "because", "effect": "therefore"}
    if record["question"] not in joints:
        raise ValueError(f"question {record['question']!r} is neither 'cause' nor 'effect'")
    return Draft(f"{record['premise'].strip()[:-1]} {joints[record['question']]}", choices, label)


def _lower_first(sentence: str) -> str:
    """The first letter in lower case, unless it is the pronoun I."""
    return sentence if re.match(r"I\b", sentence) else sentence[:1].lower() + sentence[1:]


def _boolq(record: Record) -> Draft | Dropped:
    answer = record["answer"]
    if not isinstance(answer, bool):
        raise ValueError(f"answer {answer!r} is neither true nor false")
    return Draft(f"{record['passage']}\nQuestion: {record['question']}?\nAnswer:", NO_YES, int(answer))


def _hellaswag(record: Record) -> Draft | Dropped:
    endings = tuple(f" {_clean_hellaswag(ending)}" for ending in record["endings"])
    label = _label(record, endings)
    if isinstance(label, Dropped):
        return label
    prompt = f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}"
    return Draft(_clean_hellaswag(prompt), endings, label)


def _clean_hellaswag(text: str) -> str:
    """Remove the markup of WikiHow articles from a text of HellaSwag."""
    without = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return " ".join(without.split())


def _winogrande(record: Record) -> Draft | Dropped:
    if record["answer"] == "":
        return Dropped("no label")
    if record["answer"] not in ("1", "2"):
        raise ValueError(f"answer {record['answer']!r} is neither '1' nor '2'")
    before, blank, after = record["sentence"].partition("_")
    if not blank or "_" in after:
        raise ValueError(f"the sentence has not exactly one blank: {record['sentence']!r}")
    choices = tuple(f" {record[name].strip()}{after.rstrip()}" for name in ("option1", "option2"))
    return Draft(before.rstrip(), choices, int(record["answer"]) - 1)


def _winogrande_twins(records: Sequence[Record]) -> list[str]:
    """Twins differ in a word and have the same options: neighbours, or rows with one stem of `qID`."""
    clusters: list[str] = []
    for index, record in enumerate(records):
        if record.get("qID"):
            clusters.append(record["qID"].rpartition("-")[0])
            continue
        options = {record["option1"], record["option2"]}
        twin = index > 0 and options == {records[index - 1]["option1"], records[index - 1]["option2"]}
        paired = index > 1 and clusters[index - 1] == clusters[index - 2]
        clusters.append(clusters[index - 1] if twin and not paired else f"{index:06d}")
    return clusters


def _sciq(record: Record) -> Draft | Dropped:
    answers = [record[name] for name in ("correct_answer", "distractor1", "distractor2", "distractor3")]
    return Draft(_question(record["question"]), _choices(answers), 0)


_CLAIM = ("premise", "hypothesis", "label")
_KEYED = ("question", "choices", "answerKey")
_SAME_PREMISE = clusters_by("premise")
BUILDERS = {
    builder.task: builder
    for builder in (
        Builder(
            "truthfulqa",
            HubSource(
                "truthfulqa/truthful_qa", "multiple_choice", "741b8276f2d1982aa3d5b832d3ee81ed3b896490"
            ),
            "Apache-2.0",
            ("question", "mc1_targets"),
            _truthfulqa,
            clusters_by("question"),
            train="validation",
            test=None,
            test_from=0.75,
        ),
        Builder("rte", _super_glue("rte"), "unclear", _CLAIM, _labelled(_rte, TRUE_FALSE), _SAME_PREMISE),
        Builder("cb", _super_glue("cb"), "unclear", _CLAIM, _labelled(_cb, CLAIMS), _SAME_PREMISE),
        Builder(
            "copa",
            _super_glue("copa"),
            "BSD-2-Clause",
            ("premise", "choice1", "choice2", "question", "label"),
            _copa,
            _SAME_PREMISE,
        ),
        Builder(
            "wic",
            _super_glue("wic"),
            "non-commercial",
            ("word", "sentence1", "sentence2", "label"),
            _labelled(_wic, NO_YES),
            clusters_by("word"),
        ),
        Builder(
            "wsc",
            _super_glue("wsc.fixed"),
            "CC BY 4.0",
            ("text", "span1_text", "span2_text", "label"),
            _labelled(_wsc, NO_YES),
            clusters_by("text"),
        ),
        Builder(
            "boolq",
            HubSource("google/boolq", None, "35b264d03638db9f4ce671b711558bf7ff0f80d5"),
            "CC BY-SA 3.0",
            ("question", "passage", "answer"),
            _boolq,
            clusters_by("passage"),
        ),
        Builder("arc_easy", _arc("ARC-Easy"), "CC BY-SA 4.0", _KEYED, _keyed("question")),
        Builder("arc_challenge", _arc("ARC-Challenge"), "CC BY-SA 4.0", _KEYED, _keyed("question")),
        Builder(
            "hellaswag",
            HubSource("Rowan/hellaswag", None, "218ec52e09a7e7462a5400043bb9a69a41d06b76"),
            "MIT",
            ("activity_label", "ctx_a", "ctx_b", "endings", "source_id", "label"),
            _hellaswag,
            clusters_by("source_id"),
        ),
        Builder(
            "openbookqa",
            HubSource("allenai/openbookqa", "main", "388097ea7776314e93a529163e0fea805b8a6454"),
            "Apache-2.0",
            ("question_stem", "choices", "answerKey"),
            _keyed("question_stem"),
            test="test",
        ),
        Builder(
            "winogrande",
            HubSource("allenai/winogrande", "winogrande_xl", "01e74176c63542e6b0bcb004dcdea22d94fb67b5"),
            "CC BY",
            ("sentence", "option1", "option2", "answer"),
            _winogrande,
            _winogrande_twins,
        ),
        Builder(
            "commonsense_qa",
            HubSource("tau/commonsense_qa", None, "94630fe30dad47192a8546eb75f094926d47e155"),
            "MIT",
            _KEYED,
            _keyed("question"),
        ),
        Builder(
            "sciq",
            HubSource("allenai/sciq", None, "2c94ad3e1aafab77146f384e23536f97a4849815"),
            "CC BY-NC 3.0",
            ("question", "correct_answer", "distractor1", "distractor2", "distractor3"),
            _sciq,
        ),
    )
}


@dataclass(frozen=True)
class TaskSizes:
    """Rows of train, validation and test; characters of prompts at five quantiles (.1 to .9), and of a
    choice, its space included, in the mean; choices of a row, the rounded mean.
    """

    rows: tuple[int, int, int]
    prompt_chars: tuple[int, int, int, int, int]
    choice_chars: int
    choices: int


SIZES = {
    "truthfulqa": TaskSizes((550, 62, 205), (49, 60, 68, 81, 111), 48, 5),
    "rte": TaskSizes((2241, 249, 277), (177, 234, 284, 370, 662), 6, 2),
    "cb": TaskSizes((225, 25, 56), (196, 268, 340, 420, 600), 6, 3),
    "copa": TaskSizes((360, 40, 100), (29, 36, 42, 48, 57), 29, 2),
    "wic": TaskSizes((4928, 500, 638), (142, 159, 173, 188, 216), 4, 2),
    "wsc": TaskSizes((499, 55, 104), (133, 152, 168, 193, 282), 4, 2),
    "boolq": TaskSizes((8927, 500, 3270), (314, 459, 586, 741, 1032), 4, 2),
    "arc_easy": TaskSizes((2025, 226, 570), (65, 85, 108, 148, 224), 24, 4),
    "arc_challenge": TaskSizes((1007, 112, 299), (70, 93, 125, 172, 242), 30, 4),
    "hellaswag": TaskSizes((39405, 500, 10042), (70, 103, 128, 157, 216), 72, 4),
    "openbookqa": TaskSizes((4461, 496, 500), (44, 57, 68, 83, 112), 16, 4),
    "winogrande": TaskSizes((39898, 500, 1267), (53, 64, 71, 81, 98), 31, 2),
    "commonsense_qa": TaskSizes((9241, 500, 1221), (56, 69, 82, 97, 125), 10, 5),
    "sciq": TaskSizes((11179, 500, 1000), (61, 75, 88, 105, 137), 11, 4),
}


class SizedRows(Sequence[Example]):
    """As many examples as a split has, of its lengths and without its words."""

    sha256 = "rows that are not at hand"

    def __init__(self, task: str, split: str) -> None:
        self._task, self._split, self._sizes = task, split, SIZES[task]

    def __len__(self) -> int:
        return self._sizes.rows[SPLITS.index(self._split)]

    def __iter__(self) -> Iterator[Example]:
        return map(self._make, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        places = range(len(self))[place]
        return self._make(places) if isinstance(places, int) else [self._make(each) for each in places]

    def _make(self, index: int) -> Example:
        sizes, name = self._sizes, f"{self._split}-{index:06d}"
        length = sizes.prompt_chars[index % len(sizes.prompt_chars)]
        choices = tuple(f" {number}".ljust(sizes.choice_chars, "x") for number in range(sizes.choices))
        return Example(self._task, name, "x" * length, choices, index % sizes.choices, name)


def sized_rows(task: str) -> Mapping[str, SizedRows]:
    """By split as many rows as the task has."""
    return {split: SizedRows(task, split) for split in SPLITS}
