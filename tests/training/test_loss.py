"""The loss of clips with a label, of clips without one, and of mixed clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmer.batch import IGNORED, Batch, Mix
from mmer.config import ModelConfig, MViTConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.model import Output
from mmer.training.classifier import EmotionClassifier
from mmer.training.losses import EmotionLoss, cross_entropy_sums

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
LABEL, OTHER = torch.tensor([0, 1, 2, 1]), torch.tensor([2, 1, 0, 0])
SHARE = torch.tensor([0.7, 0.7, 0.7, 1.0])
EVEN, WEIGHT = torch.ones(3), torch.tensor([1.0, 2.0, 0.5])


def cross_entropy(*args: object, **settings: object) -> torch.Tensor:
    """The mean that the sums are for."""
    total, counted = cross_entropy_sums(*args, **settings)
    return total / counted.clamp(min=1e-30)


def by_hand(weight: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The weighted mean over (clip, label) pairs of minus the expected log-probability."""
    total, counted = 0.0, 0.0
    for logits, label, other, share in zip(LOGITS, LABEL.tolist(), OTHER.tolist(), SHARE.tolist(), strict=True):
        log = logits.log_softmax(0)
        for target, part in ((label, share), (other, 1 - share)):
            aim = torch.full((3,), smoothing / 3)
            aim[target] += 1 - smoothing
            total += part * -(aim * weight * log).sum()
            counted += part * weight[target]
    return total / counted


@pytest.mark.parametrize("weight", [EVEN, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mixed_clip_counts_for_each_label_by_its_share(weight: torch.Tensor, smoothing: float) -> None:
    loss = cross_entropy(LOGITS, LABEL, weight, smoothing, Mix(OTHER, SHARE))
    torch.testing.assert_close(loss, by_hand(weight, smoothing))


def test_mixed_loss_is_the_soft_labels_cross_entropy() -> None:
    soft = SHARE[:, None] * F.one_hot(LABEL, 3) + (1 - SHARE)[:, None] * F.one_hot(OTHER, 3)
    torch.testing.assert_close(
        cross_entropy(LOGITS, LABEL, EVEN, 0.1, Mix(OTHER, SHARE)), F.cross_entropy(LOGITS, soft, label_smoothing=0.1)
    )


@pytest.mark.parametrize("weight", [EVEN, WEIGHT], ids=["even", "weighted"])
def test_unmixed_loss_is_pytorchs_own(weight: torch.Tensor) -> None:
    label = LABEL.index_fill(0, torch.tensor([2]), IGNORED)
    expected = F.cross_entropy(LOGITS, label, weight, ignore_index=IGNORED, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(LOGITS, label, weight, 0.1), expected)
    whole = Mix(OTHER, torch.ones(4))
    torch.testing.assert_close(cross_entropy(LOGITS, label, weight, 0.1, whole), expected)


def test_a_batch_without_a_label_has_no_loss() -> None:
    nothing = torch.full((4,), IGNORED)
    assert cross_entropy(LOGITS, nothing, EVEN, 0.1) == 0
    assert cross_entropy(LOGITS, nothing, EVEN, 0.1, Mix(nothing, SHARE)) == 0


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_focal_loss_counts_what_is_answered_well_for_less(gamma: float) -> None:
    chance = LOGITS.softmax(1).gather(1, LABEL[:, None])[:, 0]
    expected = (-WEIGHT[LABEL] * (1 - chance) ** gamma * chance.log()).sum() / WEIGHT[LABEL].sum()
    torch.testing.assert_close(cross_entropy(LOGITS, LABEL, WEIGHT, 0.0, gamma=gamma), expected)
    ignored = torch.cat([LABEL, torch.tensor([IGNORED])])
    more = torch.cat([LOGITS, torch.zeros(1, 3)])
    torch.testing.assert_close(cross_entropy(more, ignored, WEIGHT, 0.0, gamma=gamma), expected)


def test_a_focal_loss_weighs_each_label_of_a_mixed_clip_by_its_own_doubt() -> None:
    mix = Mix(OTHER, SHARE)
    total = torch.zeros(())
    for i in range(4):
        for label, share in ((LABEL, SHARE), (OTHER, 1 - SHARE)):
            total += share[i] * cross_entropy(LOGITS[i : i + 1], label[i : i + 1], EVEN, 0.1, gamma=2.0)
    torch.testing.assert_close(cross_entropy(LOGITS, LABEL, EVEN, 0.1, mix, 2.0), total / 4)


def test_a_focal_loss_has_a_slope_where_the_answer_is_certain() -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0], [0.0, 80.0, 0.0]], requires_grad=True)
    cross_entropy(logits, torch.tensor([0, 0]), EVEN, 0.0, gamma=0.5).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() > 0


