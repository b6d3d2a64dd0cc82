"""Face frames to tokens: a network over each frame alone, then one over the frames."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import FramesConfig, TemporalConfig
from mmer.encoders.hub import fetch_from_hub
from mmer.encoders.norms import encode_real, settle_batch_norm
from mmer.encoders.video.pixels import FrameInput
from mmer.encoders.weights import Fetchers, State, load_weights
from mmer.errors import ConfigError
from mmer.temporal import Unchanged, build_optional_temporal


@runtime_checkable
class FrameNetwork(Protocol):
    """What a network over single pictures offers; any ``nn.Module`` with a ``dim`` and this call is one.

    It has ``layers`` too, its blocks from input to output. They are not declared here, for to check that a network
    offers them would ask for them, and some networks cannot say what theirs are.
    """

    dim: int

    def __call__(self, pictures: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Describe pictures, each alone."""


class PerFrame(nn.Module):
    """A network over each frame alone, then, where there is one, a network over the frames.

    Args:
        pixels: Brings frames into the form that the network wants.
        network: The network over each frame.
        temporal: The network over the frames; None hands each frame on as it is.
        frozen_norm: Whether BatchNorm has loaded statistics, which stay as they are; it learns its own otherwise.
    """

    def __init__(
        self, pixels: FrameInput, network: FrameNetwork, temporal: TemporalConfig | None, frozen_norm: bool
    ) -> None:
        super().__init__()
        self.frozen_norm = frozen_norm
        self.input = pixels
        self.network = network
        self.temporal = build_optional_temporal(network.dim, temporal)
        self.dim = self.temporal.dim

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks from input to output, for learning rates that fall towards the input."""
        layers: list[nn.Module] = cast(Any, self.network).layers
        return [*layers, *([] if isinstance(self.temporal, Unchanged) else [self.temporal])]

    def train(self, mode: bool = True) -> PerFrame:
        """Set the mode; BatchNorm with loaded statistics stays in eval mode."""
        super().train(mode)
        if self.frozen_norm:
            settle_batch_norm(cast(nn.Module, self.network))
        return self

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips."""
        tokens: Tokens = self.temporal(self.describe(x, mask))
        return tokens

    def describe(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Return what the network over single frames says of each, before any network over them."""
        pixels, mask = self.input(x, mask)
        pictures = pixels.transpose(1, 2).flatten(0, 1)  # [b 3 t s s] -> [bt 3 s s]
        return Tokens(encode_real(cast(nn.Module, self.network), pictures, mask.flatten()).view(*mask.shape, -1), mask)


class Backbone(nn.Module):
    """One of timm's networks without its classifier, all of it or its end trained.

    Args:
        network: timm's network, made with ``num_classes=0``.
        frozen: Those of its parameters that do not learn.
    """

    def __init__(self, network: nn.Module, frozen: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.network = network
        self.dim = cast(int, network.head_hidden_size)
        for parameter in frozen:
            parameter.requires_grad_(False)

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks from input to output, as timm groups their parameters; what comes before the first is in none.

        Raises:
            ConfigError: timm does not say what its blocks are.
        """
        groups = _groups(self.network, "leave model.optim.layer_decay out, or take another backbone", coarse=False)
        return [nn.ParameterList(map(self.network.get_parameter, names)) for names in groups[1:]]

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; what does not learn stays in eval mode."""
        super().train(mode)
        for module in self.network.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, pictures: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Describe pictures."""
        described: Tensor = self.network(pictures)
        return described


def build_frames(config: FramesConfig, load: bool = True) -> PerFrame:
    """Build a network over frames.

    Args:
        config: Its description.
        load: Whether to load the weights that the config names; False when a checkpoint brings its own.

    Raises:
        CheckpointError: The weights cannot be had or do not fit.
        ConfigError: timm does not know the backbone, or it has no stages to choose the last of.
    """
    import timm  # here, for it takes a second that other encoders need not wait

    network, tags = _build_timm(config)
    known = timm.data.resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    if config.weights is not None and load:
        load_weights(network, config.weights, tags, head=_classifier(network))
    pixels = FrameInput(None, config.size or known["input_size"][-1], mean=known["mean"], std=known["std"])
    backbone = Backbone(network, _frozen_parameters(network, config))
    return PerFrame(pixels, backbone, config.temporal, frozen_norm=config.weights is not None)


def _build_timm(config: FramesConfig) -> tuple[nn.Module, Fetchers]:
    """Return the network without its classifier, and how to fetch the weights that timm has of it."""
    import timm

    architecture, _, tag = config.backbone.partition(".")
    tags = _tags(architecture)
    if not timm.is_model(architecture) or (tag and tag not in tags):
        close = difflib.get_close_matches(config.backbone, [*timm.list_models(), *timm.list_pretrained()], n=3)
        advice = f"it has {', '.join(close)}" if close else "timm.list_models() lists what it has"
        raise ConfigError(f"timm has no backbone {config.backbone!r}; {advice}")
    name = _with_tag(config, tags)  # mean and deviation of the pixels are those of the weights
    settings: dict[str, Any] = {"num_classes": 0}
    preset = timm.get_pretrained_cfg(name)
    if config.size is not None and preset is not None and preset.fixed_input_size:
        settings["img_size"] = config.size  # its position embeddings are made for one size
    fetchers = {each: partial(_fetch_timm, f"{architecture}.{each}", settings) for each in tags if each}
    fetchers["timm"] = partial(_fetch_timm, name, settings)
    return timm.create_model(name, **settings), fetchers


def _with_tag(config: FramesConfig, tags: Collection[str]) -> str:
    """Return timm's name of a network and its weights, as ``resnet50.a1_in1k``."""
    return f"{_architecture(config)}.{config.weights}" if config.weights in tags else config.backbone


def _architecture(config: FramesConfig) -> str:
    return config.backbone.partition(".")[0]


def _tags(architecture: str) -> list[str]:
    """Return the tags of the weights that timm has of a network, as ``a1_in1k``."""
    import timm

    known = timm.models.get_arch_pretrained_cfgs(architecture) if timm.is_model(architecture) else {}
    return [name.partition(".")[2] for name in known]


def check_pixels(config: FramesConfig, before: FramesConfig, where: str) -> None:
    """Refuse weights that learned from pixels with another mean or deviation, which would cost points and say nothing.

    Args:
        config: The network that takes the weights over.
        before: That which they were learned in; one of another architecture has nothing to take over.
        where: What to call them.

    Raises:
        ConfigError: They did.
    """
    if _architecture(config) != _architecture(before):
        return
    tags = _tags(_architecture(config))
    name, learned = (_with_tag(each, tags) for each in (config, before))
    ours, theirs = _pixels(name), _pixels(learned)
    if ours != theirs:
        raise ConfigError(
            f"{where}: the weights learned from pixels of mean and deviation {theirs}, and {name} would show them "
            f"{ours}; say backbone: {learned}{' and weights: null' if config.weights in tags else ''}"
        )


def _pixels(name: str) -> tuple[Any, Any]:
    """Return mean and deviation of the pixels for a network of timm's."""
    import timm

    preset = timm.get_pretrained_cfg(name)
    settings = {each: getattr(preset, each, None) for each in ("mean", "std")}  # of None, timm's defaults
    known = timm.data.resolve_data_config(pretrained_cfg=settings)  # type: ignore[no-untyped-call]
    return known["mean"], known["std"]


def _fetch_timm(name: str, settings: Mapping[str, Any]) -> State:
    import timm

    return fetch_from_hub(lambda: cast(State, timm.create_model(name, pretrained=True, **settings).state_dict()))


def _classifier(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the classifier's parameters, of which a network may have two."""
    names = cast(Any, network).pretrained_cfg["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _frozen_parameters(network: nn.Module, config: FramesConfig) -> list[nn.Parameter]:
    """Return the parameters that do not learn: all, or those before the last stage.

    Raises:
        ConfigError: timm names no stages.
    """
    match config.trainable:
        case "all":
            return []
        case "none":
            return list(network.parameters())
        case "last_stage":
            stages = _groups(network, "choose trainable: none or all", coarse=True)
            first = _last_stage(network, stages)
            return [network.get_parameter(name) for stage in stages[:first] for name in stage]


def _last_stage(network: nn.Module, stages: Sequence[Sequence[str]]) -> int:
    """Return the place of the last stage.

    It is the one that timm takes its last features of, or the last that holds more than norms where that lies before
    it: timm's last features may be those of a norm or an activation.
    """
    weighty = [i for i, stage in enumerate(stages) if any(network.get_parameter(name).ndim > 1 for name in stage)]
    module = cast(Any, network).feature_info[-1]["module"]
    named = [i for i, stage in enumerate(stages) if any(name.startswith(f"{module}.") for name in stage)]
    return min(places[-1] for places in (weighty, named) if places)


def _groups(network: nn.Module, advice: str, *, coarse: bool) -> list[list[str]]:
    """Return the names of all parameters of a network by where they lie, from input to output.

    Args:
        network: timm's network.
        advice: What to do where timm does not say.
        coarse: Whether to return stages, or the blocks that they are made of.

    Raises:
        ConfigError: timm does not say.
    """
    from timm.models import group_parameters

    try:
        matcher = cast(Any, network).group_matcher(coarse=coarse)
    except (AttributeError, AssertionError) as error:  # some networks have none, some have blocks and no stages
        name = cast(Any, network).pretrained_cfg["architecture"]
        raise ConfigError(
            f"timm does not say what the {'stages' if coarse else 'layers'} of {name} are; {advice}"
        ) from error
    return [names for _, names in sorted(group_parameters(network, matcher).items())]
