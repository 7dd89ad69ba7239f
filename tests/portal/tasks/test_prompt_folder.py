"""Folders of finished prompts whose answers are written; test_suite.py has those with choices."""

from pathlib import Path

import pytest

from portal.answers import AnswerConfig
from portal.data.suites import load_suite
from portal.tasks.example import SPLITS, Written
from tests.support.task_files import write_jsonl


def test_a_folder_of_prompts_may_have_written_answers(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"prompt": f"{split} {n}:", "answers": [f"Town {n}", "gone"]} for n in range(4)]
        write_jsonl(tmp_path / "towns" / f"{split}.jsonl", rows)
        choices = [{"prompt": f"{split} {n}:", "choices": [" a", " b"], "gold": 0} for n in range(4)]
        write_jsonl(tmp_path / "pick" / f"{split}.jsonl", choices)
    suite = load_suite(str(tmp_path))
    assert suite.answers_of(suite.tasks) == {"towns": AnswerConfig()}
    assert suite.examples("towns", "test")[0].written == Written(("Town 0", "gone"))
    assert suite.examples("pick", "test")[0].written is None

    (tmp_path / "answers.yaml").write_text("towns: {metric: contains, max_new_tokens: 5}\n")
    assert suite.answers_of(["towns"]) == {"towns": AnswerConfig(metric="contains", max_new_tokens=5)}
    (tmp_path / "answers.yaml").write_text("town: {metric: contains}\n")
    with pytest.raises(ValueError, match="the folder has no task 'town'; did you mean 'towns'"):
        suite.answers_of(["towns"])
    (tmp_path / "answers.yaml").write_text("towns: {metrics: contains}\n")
    with pytest.raises(ValueError, match="did you mean 'metric'"):
        suite.answers_of(["towns"])
    write_jsonl(tmp_path / "towns" / "test.jsonl", [{"prompt": "x", "answer": " "}])
    with pytest.raises(ValueError, match=r"test.jsonl, row 0: task 'towns', example '0000000': empty answer"):
        load_suite(str(tmp_path)).examples("towns", "test")
