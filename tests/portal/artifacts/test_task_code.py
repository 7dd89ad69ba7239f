"""What a core takes of tasks: stacked for a forward, kept as tensors, compared to the last bit."""

import torch

from portal.artifacts.task_code import TaskCode, code_tensors, residual_keys, stack_residuals

WIDTH = 5


def code(rank: int, seed: int = 0, modules: tuple[str, ...] = ("q", "v")) -> TaskCode:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    residual = {module: (draw(rank, WIDTH), draw(WIDTH, rank)) for module in modules if rank}
    return TaskCode(draw(3), residual)


def test_residuals_of_unequal_rank_are_stacked_with_zeros_that_add_nothing() -> None:
    codes = [code(1), code(0), code(2, seed=1)]

    stacked = stack_residuals(codes)

    assert stacked is not None
    for module, (a_TQC, b_TCQ) in stacked.items():
        assert (a_TQC.shape, b_TCQ.shape) == ((3, 2, WIDTH), (3, WIDTH, 2))
        for task, own in enumerate(codes):
            a_QC, b_CQ = own.residual.get(module, (torch.zeros(1, WIDTH), torch.zeros(WIDTH, 1)))
            torch.testing.assert_close(b_TCQ[task] @ a_TQC[task], b_CQ @ a_QC)
    assert stack_residuals([code(0), code(0)]) is None


def test_what_stacking_adds_is_trimmed_again() -> None:
    codes = {"one": code(1), "two": code(2, seed=1)}
    tensors = code_tensors(codes)

    for index, own in enumerate(codes.values()):
        padded = {
            module: (tensors[f"residual.A.{module}"][index], tensors[f"residual.B.{module}"][index])
            for module in ("q", "v")
        }
        assert TaskCode(own.latent, padded).trimmed().equals(own)
    assert code(0).trimmed().equals(code(0))


def test_tensors_and_config_keys_name_only_tasks_with_a_residual() -> None:
    codes = {"one": code(0), "two": code(2), "three": code(1)}

    tensors = code_tensors(codes)

    assert residual_keys(codes) == {"residual_rank": 2, "residual_tasks": ("two", "three")}
    assert tensors["task_latents"].shape == (3, 3)
    assert tensors["residual.A.q"].shape == (2, 2, WIDTH)
    assert code_tensors({"one": code(0)}).keys() == {"task_latents"}
    assert residual_keys({"one": code(0)}) == {"residual_rank": 0, "residual_tasks": ()}


def test_codes_are_equal_only_with_equal_latents_and_residuals() -> None:
    assert code(2).equals(code(2))
    assert not code(2).equals(code(2, seed=1))
    assert not code(0).equals(code(2))
    assert not code(2).equals(code(2, modules=("q",)))
    assert not TaskCode(code(2).latent, {"q": code(2).residual["q"]}).equals(code(2))
    assert not TaskCode(code(2).latent, code(2, seed=1).residual).equals(code(2))
