"""A planned run without results is known by its cell and by a name for people."""

from analysis.stats.result_table import Cell, MethodKey, describe_absent, is_in, method_key
from portal.results import AbsentRun

PORT = AbsentRun(
    run="abc", method="portal", label="portal-all", sources=("small",), base="big", modules="q,v", rank=8,
    size=4,
)  # fmt: skip


def test_a_run_is_in_the_cell_that_its_rows_would_be_in_by_its_label_or_else_its_method() -> None:
    cell = Cell("big", MethodKey("portal", "portal-all", "q,v", 8, ("small",)), 4)
    wider = cell.variant._replace(rank=16)

    assert is_in(PORT, cell)
    for other in (cell._replace(size=8), cell._replace(base="other"), cell._replace(variant=wider)):
        assert not is_in(PORT, other)
    assert is_in(AbsentRun(method="portal", base="big", size=4), Cell("big", method_key(PORT), 4))


def test_a_run_is_described_as_far_as_it_is_known() -> None:
    assert describe_absent(PORT) == "PorTAL (portal-all) on big, size 4 (abc)"
    assert describe_absent(AbsentRun(method="lora", base="big", seed=1)) == "per-task LoRA on big, seed 1"
    assert describe_absent(AbsentRun()) == "run"
