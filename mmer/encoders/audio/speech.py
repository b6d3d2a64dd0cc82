"""Pretrained speech networks to tokens: wav2vec 2.0, HuBERT, WavLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio import models, pipelines
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from mmer.batch import Tokens
from mmer.config import SpeechConfig, SpeechVariant
from mmer.encoders.frozen import freeze_but, train_but_frozen
from mmer.encoders.norms import standardise
from mmer.encoders.weights import State, load_weights
from mmer.errors import ConfigError


class Speech(nn.Module):
    """Tokens of torchaudio's wav2vec 2.0, HuBERT or WavLM, one every 20 ms: a learned mean of all its layers.

    torchaudio's own ``extract_features`` lets the padding of a batch move the answer: the first norm of the base
    networks pools over time, WavLM attends to everything, and the large ones normalise a whole batch of waveforms at
    once. This one follows it, and each clip is answered as torchaudio answers it alone.

    Args:
        config: The network, its weights, what is trained.
        load: Whether to load the weights; False when a checkpoint brings its own.
    """

    def __init__(self, config: SpeechConfig, load: bool = True) -> None:
        super().__init__()
        self.network = _NETWORKS[config.variant]()
        if load and (weights := config.weights or _own_weights(config)):
            load_weights(self.network, weights, _named(config), head="aux.", rename=_as_parametrised)
        transformer = self.network.encoder.transformer
        if not transformer.layer_norm_first:
            transformer.layer_norm = nn.Identity()  # it follows the last layer, which extract_features leaves out
        first = self.network.feature_extractor.conv_layers[0]
        self.normalise = not isinstance(first.layer_norm, nn.GroupNorm)  # the large networks were trained so
        self.mix = LayerMix(len(transformer.layers) + 1)
        self.dim = int(transformer.layers[0].attention.embed_dim)
        self.trained = _trained(self.network, config)
        freeze_but(self.network, self.trained)

    @property
    def layers(self) -> list[nn.Module]:
        """The blocks from input to output."""
        return [*self.network.encoder.transformer.layers, self.mix]

    def train(self, mode: bool = True) -> Speech:
        """Set the mode; what is frozen stays in eval mode, without dropout."""
        super().train(mode)
        train_but_frozen(self.network, self.trained, mode)
        return self

    def forward(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Tokens:
        """Encode waveforms in [-1, 1]; samples where the mask is False never matter."""
        states, mask = self.encode(x, mask)
        return Tokens(self.mix(states) * mask.unsqueeze(2), mask)

    def encode(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> tuple[list[Tensor], Bool[Tensor, "b t"]]:
        """Return what enters the transformer and what leaves each of its layers, [b t d], and which steps are real."""
        x = torch.where(mask, x, 0.0)
        if self.normalise:
            x = standardise(x, mask)
        h, mask = self._extract(x, mask)
        h = self.network.encoder.feature_projection(h) * mask.unsqueeze(2)
        transformer = self.network.encoder.transformer
        h = h + transformer.pos_conv_embed(h)
        if transformer.layer_norm_first:
            h = transformer.layer_norm(h)
        h = transformer.dropout(h)
        states, bias = [h], None
        hidden = ~mask & mask.any(dim=1, keepdim=True)  # a clip without any sound looks at itself, and stays finite
        for layer in transformer.layers:
            h, bias = layer(h, position_bias=bias, **_hide(hidden, layer.attention))
            states.append(h)
        return states, mask

    def _extract(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> tuple[Tensor, Bool[Tensor, "b t"]]:
        """Pass waveforms through the strided convolutions, [b t d]."""
        blocks = self.network.feature_extractor.conv_layers
        missing = _field([(block.kernel_size, block.stride) for block in blocks]) - x.shape[1]
        if missing > 0:  # so short a waveform is one step
            x, mask = F.pad(x, (0, missing)), F.pad(mask, (0, missing))
        h = x.unsqueeze(1)
        for block in blocks:
            mask = _covered(mask, block.kernel_size, block.stride)
            h = block.conv(h)
            if isinstance(block.layer_norm, nn.GroupNorm):
                h = _norm_over_time(h, mask, block.layer_norm)
            elif block.layer_norm is not None:
                h = block.layer_norm(h)
            h = F.gelu(h)
        return h.transpose(1, 2), mask


class LayerMix(nn.Module):
    """Mean of layers with learned weights; each is normalised first, for late layers are far louder than early ones.

    Args:
        layers: How many there are.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers))

    def forward(self, states: list[Tensor]) -> Float[Tensor, "b t d"]:
        """Return the mean."""
        mean = torch.zeros_like(states[0])
        for share, state in zip(self.weight.softmax(dim=0), states, strict=True):
            mean = mean + share * F.layer_norm(state, state.shape[-1:])
        return mean


