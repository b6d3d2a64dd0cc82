"""The copies of Chumachenko et al. 2022: what each clip of a training batch is shown without."""

from __future__ import annotations

import torch

from mmer.batch import Tokens
from mmer.missing import copy_batch

READS = {"face": "video", "motion": "video", "voice": "audio", "words": "text"}
CLIPS = 200


def copies(**has: bool) -> tuple[list[dict[str, Tokens]], dict[str, Tokens]]:
    """Return the copies of clips that have some modalities, and the clips."""
    tokens = {
        name: Tokens(torch.randn(CLIPS, 2, 3), torch.full((CLIPS, 2), has.get(read, True)))
        for name, read in READS.items()
    }
    torch.manual_seed(0)
    found, count = copy_batch(tokens, READS)
    each = [
        {
            name: Tokens(*(part.chunk(count)[i] for part in (stream.x, stream.mask, stream.weight)))
            for name, stream in found.items()
        }
        for i in range(count)
    ]
    return each, tokens


def hidden(copy: dict[str, Tokens]) -> set[str]:
    return {name for name, stream in copy.items() if not stream.mask.any()}


def test_a_clip_is_seen_whole_with_soft_weights_and_without_each_modality() -> None:
    each, tokens = copies()
    assert [hidden(copy) for copy in each] == [set(), set(), {"face", "motion"}, {"voice"}, {"words"}]
    for copy in each:
        assert all(torch.equal(copy[name].x, tokens[name].x) for name in READS)
    for copy in (each[0], *each[2:]):
        assert all((stream.weight == 1).all() for stream in copy.values())


def test_soft_weights_are_convex_and_drawn_anew_for_each_clip() -> None:
    soft = copies()[0][1]
    weights = {name: soft[name].weight for name in READS}
    assert torch.equal(weights["face"], weights["motion"])
    total = weights["face"] + weights["voice"] + weights["words"]
    torch.testing.assert_close(total, torch.ones(CLIPS))
    assert (weights["voice"] > 0).all()
    assert weights["voice"].unique().numel() == CLIPS
    torch.testing.assert_close(weights["voice"].mean(), torch.tensor(1 / 3), atol=0.05, rtol=0)


def test_soft_weights_are_shared_by_the_modalities_that_a_clip_has() -> None:
    soft = copies(video=False)[0][1]
    torch.testing.assert_close(soft["voice"].weight + soft["words"].weight, torch.ones(CLIPS))
    assert torch.equal(copies(video=False, text=False)[0][1]["voice"].weight, torch.ones(CLIPS))


def test_the_only_modality_of_a_clip_is_never_hidden() -> None:
    each, _ = copies(video=False, text=False)
    assert all("voice" not in hidden(copy) for copy in each)


def test_a_clip_without_any_modality_stays_so_and_its_weights_are_finite() -> None:
    each, _ = copies(video=False, text=False, audio=False)
    assert all(hidden(copy) == set(READS) for copy in each)
    assert all(stream.weight.isfinite().all() for copy in each for stream in copy.values())
