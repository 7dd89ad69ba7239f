"""Cross-LoRA: worked cases, the sign rule, the layer map, and norms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from portal.learners.cross_lora import RANK_LIMIT, Basis, source_layer, transfer, update_norm, weight_basis


def factors(d_in: int, d_out: int, *, rank: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator)


def weight(d_out: int, d_in: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["coordinate", "project"])
def test_a_square_matrix_gives_its_own_adapter_back_at_full_rank(mode: str) -> None:
    a, b = factors(24, 24)
    basis = weight_basis(weight(24, 24))

    again = transfer(a, b, source=basis, target=basis, mode=mode)

    torch.testing.assert_close(again, (a, b), rtol=1e-4, atol=1e-5)


def test_between_widths_the_update_keeps_its_coordinates_in_the_singular_vectors() -> None:
    a, b = factors(20, 30)
    source, target = weight_basis(weight(30, 20)), weight_basis(weight(44, 36, seed=2))

    a_t, b_t = transfer(a, b, source=source, target=target, mode="coordinate")

    assert (a_t.shape, b_t.shape) == ((4, 36), (44, 4))
    kept = 20
    expected = source.u_OR.T @ (b @ a) @ source.v_IR
    found = target.u_OR[:, :kept].T @ (b_t @ a_t) @ target.v_IR[:, :kept]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_projecting_twice_is_projecting_once() -> None:
    a, b = factors(20, 30)
    target = weight_basis(weight(30, 20))

    once = transfer(a, b, source=target, target=target, mode="project")
    twice = transfer(*once, source=target, target=target, mode="project")

    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-5)
    assert update_norm(*once) < update_norm(a, b)


def test_projection_needs_equal_widths() -> None:
    source, target = weight_basis(weight(30, 20)), weight_basis(weight(30, 24))

    with pytest.raises(ValueError, match="30 x 20 on the source and 30 x 24 on the target; use mode 'coor"):
        transfer(*factors(20, 30), source=source, target=target, mode="project")


def test_the_largest_entry_of_every_left_vector_is_positive_and_the_product_is_the_weight() -> None:
    matrix = weight(18, 12)

    basis = weight_basis(matrix)

    assert (basis.u_OR.gather(0, basis.u_OR.abs().argmax(0)[None]) > 0).all()
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(basis.u_OR * values @ basis.v_IR.T, matrix, rtol=1e-4, atol=1e-5)


def test_flipping_signs_of_the_decomposition_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = weight(18, 12)
    expected = weight_basis(matrix)
    plain = torch.linalg.svd

    def flipped(weight: torch.Tensor, **options: bool) -> tuple[torch.Tensor, ...]:
        u, s, v = plain(weight, **options)
        sign = torch.tensor([1.0, -1.0]).repeat(6)
        return u * sign, s, v * sign[:, None]

    monkeypatch.setattr(torch.linalg, "svd", flipped)
    found = weight_basis(matrix)

    assert torch.equal(found.u_OR, expected.u_OR)
    assert torch.equal(found.v_IR, expected.v_IR)


def test_no_more_vectors_are_kept_than_the_limit() -> None:
    basis = weight_basis(weight(RANK_LIMIT + 30, RANK_LIMIT + 10))

    assert basis.rank == RANK_LIMIT
    assert basis.v_IR.shape == (RANK_LIMIT + 10, RANK_LIMIT)


def test_fewer_vectors_of_one_side_limit_both() -> None:
    source, target = weight_basis(weight(30, 20)), weight_basis(weight(12, 10, seed=3))
    a, b = factors(20, 30)

    narrow = Basis(source.u_OR[:, :10], source.v_IR[:, :10])

    found = transfer(a, b, source=source, target=target, mode="coordinate")
    expected = transfer(a, b, source=narrow, target=target, mode="coordinate")
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@given(num_source=st.integers(1, 60), num_target=st.integers(1, 60))
def test_layers_map_in_order_and_end_to_end(num_source: int, num_target: int) -> None:
    layers = [source_layer(i, num_source=num_source, num_target=num_target) for i in range(num_target)]

    assert layers == sorted(layers)
    assert layers[0] == 0
    assert num_target == 1 or layers[-1] == num_source - 1
    assert num_source != num_target or layers == list(range(num_target))


def test_the_layer_map_is_the_formula() -> None:
    assert [source_layer(i, num_source=36, num_target=34) for i in (1, 16, 17, 33)] == [1, 17, 18, 35]


def test_the_norm_is_that_of_the_product() -> None:
    a, b = factors(20, 30)

    assert math.isclose(update_norm(a, b), torch.linalg.matrix_norm(b @ a).item(), rel_tol=1e-5)
    assert update_norm(a, torch.zeros(30, 4)) == 0.0