def _hide(hidden: Bool[Tensor, "b t"], attention: nn.Module) -> dict[str, Tensor]:
    """Return the argument by which an attention is told where not to look."""
    if isinstance(attention, WavLMSelfAttention):  # it adds this to its own bias, of its parameters' type
        nothing = torch.zeros_like(hidden, dtype=attention.gru_rel_pos_const.dtype)
        return {"key_padding_mask": nothing.masked_fill(hidden, -torch.inf)}
    return {"attention_mask": (~hidden)[:, None, None].expand(-1, 1, hidden.shape[1], -1)}


def _covered(mask: Bool[Tensor, "b n"], kernel: int, stride: int) -> Bool[Tensor, "b m"]:
    """Mask of a convolution's steps: real where all that they hear is.

    A waveform shorter than a kernel has the steps that hear any of it.
    """
    fields = mask.unfold(1, kernel, stride)
    whole = fields.all(dim=2)
    return torch.where(whole.any(dim=1, keepdim=True), whole, fields.any(dim=2))


def _norm_over_time(h: Float[Tensor, "b c n"], mask: Bool[Tensor, "b n"], norm: nn.GroupNorm) -> Float[Tensor, "b c n"]:
    """Apply a GroupNorm of one channel a group over the real steps alone."""
    return standardise(h, mask.unsqueeze(1), norm.eps) * norm.weight.unsqueeze(1) + norm.bias.unsqueeze(1)


def _field(blocks: Sequence[tuple[int, int]]) -> int:
    """Return how many samples a step of stacked convolutions hears, of their kernels and strides."""
    field = 1
    for kernel, stride in reversed(blocks):
        field = (field - 1) * stride + kernel
    return field


def _trained(network: models.Wav2Vec2Model, config: SpeechConfig) -> list[nn.Module]:
    """Return the modules that are trained."""
    layers = network.encoder.transformer.layers
    match config.trainable:
        case "none":
            return []
        case "all":
            return [network]
        case int(top) if top <= len(layers):
            return list(layers[-top:])
        case _:
            raise ConfigError(
                f"trainable={config.trainable} is more than the {len(layers)} layers of {config.variant}; "
                "give fewer, or all for the whole network"
            )


def _tiny() -> models.Wav2Vec2Model:
    """Build the large networks' layout with 64 channels, four convolutions in place of seven, and two layers."""
    return models.wav2vec2_model(
        extractor_mode="layer_norm",
        extractor_conv_layer_config=[(64, 20, 10), (64, 4, 4), (64, 4, 4), (64, 2, 2)],
        extractor_conv_bias=True,
        encoder_embed_dim=64,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=32,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=256,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=True,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )


_NETWORKS: Mapping[SpeechVariant, Callable[[], models.Wav2Vec2Model]] = {
    "tiny": _tiny,
    "WAV2VEC2_BASE": models.wav2vec2_base,
    "WAV2VEC2_LARGE": models.wav2vec2_large,
    "WAV2VEC2_LARGE_LV60K": models.wav2vec2_large_lv60k,
    "WAV2VEC2_XLSR53": models.wav2vec2_large_lv60k,
    "WAV2VEC2_XLSR_300M": models.wav2vec2_xlsr_300m,
    "WAV2VEC2_XLSR_1B": models.wav2vec2_xlsr_1b,
    "WAV2VEC2_XLSR_2B": models.wav2vec2_xlsr_2b,
    "HUBERT_BASE": models.hubert_base,
    "HUBERT_LARGE": models.hubert_large,
    "HUBERT_XLARGE": models.hubert_xlarge,
    "WAVLM_BASE": models.wavlm_base,
    "WAVLM_BASE_PLUS": models.wavlm_base,
    "WAVLM_LARGE": models.wavlm_large,
}


def _own_weights(config: SpeechConfig) -> str | None:
    return None if config.variant == "tiny" else config.variant


def _named(config: SpeechConfig) -> dict[str, Callable[[], State]]:
    """Return how to fetch the network's own weights, by their name."""
    name = _own_weights(config)
    return {} if name is None else {name: lambda: _fetch(name)}


def _fetch(name: str) -> State:
    """Download the weights of a pipeline, or find them where torchaudio has kept them."""
    model = getattr(pipelines, name).get_model()
    return cast(State, getattr(model, "model", model).state_dict())  # the large ones are wrapped


def _as_parametrised(state: State) -> State:
    """Name a norm of weights as torch does now; published files have its old name."""
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    split = {name: name.rpartition(".") for name in state}
    return {f"{path}{dot}{new.get(last, last)}": state[name] for name, (path, dot, last) in split.items()}
