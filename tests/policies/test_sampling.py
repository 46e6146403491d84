"""The sampler against closed forms: of a Gaussian the perfect denoiser is known."""

import pytest
import torch

from kinema.policies import sampling


def test_the_levels_run_from_the_highest_to_zero():
    sigmas = sampling.karras(30)
    assert sigmas.shape == (31,) and sigmas.dtype == torch.float32
    assert sigmas[0] == pytest.approx(700.0) and sigmas[-2] == pytest.approx(0.002) and sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert (sigmas > 10).sum() == 16  # MODEL_FACTS: 16 of the 30 levels


def test_a_level_of_one_step_is_the_highest():
    assert sampling.karras(1).tolist() == [pytest.approx(700.0), 0.0]


def test_the_answer_asked_for_gives_the_clean_signal_back():
    clean, noise = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.002, 0.3, 1.0, 20.0, 700.0])
    _, velocity = sampling.diffuse(clean, noise, sigma)
    noisy = clean + sigma[:, None, None] * noise
    torch.testing.assert_close(sampling.denoised(noisy, velocity, sigma), clean, atol=2e-4, rtol=0)


def test_an_error_of_the_answer_weighs_as_in_edm():
    clean, noise, answer = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.05, 0.7, 3.0, 50.0], dtype=torch.float64)
    scaled, velocity = sampling.diffuse(clean, noise, sigma)
    assert scaled.var() < 2
    noisy = clean + sigma[:, None] * noise
    error = sampling.denoised(noisy, answer, sigma) - clean
    weighted = ((sigma**2 + 1) / sigma**2)[:, None] * error**2
    torch.testing.assert_close((answer - velocity) ** 2, weighted)


def test_sampling_with_the_perfect_denoiser_draws_from_its_distribution():
    mean, std = 0.5, 0.8

    def denoise(noisy, sigma):
        return (std**2 * noisy + sigma**2 * mean) / (std**2 + sigma**2)

    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    drawn = sampling.sample(denoise, noise, sampling.karras(300))  # Euler's own error shrinks std by 12 % at 30
    assert drawn.mean() == pytest.approx(mean, abs=0.03) and drawn.std() == pytest.approx(std, rel=0.05)
    assert torch.equal(drawn, sampling.sample(denoise, noise, sampling.karras(300)))


def test_guidance_goes_beyond_the_conditional_answer():
    without, given = torch.zeros(3), torch.ones(3)
    assert sampling.guided(without, given, 1.0).tolist() == [1, 1, 1]
    assert sampling.guided(without, given, 2.0).tolist() == [2, 2, 2]


def test_training_levels_follow_their_distribution():
    drawn = sampling.log_normal(torch.randn(50_000, generator=torch.Generator().manual_seed(0))).log()
    assert drawn.mean() == pytest.approx(1.0, abs=0.03) and drawn.std() == pytest.approx(1.6, rel=0.02)
