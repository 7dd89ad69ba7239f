"""`AnswerConfig`: what cannot be read is refused where it is written."""

import pytest
from pydantic import ValidationError

from portal.answers import AnswerConfig


def test_a_setting_that_cannot_be_is_refused() -> None:
    for wrong, reason in (
        ({"pattern": "(a"}, "pattern '\\(a' is no regular expression"),
        ({"stop": [""]}, "at least 1 character"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"metrics": "exact_match"}, "Extra inputs"),
    ):
        with pytest.raises(ValidationError, match=reason):
            AnswerConfig.model_validate(wrong)
