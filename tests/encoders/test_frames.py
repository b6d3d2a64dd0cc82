"""Each frame alone to tokens: parity with timm's networks, what learns, what never matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmer.build import build_encoder
from mmer.checkpoint import CARD
from mmer.config import FramesConfig, LSTMConfig, SelfAttentionConfig, TemporalConfig
from mmer.encoders.video.frames import PerFrame, build_frames, check_pixels
from mmer.errors import CheckpointError, ConfigError
from tests.encoders.conftest import Exported

LSTM = LSTMConfig("lstm", width=6, dropout=0.0)
ATTENTION = SelfAttentionConfig("transformer", width=8, depth=1, heads=2, dropout=0.0)

BACKBONES = {
    "test_resnet": "layer4.",
    "test_efficientnet": "blocks.4.",
    "test_vit": "blocks.5.",
    "test_convnext": "stages.3.",
}
"""Small networks of timm's, one of each kind, and the name of their last stage."""


def frames(backbone: str = "test_resnet", **settings: object) -> PerFrame:
    torch.manual_seed(0)
    return build_frames(FramesConfig("frames", backbone, **{"size": 32, **settings}))


def real(clips: int = 1, steps: int = 4, size: int = 32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    video = torch.randint(0, 256, (clips, steps, 3, size, size), dtype=torch.uint8)
    return video, torch.ones(clips, steps, dtype=torch.bool)


def lively(network: nn.Module) -> nn.Module:
    """Give a network's BatchNorms statistics and weights that a mistake would show in."""
    torch.manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Make one of timm's networks with its classifier and save it: ``saved(backbone, suffix)``."""

    def save(backbone: str = "test_resnet", suffix: str = ".pt", **settings: object) -> str:
        network = lively(timm.create_model(backbone, num_classes=5, **settings))
        path = tmp_path / f"{backbone}{suffix}"
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        return str(path)

    yield save


# --- parity with timm


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_network_with_weights_is_timm_s_up_to_the_classifier(
    backbone: str, suffix: str, saved: Callable[..., str]
) -> None:
    size = 160 if backbone == "test_vit" else 64
    weights = saved(backbone, suffix)
    encoder = frames(backbone, weights=weights, size=None if backbone == "test_vit" else size).train()
    theirs = timm.create_model(backbone, num_classes=5)
    theirs.load_state_dict(timm.models.load_state_dict(weights))
    video, mask = real(2, 3, size)
    data = timm.data.resolve_model_data_config(theirs)
    mean, std = (torch.tensor(data[name]).view(3, 1, 1) for name in ("mean", "std"))
    expected = theirs.eval().forward_head(theirs.forward_features((video.flatten(0, 1) / 255 - mean) / std), True)
    torch.testing.assert_close(encoder(video, mask).x.flatten(0, 1), expected, rtol=1e-4, atol=1e-4)
    assert encoder.dim == expected.shape[1]


def test_pixels_are_normalised_as_the_weights_were_trained() -> None:
    resnet, vit = (frames(name, size=None).input for name in ("resnet18.a1_in1k", "vit_tiny_patch16_224"))
    assert resnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert vit.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert (resnet.size, vit.size) == (224, 224)


def test_a_transformer_takes_another_size_too() -> None:
    assert frames("test_vit", size=64)(*real(size=48)).x.shape == (1, 4, 64)


# --- what never matters


@pytest.mark.parametrize("temporal", [None, LSTM, ATTENTION])
def test_neither_garbage_under_the_mask_nor_other_clips_matter(
    temporal: TemporalConfig | None, saved: Callable[..., str]
) -> None:
    for weights in (None, saved()):
        encoder = frames(weights=weights, temporal=temporal)
        video, mask = real(clips=3)
        mask[0, 2], mask[2] = False, False
        garbage = torch.where(mask[:, :, None, None, None], video, 255 - video)
        for training, clips in ((False, 1), (True, 2)):  # in training the statistics are of all clips that are there
            encoder.train(training)
            tokens = encoder(video, mask)
            again = encoder(garbage[:clips], mask[:clips])
            torch.testing.assert_close(again.x[again.mask], tokens.x[:clips][again.mask], rtol=1e-4, atol=1e-5)
            assert tokens.x.isfinite().all() and torch.equal(tokens.mask, mask)


def test_more_frames_than_one_is_one_after_another_without_a_network_over_them() -> None:
    encoder, (video, mask) = frames().eval(), real(steps=4)
    apart = torch.cat([encoder(video[:, [i]], mask[:, [i]]).x for i in range(4)], dim=1)
    torch.testing.assert_close(encoder(video, mask).x, apart, rtol=1e-4, atol=1e-5)


def test_the_network_over_the_frames_sees_their_order() -> None:
    encoder, (video, mask) = frames(temporal=LSTM).eval(), real()
    assert encoder.dim == 12
    assert (encoder(video.flip(1), mask).x.flip(1) - encoder(video, mask).x).abs().max() > 1e-3


@pytest.mark.parametrize("temporal", [None, pytest.param(LSTM, marks=pytest.mark.slow)])
def test_it_can_be_exported(temporal: TemporalConfig | None, exported: Exported) -> None:
    encoder, inputs = frames(temporal=temporal).eval(), real(2)
    torch.testing.assert_close(exported(encoder, *inputs).x, encoder(*inputs).x)


# --- what learns


def learning(encoder: PerFrame) -> set[str]:
    return {name.removeprefix("network.network.") for name, p in encoder.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("backbone", "last"), BACKBONES.items())
def test_the_last_stage_and_what_follows_it_learn(backbone: str, last: str, saved: Callable[..., str]) -> None:
    weights = saved(backbone, img_size=32) if backbone == "test_vit" else saved(backbone)
    encoder = frames(backbone, weights=weights, trainable="last_stage", temporal=LSTM)
    found = learning(encoder)
    everything = [name.removeprefix("network.network.") for name, _ in encoder.named_parameters()]
    stage = [name.startswith(last) for name in everything]
    assert found == set(everything[stage.index(True) :])
    assert not any(name.startswith(("conv1", "conv_stem", "stem", "patch_embed")) for name in found)
    assert any(name.startswith("temporal.") for name in found)


@pytest.mark.parametrize(
    ("backbone", "first"),
    [
        ("resnet18", "layer4.0.conv1.weight"),
        ("vgg11", "pre_logits.fc1.weight"),
        ("densenet121", "features.denseblock4.denselayer1.norm1.weight"),
        ("nfnet_f0", "stages.3.0.downsample.conv.weight"),
        ("repvgg_a0", "stages.3.0.conv_kxk.conv.weight"),
        ("legacy_xception", "conv3.conv1.weight"),
        ("mobilenetv3_small_050", "blocks.5.0.conv.weight"),
        ("vit_tiny_patch16_224", "blocks.11.norm1.weight"),
    ],
)
def test_the_last_stage_holds_more_than_norms(backbone: str, first: str) -> None:
    with torch.device("meta"):  # names and no numbers
        encoder = build_frames(FramesConfig("frames", backbone, weights="timm", trainable="last_stage"), load=False)
    names = [name.removeprefix("network.network.") for name, _ in encoder.named_parameters()]
    assert learning(encoder) == set(names[names.index(first) :])


def test_of_a_frozen_backbone_nothing_learns_and_nothing_changes(saved: Callable[..., str]) -> None:
    encoder = frames(weights=saved(), trainable="none", temporal=LSTM).train()
    assert all(name.startswith("temporal.") for name in learning(encoder))
    assert not any(module.training for module in encoder.network.network.modules())
    assert encoder.temporal is not None and encoder.temporal.training
    encoder(*real()).x.sum().backward()
    assert all(p.grad is None for p in encoder.network.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_that_learns_receives_a_gradient(backbone: str) -> None:
    encoder = lively(frames(backbone, temporal=LSTM)).train()  # the last norm of a residual branch begins as zeros
    encoder(*real(2)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_frozen_parts_are_in_eval_mode_and_the_rest_is_not(saved: Callable[..., str]) -> None:
    network = frames("test_convnext", weights=saved("test_convnext"), trainable="last_stage").train().network.network
    assert not any(module.training for module in network.stages[0].modules())
    assert network.stages[3].training


def test_batch_norm_learns_its_statistics_from_scratch_alone(saved: Callable[..., str]) -> None:
    for weights, learns in ((None, True), (saved(), False)):
        encoder = frames(weights=weights).train()
        norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms and all(norm.training == learns for norm in norms)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_layers_lie_from_input_to_output_and_hold_all_but_the_beginning(backbone: str) -> None:
    encoder = frames(backbone, temporal=LSTM)
    held = [{id(p) for p in layer.parameters()} for layer in encoder.layers]
    names = [{name for name, p in encoder.named_parameters() if id(p) in layer} for layer in held]
    assert sum(map(len, held)) == len(set().union(*held))
    assert names[-1] == {name for name, _ in encoder.named_parameters() if name.startswith("temporal.")}
    left = {name for name, _ in encoder.named_parameters()} - set().union(*names)
    assert left and not any(BACKBONES[backbone] in name for name in left)
    assert any(BACKBONES[backbone] in name for name in names[-2] | names[-3])


def test_layers_hold_parameters_that_lie_beside_the_blocks() -> None:
    with torch.device("meta"):
        encoder = frames("coat_tiny", size=None)
    held = [{id(p) for p in layer.parameters()} for layer in encoder.layers]
    assert sum(map(len, held)) == len(set().union(*held)), "a parameter is in two layers"
    token = encoder.network.network.cls_token1
    assert all(id(token) not in layer for layer in held)


# --- mistakes


def refused(**settings: object) -> str:
    with pytest.raises((CheckpointError, ConfigError)) as error:
        frames(**settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_backbone_is_refused_with_near_ones() -> None:
    assert refused(backbone="resnet5O").startswith("timm has no backbone 'resnet5O'; it has resnet50")
    assert refused(backbone="resnet50.a9_in1k").startswith("timm has no backbone 'resnet50.a9_in1k'; it has resnet50.")
    assert refused(backbone="qqqq") == "timm has no backbone 'qqqq'; timm.list_models() lists what it has"


@pytest.mark.parametrize("backbone", ["poolformer_s12", "pit_ti_224"])
def test_a_backbone_without_stages_or_layers_is_refused(backbone: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        build_frames(FramesConfig("frames", backbone, weights="timm", trainable="last_stage"), load=False)
    assert str(error.value) == f"timm does not say what the stages of {backbone} are; choose trainable: none or all"
    with torch.device("meta"), pytest.raises(ConfigError) as error:
        _ = frames(backbone, size=None).layers
    assert str(error.value) == (
        f"timm does not say what the layers of {backbone} are; leave model.optim.layer_decay out, "
        "or take another backbone"
    )


def test_a_name_of_no_weights_is_refused_with_timm_s_tags() -> None:
    assert refused(backbone="resnet18", weights="a9_in1k").startswith(
        "weights 'a9_in1k' are neither a name (a1_in1k, a2_in1k, "
    )


@pytest.mark.parametrize("weights", ["timm", "r160_in1k"])
def test_weights_that_cannot_be_fetched_fail_in_one_line(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(**settings: str) -> None:
        asked.append(settings["repo_id"])
        raise ConnectionError("the network is unreachable")

    monkeypatch.setattr("mmer.encoders.video.frames.fetch_from_hub", lambda fetch: fetch())
    monkeypatch.setattr("timm.models._hub.hf_hub_download", fail)
    assert refused(weights=weights) == (
        f"weights {weights} cannot be downloaded (the network is unreachable); "
        "go online, or give the path of a local file"
    )
    assert set(asked) == {"timm/test_resnet.r160_in1k"}


def test_a_damaged_file_of_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"Dear diary")
    assert refused(weights=str(path)).startswith(f"weights {path} cannot be read: ")


def test_weights_that_saw_other_pixels_are_refused(tmp_path: Path) -> None:
    """Among timm's weights of one network are some of the mean of ImageNet and some of 0.5."""
    before = {"encoder": "frames", "backbone": "tf_efficientnet_b0", "weights": "ap_in1k"}
    path = tmp_path / "best.ckpt"
    torch.save({CARD: {"card": {"model": {"streams": {"face": before}}}}, "state_dict": {}}, path)
    with pytest.raises(
        ConfigError, match=r"best\.ckpt: the weights learned from pixels of mean and deviation \(\(0\.5"
    ):
        build_encoder(FramesConfig("frames", "tf_efficientnet_b0", weights=str(path)))
    advised = FramesConfig("frames", "tf_efficientnet_b0.ap_in1k", weights=str(path))
    check_pixels(advised, FramesConfig(**before), "weights")
    with pytest.raises(CheckpointError, match=r"best\.ckpt, stream face"):  # which holds none, and is looked at now
        build_encoder(advised)
