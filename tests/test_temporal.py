from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmer.batch import Tokens
from mmer.config import LSTMConfig, SelfAttentionConfig, TemporalConfig
from mmer.errors import ConfigError
from mmer.temporal import LSTM, SelfAttention, build_optional_temporal, build_temporal, mean_of_steps

CONFIGS: dict[str, TemporalConfig] = {
    f"{kind} {'causal' if causal else 'both ways'}": config
    for causal in (False, True)
    for kind, config in {
        "lstm": LSTMConfig("lstm", width=6, depth=2, causal=causal),
        "transformer": SelfAttentionConfig("transformer", width=8, depth=2, heads=2, causal=causal),
    }.items()
}
CAUSAL = {name: config for name, config in CONFIGS.items() if config.causal}


def build(config: TemporalConfig) -> LSTM | SelfAttention:
    torch.manual_seed(0)
    return build_temporal(5, config).eval()


def some_tokens(steps: int = 7) -> Tokens:
    """Three streams: one whole, one with holes at its beginning, in its middle and at its end, one that is missing."""
    torch.manual_seed(1)
    mask = torch.ones(3, steps, dtype=torch.bool)
    mask[1, [0, 3, steps - 1]] = False
    mask[2] = False
    return Tokens(torch.randn(3, steps, 5), mask)


@pytest.mark.parametrize("hidden", [100.0, torch.inf, torch.nan])
def test_the_mean_of_a_stream_is_that_of_its_real_steps(hidden: float) -> None:
    x = torch.tensor([[[1.0], [3.0], [hidden]], [[5.0], [5.0], [5.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_of_steps(Tokens(x, mask)).tolist() == [[2.0], [0.0]]


def test_without_a_network_steps_stay_as_they_are_and_nothing_is_kept() -> None:
    none, tokens = build_optional_temporal(5, None), some_tokens()
    assert none(tokens) is tokens and none.dim == 5
    assert not none.state_dict()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_masked_steps_never_matter_and_come_out_as_zeros(config: TemporalConfig) -> None:
    network, tokens = build(config), some_tokens()
    garbage = torch.where(tokens.mask.unsqueeze(2), tokens.x, 1e4)
    out, same = network(tokens), network(Tokens(garbage, tokens.mask))
    torch.testing.assert_close(out.x, same.x)
    assert out.x.shape == (3, 7, network.dim)
    assert out.x.isfinite().all()
    assert not out.x[~tokens.mask].any()
    assert out.x[tokens.mask].any(dim=1).all()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_padding_and_neighbours_never_matter(config: TemporalConfig) -> None:
    network, tokens = build(config), some_tokens()
    out = network(tokens).x
    longer = Tokens(
        torch.cat([tokens.x, torch.ones(3, 4, 5)], dim=1),
        torch.cat([tokens.mask, tokens.mask[2:, :4].expand(3, -1)], dim=1),
    )
    torch.testing.assert_close(network(longer).x[:, :7], out)
    for i in range(3):
        torch.testing.assert_close(network(Tokens(tokens.x[i : i + 1], tokens.mask[i : i + 1])).x[0], out[i])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_order_of_the_steps_matters(config: TemporalConfig) -> None:
    network, x = build(config), some_tokens().x[:1]
    every = torch.ones(1, 7, dtype=torch.bool)
    there, back = network(Tokens(x, every)).x, network(Tokens(x.flip(1), every)).x.flip(1)
    assert not torch.allclose(there, back, atol=1e-3)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_only_a_causal_network_ignores_what_comes_later(config: TemporalConfig) -> None:
    network, tokens = build(config), some_tokens()
    changed = tokens.x.clone()
    changed[:, 5:] += 1
    before, after = network(tokens).x[0, :5], network(Tokens(changed, tokens.mask)).x[0, :5]
    assert torch.allclose(before, after, atol=1e-6) == config.causal


@pytest.mark.parametrize("pieces", [(1,) * 7, (3, 4), (2, 4, 1)], ids=str)
@pytest.mark.parametrize("config", CAUSAL.values(), ids=CAUSAL)
def test_step_by_step_equals_all_at_once(config: TemporalConfig, pieces: tuple[int, ...]) -> None:
    network, tokens = build(config), some_tokens()
    past, outs = None, []
    for x, mask in zip(tokens.x.split(pieces, dim=1), tokens.mask.split(pieces, dim=1), strict=True):
        out, past = network.advance(Tokens(x, mask), past)
        outs.append(out.x)
    torch.testing.assert_close(torch.cat(outs, dim=1), network(tokens).x)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_parameter_receives_a_gradient_and_none_is_nan(config: TemporalConfig) -> None:
    network, tokens = build(config), some_tokens()
    out: Tensor = network(tokens).x
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LSTMConfig("lstm", width=0), r"temporal\.width=0 must be positive"),
        (lambda: LSTMConfig("lstm", dropout=1), r"temporal.dropout=1 must lie in \[0, 1\)"),
        (lambda: SelfAttentionConfig("transformer", depth=0), r"temporal\.depth=0 must be positive"),
        (lambda: SelfAttentionConfig("transformer", width=10), "width=10 must be even and a multiple of"),
        (lambda: SelfAttentionConfig("transformer", dropout=-1), r"temporal.dropout=-1 must lie in \[0, 1\)"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(wrong, message) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