def test_copies_are_learned_as_the_answer_is() -> None:
    loss = EmotionLoss({}, 3, smoothing=0.1, gamma=0.0, stream_weight=0.5)
    batch = make_batch()
    copies = (LOGITS.flip(1), LOGITS.roll(1, 1))
    expected = sum(cross_entropy(each, LABEL, EVEN, 0.1, batch.mix) for each in (LOGITS, *copies)) / 3
    torch.testing.assert_close(loss(Output(LOGITS, {}, copies=copies), batch), expected)


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> EmotionClassifier:
    """A classifier whose model always answers the same, on its own and by each stream."""
    streams = {"face": MViTConfig("mvit", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")}
    config = ModelConfig(streams, labels=("a", "b", "c"), fusion=TransformerFusionConfig(dim=8, depth=1, heads=1))
    module = EmotionClassifier(config, label_smoothing=0.1, stream_loss=0.5)
    answer = Output(LOGITS, {"face": LOGITS.flip(1), "voice": LOGITS.roll(1, 1)})
    monkeypatch.setattr(module, "model", lambda batch: answer, raising=False)
    monkeypatch.setattr(module, "log", lambda *args, **settings: None)
    return module


def make_batch() -> Batch:
    """The third and the fourth clip have no face; they are each other's partners."""
    face = torch.tensor([True, True, False, False]).unsqueeze(1)
    return Batch(
        key=("a", "b", "c", "d"),
        video=torch.zeros(4, 1, 3, 2, 2, dtype=torch.uint8),
        video_mask=face,
        audio=torch.zeros(4, 5),
        audio_mask=torch.ones(4, 5, dtype=torch.bool),
        label=LABEL,
        mix=Mix(LABEL[[1, 0, 3, 2]], torch.full((4,), 0.3)),
    )


def test_streams_learn_mixed_labels_of_the_clips_that_have_their_modality(classifier: EmotionClassifier) -> None:
    batch = make_batch()
    assert batch.mix is not None
    loss = classifier.training_step(batch, 0)
    seen = Mix(batch.mix.label[:2], batch.mix.share[:2])
    expected = cross_entropy(LOGITS, LABEL, EVEN, 0.1, batch.mix) + 0.25 * (
        cross_entropy(LOGITS.flip(1)[:2], LABEL[:2], EVEN, 0.1, seen)
        + cross_entropy(LOGITS.roll(1, 1), LABEL, EVEN, 0.1, batch.mix)
    )
    torch.testing.assert_close(loss, expected)


def test_training_scores_count_the_label_of_the_larger_share(classifier: EmotionClassifier) -> None:
    batch = make_batch()
    classifier.training_step(batch, 0)
    counted = classifier.tallies["train_tally"].compute()[0].sum(dim=1)
    assert counted.tolist() == torch.bincount(LABEL[[1, 0, 3, 2]], minlength=3).tolist()
    classifier.tallies["train_tally"].reset()
    classifier.training_step(replace(batch, mix=Mix(OTHER, torch.full((4,), 0.5))), 0)
    assert classifier.tallies["train_tally"].compute()[0].sum(dim=1).tolist() == [1, 2, 1]


def test_a_class_that_no_clip_has_is_never_the_answer_that_costs_least() -> None:
    loss = EmotionLoss({}, 3, 0.1, 0.0, 0.0)
    loss.balance([400, 400, 0])
    torch.testing.assert_close(loss.class_weight, torch.tensor([1.0, 1.0, 0.0]))
    logits = torch.zeros(800, 3, requires_grad=True)
    label = torch.arange(800) % 2
    cross_entropy(logits, label, loss.class_weight, 0.1).backward()
    assert (logits.grad[:, 2] > 0).all()  # a step of descent makes it less likely, for every clip
