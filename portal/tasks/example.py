"""`Example`: one multiple-choice question in text, the form every task is brought to."""

from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One question with its answer choices.

    `choices` carry their own leading space. `cluster` groups near-duplicates (rows that share a passage or a
    source), the unit of resampling in confidence intervals. Raises ValueError, naming task and example, for
    empty or duplicate choices, fewer than two of them, or a gold index out of range.
    """

    task: str
    id: str
    prompt: str
    choices: tuple[str, ...]
    gold: int
    cluster: str

    def __post_init__(self) -> None:
        where = f"task {self.task!r}, example {self.id!r}"
        if not self.prompt:
            raise ValueError(f"{where}: the prompt is empty")
        if len(self.choices) < 2:
            raise ValueError(f"{where}: {len(self.choices)} choice(s), at least 2 are needed")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError(f"{where}: a choice is empty")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"{where}: two choices are equal: {self.choices}")
        if not 0 <= self.gold < len(self.choices):
            raise ValueError(f"{where}: gold index {self.gold} is outside 0..{len(self.choices) - 1}")
