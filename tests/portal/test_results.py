"""Tables and records of a study and of its runs: columns, versions old and new, refusal of anything else."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.results import (
    ADDED_COLUMNS,
    LOSSES,
    LOSSES_FILE,
    PREDICTIONS,
    QUESTIONS,
    QUESTIONS_FILE,
    RESULTS,
    RUNS,
    RUNS_FILE,
    SCHEMA_VERSION,
    STUDY_FILE,
    AbsentRun,
    Question,
    RunDetail,
    StudyInfo,
    read_questions,
    read_run_details,
    read_study_info,
    read_table,
    run_columns,
    tasks_by_kind,
    write_table,
)
from tests.support.bases import make_run
from tests.support.result_tables import as_of_version


def results(count: int = 2) -> pa.Table:
    row: dict[str, Any] = dict.fromkeys(RESULTS.names)
    row |= {"run": "0" * 16, "method": "portal", "label": "all", "sources": ["a", "b"], "acc": 0.5}
    row |= {"acc_norm": 0.25}
    return pa.Table.from_pylist([row | {"epoch": epoch} for epoch in range(count)], schema=RESULTS)


def predictions() -> pa.Table:
    row = {
        "run": "0" * 16,
        "task": "sums",
        "epoch": 0,
        "split": "test",
        "example": "000",
        "cluster": "c",
        "scores": [-1.5, -2.0],
        "chars": [2, 3],
        "bytes": [2, 4],
        "tokens": [1, 1],
        "lm_eval_chars": [1, 2],
        "gold": 1,
        "value": None,
    }
    return pa.Table.from_pylist([row], schema=PREDICTIONS)


def test_tables_come_back_equal_and_the_last_one_alone_is_there(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    for table, schema in ((results(3), RESULTS), (predictions(), PREDICTIONS), (results(), RESULTS)):
        write_table(table, path)

        assert read_table(path, schema).equals(table)
    assert results()["log_loss"].null_count == 2
    assert [*tmp_path.iterdir()] == [path]


def test_a_missing_or_damaged_file_is_refused_saying_what_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    with pytest.raises(ValueError, match="no such result table; `portal sweep collect` writes it"):
        read_table(path, RESULTS)
    write_table(results(50), path)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    cut = [whole[: int(kept * len(whole))] for kept in (0.0, 0.02, 0.5, 0.9, 0.999)]
    for data in (*cut, whole[: -8 - footer] + bytes(footer) + whole[-8:]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"results.parquet: not a readable Parquet file"):
            read_table(path, RESULTS)


def of_version(version: bytes, table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({b"portal_schema_version": version})


def test_a_table_of_another_version_or_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    unlike, own = "columns differ from schema version", str(SCHEMA_VERSION).encode()
    more = results().append_column("more", pa.array([1, 2]))
    for table, message in (
        (results().replace_schema_metadata(None), "schema version none; not a table that portal wrote"),
        (of_version(b"new", results()), "schema version new; not a table that portal wrote"),
        (of_version(b"999", more), f"999, this version reads up to {SCHEMA_VERSION}; update portal-sweeps"),
        (of_version(b"3", results()), rf"{unlike} 3 \(calibrated, choices_together, keeps_best\)"),
        (results().drop_columns("seed"), rf"{unlike} {SCHEMA_VERSION} \(seed\)"),
        (of_version(own, more), rf"{unlike} {SCHEMA_VERSION} \(more\)"),
        (results().set_column(0, "run", pa.array([1, 2])), rf"{unlike} .* \(their order or types\)"),
        (predictions(), unlike),
    ):
        pq.write_table(table, path)
        with pytest.raises(ValueError, match=message):
            read_table(path, RESULTS)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_table_of_an_older_version_reads_as_one_of_today(tmp_path: Path, version: int) -> None:
    for table, schema in ((results(), RESULTS), (predictions(), PREDICTIONS)):
        path = tmp_path / "table.parquet"
        pq.write_table(as_of_version(table, version), path)

        read = read_table(path, schema)
        assert read.schema.equals(schema)
        assert read.schema.metadata == schema.metadata
        for name in schema.names:
            added = ADDED_COLUMNS.get(name)
            if added is None or added.since <= version:
                assert read[name].equals(table[name]), name
            elif added.copies is not None:
                assert read[name].to_pylist() == table[added.copies].to_pylist()
            elif added.default is not None:
                assert set(read[name].to_pylist()) == {added.default}
            else:
                assert read[name].null_count == table.num_rows, name


def test_some_columns_of_some_rows_of_an_older_table_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(as_of_version(predictions(), 1), path)

    columns = ["lm_eval_chars", "gold"]
    read = read_table(path, PREDICTIONS, columns=columns, filters=[("split", "==", "test")])
    assert read.to_pylist() == [{"lm_eval_chars": None, "gold": 1}]
    assert read_table(path, PREDICTIONS, columns=columns, filters=[("split", "==", "x")]).num_rows == 0


def test_the_columns_of_a_run_are_columns_of_a_result() -> None:
    source, base = make_run("source", "a", "b"), make_run("base", "a")

    columns = run_columns(source, "wide")
    assert set(columns) <= set(RESULTS.names)
    assert columns["run"] == source.key
    assert (columns["label"], columns["base"], columns["modules"]) == ("wide", "a+b", "q,v")
    assert {
        name: value for name, value in run_columns(base, "base").items() if value is None
    } == dict.fromkeys(("sources", "modules", "rank", "size", "seed"))


def test_a_control_that_shows_a_port_has_its_size_and_a_transfer_has_none() -> None:
    sizes = {
        method: run_columns(make_run(method, "a", data={"size": 4}), method)["size"]
        for method in ("portal", "mean_latent", "shared_lora", "cross_lora", "base")
    }

    assert sizes == {"portal": 4, "mean_latent": 4, "shared_lora": 4, "cross_lora": None, "base": None}


def test_a_studys_record_comes_back_as_it_was_and_where_nobody_wrote_one_it_is_empty(tmp_path: Path) -> None:
    absent = AbsentRun(
        **run_columns(make_run("portal", "a"), "portal"), cause="loss is nan", log="lane-0.log"
    )
    info = StudyInfo(
        facts={"study": "mine", "bases": {"a": "1"}, "seeds": ("0", "1")},
        failed=(absent,),
        notes=("A note.",),
        workers={"k": 2},
        device_share=0.5,
        kinds={"sums_1": "sums"},
    )
    assert read_study_info(tmp_path) == StudyInfo()
    (tmp_path / STUDY_FILE).write_text(json.dumps(info.to_json()))

    assert read_study_info(tmp_path) == info
    assert info.absent == (absent,)
    assert "kinds" not in StudyInfo().to_json()  # without any, the record is an earlier version's
    (tmp_path / STUDY_FILE).write_text('{"facts": {"study": "old"}, "missing": [{"method": "lora"}]}')
    old = StudyInfo(facts={"study": "old"}, missing=(AbsentRun(method="lora"),))
    assert read_study_info(tmp_path) == old


def test_what_is_no_record_is_refused_by_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / STUDY_FILE
    for record, message in {
        '{"fact": {}}': "fact: unknown key; did you mean 'facts'?",
        '{"failed": [{"cuase": "x"}]}': "failed.0.cuase: unknown key; did you mean 'cause'?",
        '{"facts": {"seeds": 3}}': "facts.seeds.str: Input should be a valid string (got 3)",
        '{"device_share": 0}': "device_share: Input should be greater than 0",
        "[]": "(not a JSON object)",
        "{": "(not readable as JSON, line 1)",
    }.items():
        path.write_text(record)
        with pytest.raises(ValueError, match=f"{path}: not a study's record") as refused:
            read_study_info(tmp_path)
        assert message in str(refused.value)
        assert "`portal sweep collect` writes it anew" in str(refused.value)


def test_tasks_are_grouped_by_kind_where_two_share_one_and_those_of_none_come_last() -> None:
    groups = tasks_by_kind(["z", "b2", "a1", "b1"], {"b2": "b", "a1": "a", "b1": "b"})

    assert list(groups.items()) == [("a", ("a1",)), ("b", ("b1", "b2")), ("no kind", ("z",))]
    for kinds in ({}, {"x": "a", "y": "b"}, {"x": "a"}):
        assert tasks_by_kind(["x", "y", "z"], kinds) == {}


SETTINGS = {"method": "portal", "seed": 0, "bases": [{"name": "big"}]}
DONE = RunDetail(
    "b" * 16, "half", "portal big s0", "done", None, {**SETTINGS, "train": {"lr": 1e-3}}, "cpu", 2,
    ("plain",), 10**9, ("one", "two"), ((10, 2.5), (20, 1.5)),
)  # fmt: skip
FAILED = RunDetail("a" * 16, "lora", "lora big s0", "failed", "the loss is nan", SETTINGS)


def test_runs_come_back_in_their_order_with_their_losses_and_questions_by_example(tmp_path: Path) -> None:
    assert (read_run_details(tmp_path), read_questions(tmp_path)) == ({}, {})
    row = {"task": "t", "example": "e", "prompt": "who?", "choices": [" me", " you"]}
    losses = [{"run": DONE.run, "step": step, "loss": loss} for step, loss in DONE.losses]
    for rows, schema, file in (
        ([DONE.row(), FAILED.row()], RUNS, RUNS_FILE),
        (losses, LOSSES, LOSSES_FILE),
        ([row], QUESTIONS, QUESTIONS_FILE),
    ):
        write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / file)

    assert list(read_run_details(tmp_path).items()) == [(DONE.run, DONE), (FAILED.run, FAILED)]
    assert read_questions(tmp_path) == {("t", "e"): Question("who?", (" me", " you"))}


def test_a_row_that_no_study_has_and_another_table_of_that_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / RUNS_FILE
    settings = ("{", "[]", "{}", '{"method": 1, "seed": 0, "bases": []}')
    changes: list[dict[str, Any]] = [{"run": run} for run in ("../../etc/x", None, "A" * 16)]
    changes += [{"settings": text} for text in settings] + [{"state": "dancing"}, {"label": None}]
    for change in changes:
        write_table(pa.Table.from_pylist([{**DONE.row(), **change}], schema=RUNS), path)
        with pytest.raises(ValueError, match=r"runs\.parquet: not a table that portal wrote"):
            read_run_details(tmp_path)
    write_table(QUESTIONS.empty_table(), path)
    with pytest.raises(ValueError, match=r"runs\.parquet: columns differ from schema version"):
        read_run_details(tmp_path)
