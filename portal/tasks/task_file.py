"""`TaskFile`: a user's own task without code, as YAML over the columns of a data set.

task: capitals                     # default: the file's name
kind: geography                    # optional: the skill that it shares with other tasks
data: rows                         # folder of SPLIT.parquet or SPLIT.jsonl, or one file; rows of one file
                                   # that names its splits say theirs in a column `split`
hub: {repo: org/name, config: main, revision: COMMIT}       # instead of data
splits: {train: train, validation: dev, test: validation}   # the publisher's names; default: those of train,
                                   # validation and test that are there. A validation or test split that is
                                   # not named is carved from the training rows
prompt: "Question: {question}\\nAnswer:"
choices: ["{a}", "{b}"]            # templates, or the name of a column that holds a list
keys: options.label                # optional: the column with the choices' keys
gold: answer                       # a column: an index, a key, or a choice's text
answer: text                       # instead of choices, keys and gold: the base writes the answer
references: ["{answer}"]           # templates of right answers, or the name of a column with one or several
tests: tests                       # optional: the column with tests of programs, which then judge answers
messages: messages                 # instead of prompt and references: a column with a conversation
tools: tools                       # optional: the column with the tools that a template is given
metric: exact_match                # how written answers are judged: docs/tasks.md lists metrics
pattern: "#### (.*)"               # optional: what of an answer is judged, a regular expression
stop: ["\\n"]                      # optional: texts before which an answer ends
max_new_tokens: 64                 # most tokens of an answer
cluster: [passage]                 # optional: rows alike in these columns belong together
descriptions: [Name the capital.]  # optional: what the task is, in one or more phrasings
licence: MIT
"""

from typing import Literal

from pydantic import Field, model_validator

from portal.answers import AnswerConfig
from portal.frozen import Frozen
from portal.tasks.builder import check_kind_name, check_task_name

_JUDGING = ("metric", "pattern", "stop", "max_new_tokens")
"""Keys of a file that are fields of its AnswerConfig."""


class HubFile(Frozen):
    """A hub data set; without a revision its newest commit is read."""

    repo: str
    config: str | None = None
    revision: str | None = None


class SplitNames(Frozen):
    """The publisher's names of our splits."""

    train: str = "train"
    validation: str | None = None
    test: str | None = None


class TaskFile(Frozen):
    """The content of a YAML task file."""

    task: str | None = None
    kind: str | None = None
    data: str | None = None
    hub: HubFile | None = None
    splits: SplitNames | None = None  # None: the names are those of ours that the rows have
    answer: Literal["choice", "text"] = "choice"
    prompt: str | None = None
    choices: str | tuple[str, ...] | None = None
    keys: str | None = None
    gold: str | None = None
    references: str | tuple[str, ...] | None = None
    tests: str | None = None
    messages: str | None = None
    tools: str | None = None
    metric: str | None = None
    pattern: str | None = None
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    cluster: tuple[str, ...] = Field(default=())
    descriptions: tuple[str, ...] = Field(default=())
    licence: str = "not stated"

    @model_validator(mode="after")
    def _has_one_source(self) -> "TaskFile":
        if (self.data is None) == (self.hub is None):
            raise ValueError("give one of 'data' and 'hub'")
        if self.task is not None:
            check_task_name(self.task)
        if self.kind is not None:
            check_kind_name(self.kind)
        if not all(text.strip() for text in self.descriptions):
            raise ValueError("descriptions: one of them is empty")
        return self

    @model_validator(mode="after")
    def _has_the_parts_of_its_answer(self) -> "TaskFile":
        """What an answer of its kind needs is there, and nothing of the other kind."""
        of_choices, of_text = (
            ("choices", "keys", "gold"),
            ("references", "tests", "messages", "tools", *_JUDGING),
        )
        needed: tuple[str, ...]
        foreign: tuple[str, ...]
        if self.answer == "choice":
            needed, foreign = ("prompt", "choices", "gold"), of_text
        elif self.messages is not None:
            needed, foreign = ("messages",), ("prompt", "references", "tests", *of_choices)
        else:
            needed, foreign = ("prompt", "references"), ("tools", *of_choices)
        given = {name for name in (*needed, *foreign) if getattr(self, name) not in (None, ())}
        if missing := [name for name in needed if name not in given]:
            more = " (or messages)" if self.answer == "text" else " (or write answer: text)"
            raise ValueError(f"{missing[0]}: a task with answer: {self.answer} needs it{more}")
        if wrong := [name for name in foreign if name in given]:
            raise ValueError(f"{wrong[0]}: a task with answer: {self.answer} has no place for it")
        return self

    @property
    def judging(self) -> AnswerConfig | None:
        """How written answers end and are judged; None for choices. ValueError like AnswerConfig."""
        if self.answer == "choice":
            return None
        given = {name: getattr(self, name) for name in _JUDGING if getattr(self, name) is not None}
        return AnswerConfig(**given)
