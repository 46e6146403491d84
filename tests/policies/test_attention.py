"""Attention: the same numbers whatever the precision around it, and in 32 bits on a processor."""

import pytest
import torch
from torch.nn import functional

from kinema.policies.attention import attend


@pytest.mark.parametrize("autocast", [False, True])
def test_on_a_processor_bfloat16_is_computed_in_32_bits_also_where_torch_casts_by_itself(autocast, monkeypatch):
    seen, torchs = [], functional.scaled_dot_product_attention

    def watched(*given):
        with torch.autocast("cpu", enabled=False):
            found = torchs(*given)
        seen.append((given[0].dtype, torch.is_autocast_enabled("cpu")))
        return found

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    query, key, value = (torch.randn(2, 3, n, 8, generator=torch.manual_seed(n)) for n in (5, 7, 7))
    wanted = torch.softmax(query @ key.transpose(2, 3) / 8**0.5, dim=3) @ value
    torch.testing.assert_close(attend(query, key, value), wanted)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert found.dtype == torch.bfloat16 and seen == [(torch.float32, False)] * 2
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
