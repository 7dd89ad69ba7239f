"""`AnswerConfig`: how answers that a base writes to a task end, and how they are judged."""

import re
from typing import Annotated

from pydantic import Field, model_validator

from portal.frozen import Frozen


class AnswerConfig(Frozen):
    """Of one task.

    An answer ends before one of the texts in `stop`, with an end token of the base, or after
    `max_new_tokens`. Its last match of the regular expression `pattern` (its first group, if it has one) is
    what `metric` compares with the references: one of evaluate.text_metrics, or a function of one's own as
    `module:function`.
    """

    metric: str = "exact_match"
    max_new_tokens: int = Field(default=64, ge=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    pattern: str | None = None

    @model_validator(mode="after")
    def _pattern_is_readable(self) -> "AnswerConfig":
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from None
        return self
