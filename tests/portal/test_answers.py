"""`AnswerConfig`: what cannot be read is refused where it is written."""

import pytest
from pydantic import ValidationError

from portal.answers import AnswerConfig


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"pattern": "(a"}, "pattern '\\(a' is no regular expression"),
        ({"stop": [""]}, "at least 1 character"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"metrics": "exact_match"}, "Extra inputs"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AnswerConfig.model_validate(wrong)
