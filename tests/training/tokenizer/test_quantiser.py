"""The learnt codebooks against hand computations, identities and what k-means must do."""

import pytest
import torch

from musicgen.training.tokenizer.quantiser import ResidualCodebooks, kmeans, nearest


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_codebooks(**options: float) -> ResidualCodebooks:
    books = ResidualCodebooks(3, 16, 8, **options)
    books.initialise(torch.randn(200, 8, generator=generator(1)), 5, generator(2))
    return books


def test_moving_average_is_the_hand_computation() -> None:
    books = ResidualCodebooks(1, 2, 1, decay=0.9, dead_share=0.0)
    books.embed[:] = torch.tensor([[[0.0], [10.0]]])
    books.embed_sum[:] = torch.tensor([[[0.0], [20.0]]])
    books.counts[:] = torch.tensor([[4.0, 2.0]])
    # 1 and 3 choose entry 0, 12 chooses entry 1.
    result = books(torch.tensor([[[1.0, 3.0, 12.0]]]), generator())
    assert result.codes.tolist() == [[[0, 0, 1]]]
    # counts: 0.9 * 4 + 0.1 * 2 = 3.8 and 0.9 * 2 + 0.1 * 1 = 1.9; sums: 0.1 * 4 = 0.4 and 0.9 * 20 + 0.1 * 12 = 19.2
    torch.testing.assert_close(books.counts, torch.tensor([[3.8, 1.9]]))
    torch.testing.assert_close(books.embed_sum, torch.tensor([[[0.4], [19.2]]]))
    torch.testing.assert_close(books.embed, torch.tensor([[[0.4 / 3.8], [19.2 / 1.9]]]), rtol=1e-4, atol=0)
    # The step itself used the codebook as it was: the squared errors are 1, 9 and 4.
    assert float(result.commitment) == pytest.approx(14 / 3)
    torch.testing.assert_close(result.vectors, torch.tensor([[[0.0, 0.0, 10.0]]]))


def test_gradient_passes_straight_through() -> None:
    books = random_codebooks()
    latents = torch.randn(2, 8, 5, generator=generator(3), requires_grad=True)
    weights = torch.randn(2, 8, 5, generator=generator(4))
    (books(latents).vectors * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


def test_commitment_pulls_towards_the_sum_of_entries() -> None:
    books = ResidualCodebooks(1, 16, 8)
    books.embed[0] = torch.randn(16, 8, generator=generator(1))
    latents = torch.randn(1, 8, 4, generator=generator(3), requires_grad=True)
    result = books(latents)
    result.commitment.backward()
    # d/dx mean over T of |x - q|² = 2 (x - q) / T
    torch.testing.assert_close(latents.grad, 2 * (latents - result.vectors).detach() / 4)


def test_residuals_shrink_and_codes_rebuild_the_vectors() -> None:
    books = random_codebooks()
    latents = torch.randn(4, 8, 50, generator=generator(1))
    result = books(latents)
    parts = torch.stack([books.embed[k][result.codes[:, k]] for k in range(3)]).cumsum(dim=0)  # [K, B, T, D]
    torch.testing.assert_close(parts[-1].transpose(1, 2), result.vectors)
    errors = [float((latents.transpose(1, 2) - part).square().sum(dim=-1).mean()) for part in parts]
    assert errors[0] > 1.1 * errors[1] > 1.2 * errors[2]


def test_nearest_is_the_smallest_distance() -> None:
    vectors, entries = torch.randn(50, 6, generator=generator(1)), torch.randn(9, 6, generator=generator(2))
    expected = torch.cdist(vectors.double(), entries.double()).argmin(dim=1)
    assert torch.equal(nearest(vectors, entries), expected)


def test_kmeans_finds_separate_clusters() -> None:
    truth = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    vectors = (truth[:, None] + 0.1 * torch.randn(4, 100, 2, generator=generator(1))).flatten(0, 1)
    before, _ = kmeans(vectors, 8, 0, generator(2))
    centres, counts = kmeans(vectors, 8, 20, generator(2))

    def error(points: torch.Tensor) -> float:
        return float(torch.cdist(vectors, points).amin(dim=1).square().mean())

    assert error(centres) < 0.7 * error(before)
    assert int(counts.sum()) == len(vectors)
    assert torch.cdist(truth, centres).amin(dim=1).max() < 0.3


def test_kmeans_takes_fewer_vectors_than_entries() -> None:
    centres, counts = kmeans(torch.tensor([[1.0], [2.0]]), 5, 3, generator())
    assert set(centres.flatten().tolist()) == {1.0, 2.0}
    assert int(counts.sum()) == 2


def test_dead_entries_move_into_the_batch() -> None:
    books = ResidualCodebooks(1, 8, 2, decay=0.5, dead_share=0.1)
    books.embed[:] = 100.0
    books.embed[0, 0] = 0.0
    books.counts[:] = 1e-3
    vectors = torch.randn(1, 2, 64, generator=generator(1))
    books(vectors, generator(2))
    # Entry 0 takes all 64; the other seven are dead, and are now vectors of this batch.
    distance = torch.cdist(books.embed[0, 1:], vectors[0].t()).amin(dim=1)
    assert distance.max() < 1e-3
    assert torch.all(books.counts[0, 1:] == 64 / 8)
    codes = books(vectors).codes
    assert len(codes.unique()) >= 6


def test_without_a_generator_nothing_moves() -> None:
    books = random_codebooks()
    before = books.embed.clone()
    books(torch.randn(2, 8, 5))
    assert torch.equal(books.embed, before)


def test_the_generator_decides_everything() -> None:
    def run(seed: int) -> torch.Tensor:
        books = ResidualCodebooks(2, 16, 8, dead_share=0.9)
        data = torch.randn(64, 8, generator=generator(1))
        draws = generator(seed)
        books.initialise(data, 3, draws)
        for _ in range(3):
            books(data.t()[None], draws)
        return books.embed

    assert torch.equal(run(5), run(5))
    assert not torch.equal(run(5), run(6))
