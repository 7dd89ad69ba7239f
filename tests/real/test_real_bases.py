"""On real pretrained weights: lm-eval's accuracies, and adapters that peft reads as they were trained."""

import json
from pathlib import Path

import pytest
import torch

from portal.bases.base import Base, load_base
from portal.cli.app import main
from portal.data.sampling import evaluation_rows
from portal.data.suites import load_suite
from portal.data.token_rows import encode_example
from portal.evaluate.loglikelihood import score_rows
from sweeps.study.catalogue import find_study
from sweeps.study.expand import load_study
from tests.support.markdown import ROOT
from tests.support.shared import BASES, ROWS, needs_rows

TASKS = ("arc_easy", "copa", "sciq")
LIMIT = 100


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> Base:
    torch.set_num_threads(2)
    return load_base(request.param)


@needs_rows
@pytest.mark.timeout(1800)
def test_eval_gives_lm_evals_accuracies_on_the_same_rows_and_prompts(
    base: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    """Log-likelihoods within 1e-3 (sums over up to 30 tokens), every accuracy equal."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    command = ["eval", "--base", base.name, "--tasks", ",".join(TASKS), "--data", str(ROWS)]
    assert main([*command, "--limit", str(LIMIT), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    suite = load_suite("portal14", data=str(ROWS))
    peer = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=16, prefix_token_id=0)

    for task in TASKS:
        by_id = {example.id: example for example in suite.examples(task, "test")}
        rows = [encode_example(example, "test", base.tokenizer, max_prompt=768) for example in by_id.values()]
        rows = list(evaluation_rows(sorted(rows, key=lambda row: row.id), LIMIT))
        pairs = [(by_id[row.id].prompt, choice) for row in rows for choice in by_id[row.id].choices]
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        theirs = iter([score for score, _ in peer.loglikelihood(requests, disable_tqdm=True)])
        right = 0
        for item in score_rows(base, rows):
            scores = [next(theirs) for _ in item.scores]
            assert item.scores == pytest.approx(scores, abs=1e-3)
            right += item.acc if item.is_tied else scores.index(max(scores)) == item.row.gold
        assert printed["tasks"][task]["num_examples"] == LIMIT
        assert printed["tasks"][task]["acc"] == right / LIMIT


@needs_rows
@pytest.mark.timeout(1800)
def test_adapters_trained_on_one_base_and_ported_to_the_other_pass_the_check_on_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(ROWS), "--tasks", "copa", "--examples", "8", "--epochs", "1"]
    source, ported = tmp_path / "source", tmp_path / "ported"
    assert main(["train", "--source", "smollm2-135m", *common, "--out", str(source)]) == 0
    assert main(["port", str(source), "--to", "gemma-3-270m", *common, "--out", str(ported)]) == 0
    capsys.readouterr()

    for place, name in ((source, "smollm2-135m"), (ported, "gemma-3-270m")):
        out = tmp_path / f"adapter-{name}"
        assert main(["export", str(place), "--task", "copa", "--check", "--out", str(out)]) == 0
        assert f"checked through peft on {name}" in capsys.readouterr().out
        assert "quantised" in (out / "README.md").read_text()


@needs_rows
def test_the_study_real_cpu_in_fp32_still_stands_for_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of the time before it was run in bf16, where a CPU has that, go on with the line taken out."""
    monkeypatch.setenv("PORTAL_DATA", str(ROWS))
    pinned = json.loads((ROOT / "tests/fixtures/keys/real-cpu.json").read_text())
    shipped = find_study("real-cpu").read_text()
    assert "\nprecision: auto\n" in shipped
    before = tmp_path / "real-cpu.yaml"
    before.write_text(shipped.replace("\nprecision: auto\n", "\n"))

    assert {run.key for run in load_study(before).runs} == set(pinned)
