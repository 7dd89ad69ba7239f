"""Forms of verbs, beside lemminflect."""

import pytest

from portal.words.verbs import VERBS
from tests.support.oracles import need_oracle

TAGS = {"past": "VBD", "participle": "VBN", "gerund": "VBG", "third": "VBZ"}
WRONG_IN_ORACLE = {"sting": "gerund"}


@pytest.mark.oracle
@pytest.mark.parametrize("column", TAGS)
def test_forms_are_those_of_lemminflect_and_other_forms_are_not(column: str) -> None:
    get_inflection = need_oracle("lemminflect").getInflection

    for row in VERBS.rows:
        verb = row["verb"][0]
        if column not in row or WRONG_IN_ORACLE.get(verb) == column:
            continue
        found = set(get_inflection(verb, TAGS[column]))
        others = {row[other][0] for other in TAGS if other in row} - set(row[column])
        assert row[column][0] in found, verb
        assert not others & found, verb
