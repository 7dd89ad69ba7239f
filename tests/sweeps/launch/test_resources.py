"""What is wanted, and what was found, in the words of the line that a launch prints."""

import pytest

from sweeps.launch.resources import Resources, Wanted
from sweeps.planning.devices import GPUS, find_device


def test_a_study_for_gpus_waits_for_one_at_least() -> None:
    assert Wanted().num_gpus == 0
    assert Wanted("cpu").num_gpus == 0
    assert Wanted("cuda").num_gpus == 1
    assert Wanted("cuda", 8).num_gpus == 8
    assert Wanted.of("auto", 8) == Wanted("cuda", 8)
    assert Wanted.of("auto", 0) == Wanted("auto")
    with pytest.raises(ValueError, match="8 GPUs are wanted with device 'cpu'"):
        Wanted("cpu", 8)


def test_a_launch_names_what_it_runs_on() -> None:
    b200 = Resources((8, 8), "cuda", GPUS["b200"], 1.0)
    unknown = Resources((2,), "cuda", None, 1.0)

    assert str(b200) == "up to 16 workers on GPUs, each with one B200"
    assert str(b200.shared(0.5)) == "up to 32 workers on GPUs, each with one 0.5 of a B200"
    assert str(unknown) == "up to 2 workers on GPUs, each with one GPU"
    assert str(unknown.shared(0.5)) == "up to 4 workers on GPUs, each with one part of a GPU"
    assert str(b200.shared(4)) == "up to 4 workers on GPUs, each with 4 x B200"
    assert str(unknown.shared(2)) == "1 worker on GPUs, each with 2 GPUs"
    assert str(Resources((1,), "cpu", find_device("cpu"))).startswith("1 worker on this CPU (")
    assert str(Resources((4, 4), "cpu", None)) == "up to 8 workers on the CPUs of the cluster"


def test_workers_with_several_gpus_have_them_on_one_node_and_compute_at_the_rate_of_one() -> None:
    found = Resources((8, 6, 1), "cuda", GPUS["b200"], 1.0)

    fours = found.shared(4)

    assert (fours.nodes, fours.gpus_per_worker) == ((2, 1, 0), 4)
    assert fours.hardware is not None
    assert (fours.hardware.num_gpus, fours.hardware.label) == (4, "4 x B200")
    assert fours.hardware.flops == GPUS["b200"].flops
    assert fours.hardware.budget_bytes == GPUS["b200"].budget_bytes
    with pytest.raises(
        ValueError, match="gpus_per_worker: 16 takes as many GPUs of one node, the largest has 8"
    ):
        found.shared(16)
