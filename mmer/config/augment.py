"""Random changes to training clips."""

from __future__ import annotations

from dataclasses import dataclass

from mmer.config.checks import require, require_rate


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training clips; each is drawn once a clip, so that a clip stays consistent over time.

    Only mixing is drawn once a batch. Nothing shifts a voice against its face: ``jitter`` and ``speed`` move and
    stretch both together.
    """

    flip: float = 0.5
    """Chance of a horizontal flip."""
    rotate: float = 10.0
    """Largest rotation, in degrees."""
    zoom: tuple[float, float] = (0.85, 1.15)
    """Smallest and largest scale; above 1 crops the face, below 1 leaves a black border. ``[1, 1]`` keeps it."""
    shift: float = 0.08
    """Largest translation, as a share of the frame's side."""
    light: float = 0.3
    """Largest change of brightness, contrast and saturation, as a share."""
    rand_augment: int = 0
    """Operations of RandAugment (Cubuk et al. 2020, arXiv:1909.13719) for each clip; 0 for none."""
    rand_magnitude: int = 9
    """Strength of these operations, 0 to 30."""
    erase: float = 0.0
    """Chance that a rectangle is black in all frames (Zhong et al. 2020, arXiv:1708.04896)."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018, arXiv:1710.09412): pairs of a batch's clips are blended, face and voice with
    one share, and learned as so much of each label; 0 for none. Training scores then count the larger share's label."""
    cutmix: float = 0.0
    """Alpha of cutmix (Yun et al. 2019, arXiv:1905.04899): a rectangle of all frames is another clip's, and the voices
    are blended with its share; 0 for none. Beside mixup, each batch takes one of the two at random."""
    gain: float = 3.0
    """Largest change of the voice's level, in dB."""
    noise: tuple[float, float] | None = (20.0, 40.0)
    """Lowest and highest signal-to-noise ratio of added white noise, in dB; null for none."""
    speed: float = 0.0
    """Largest change of speed, as a share: 0.1 plays face and voice at 0.9 to 1.1 times theirs, pitch included."""
    jitter: float = 0.1
    """Largest shift of the window in time, as a share of its length."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            require(0 <= getattr(self, name) <= 1, f"augment.{name}={getattr(self, name)} must lie in [0, 1]")
        for name in ("shift", "light", "jitter"):
            require_rate(f"augment.{name}", getattr(self, name))
        for name in ("rotate", "gain", "rand_augment", "mixup", "cutmix"):
            require(getattr(self, name) >= 0, f"augment.{name}={getattr(self, name)} must not be negative")
        require(0 <= self.speed <= 0.5, f"augment.speed={self.speed} must lie in [0, 0.5]")
        require(0 <= self.rand_magnitude <= 30, f"augment.rand_magnitude={self.rand_magnitude} must lie in 0 to 30")
        require(
            0 < self.zoom[0] <= self.zoom[1],
            f"augment.zoom={list(self.zoom)} must be two positive scales, the smaller first, as [0.8, 1.4]",
        )
        require(
            self.noise is None or self.noise[0] <= self.noise[1],
            f"augment.noise={self.noise and list(self.noise)} must be two ratios in dB, the lower first, as [15, 30]",
        )
