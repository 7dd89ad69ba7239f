"""What would make a run fail later is refused before anything starts."""

from collections.abc import Sequence

import pytest

from portal.config import BaseRef, Precision
from sweeps.planning.checks import check_nodes, check_precisions
from sweeps.planning.devices import find_device
from tests.support.precision import cpu_with


def ref(precision: Precision) -> BaseRef:
    return BaseRef(name="base", revision="0", precision=precision)


def test_nodes_that_lack_bf16_are_named_where_a_base_is_in_it() -> None:
    with pytest.raises(ValueError, match="on a CPU, and node-2, node-7 has neither; run it on") as raised:
        check_nodes([ref("default"), ref("bf16")], lambda: ["node-7", "node-2"])

    assert "\n" not in str(raised.value)
    check_nodes([ref("bf16")], list)


def test_nodes_are_not_asked_where_no_base_is_in_bf16() -> None:
    def ask() -> Sequence[str]:
        raise AssertionError("nobody needs to know")

    check_nodes([ref("default")], ask)
    check_nodes([], ask)


def test_a_plan_for_a_gpu_takes_what_this_cpu_cannot_do() -> None:
    with cpu_with():
        check_precisions([ref("bf16")], find_device("b200"))
        with pytest.raises(ValueError, match="needs AVX512-BF16 or AMX-BF16"):
            check_precisions([ref("bf16")], find_device("cpu"))


def test_finished_runs_need_no_precision() -> None:
    with cpu_with():
        check_precisions([])
