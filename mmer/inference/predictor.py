"""A checkpoint that answers for media files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from mmer.batch import Clip
from mmer.calibration import calibrated
from mmer.checkpoint import Card, read_checkpoint
from mmer.config import Modality, PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.cut import windows
from mmer.data.dataset import make_layout
from mmer.data.prepare import prepare_clip
from mmer.errors import ClipError, ConfigError
from mmer.inference.frames import FramePredictions, predict_frames
from mmer.media.container import Source
from mmer.media.video import has_video
from mmer.model import EmotionModel


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer about one clip.

    Args:
        key: The file as it was named.
        probabilities: A probability for each label name.
        modalities: What the answer rests on.
        seconds: Length of the clip.
        views: How many windows it was averaged over.
        threshold: Below which largest probability the checkpoint abstains; None never abstains.
    """

    key: str
    probabilities: dict[str, float]
    modalities: tuple[str, ...]
    seconds: float
    views: int
    threshold: float | None = None

    @property
    def label(self) -> str:
        """The likeliest emotion."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def abstains(self) -> bool:
        """Whether the answer is too unsure for the precision that the checkpoint was calibrated for."""
        return self.threshold is not None and self.probabilities[self.label] < self.threshold


class Predictor:
    """Recognises emotions with a trained model.

    Args:
        model: The model.
        card: What it is and how its clips are prepared.
        device: Where it runs.
    """

    def __init__(self, model: EmotionModel, card: Card, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.card = card
        self.device = device
        self.layout = make_layout(card.model, card.prepare)

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str = "auto") -> Predictor:
        """Read a checkpoint.

        Args:
            path: The file.
            device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a GPU where there is one.

        Raises:
            CheckpointError: The file is missing, broken, or not mmer's.
            ConfigError: There is no such device.
        """
        model, card = read_checkpoint(Path(path))
        return cls(model, card, choose_device(device))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the emotions, in the order of the model's outputs."""
        return self.card.model.label_set.names

    def predict(self, path: str | Path, modalities: Sequence[str] | None = None, text: str | None = None) -> Prediction:
        """Recognise the emotion in a video or a sound file.

        Args:
            path: The file. Its words are heard where the training clips' were, else read from a ``.txt``, ``.srt`` or
                ``.vtt`` file of the same name beside it, where there is one.
            modalities: What to read of it; None reads all that the model can.
            text: What is said in it, instead.

        Raises:
            ClipError: The file is broken, shows no face, or holds nothing that the model reads.
            ConfigError: The model does not read one of the modalities, or nothing that a file can hold.
        """
        return self.predict_clip(str(path), self.prepare(path, modalities, text))

    def predict_text(self, text: str) -> Prediction:
        """Recognise the emotion in words alone.

        Raises:
            ClipError: There are no words.
            ConfigError: The model does not read text.
        """
        self._wanted(("text",))
        if not text.strip():
            raise ClipError(text, None, "there are no words to read")
        return self.predict_clip(text, PreparedClip.empty(self.card.prepare.sample_rate, text))

    def prepare(
        self, path: str | Path, modalities: Sequence[str] | None = None, text: str | None = None
    ) -> PreparedClip:
        """Read a video or a sound file as the model's training clips were read; see :meth:`predict`."""
        key, path, settings = str(path), Path(path), self._settings(text)
        if text is not None:
            self._wanted(("text",))
        asked = self._wanted(modalities)
        wanted = [name for name in asked if name in get_args(Modality)]
        if not wanted:
            raise ConfigError(
                f"the model reads nothing but the features {', '.join(asked)} of a clip, and a file holds none; "
                "prepare a folder with them and score it with evaluate.py"
            )
        if "video" in wanted and ("audio" not in wanted or has_video(Source(key, path, settings.max_seconds))):
            return prepare_clip(Row(key, "", video=path, text=text), settings, wanted, threads=0)
        heard = [name for name in wanted if name != "video"]
        return prepare_clip(Row(key, "", audio=path, text=text), settings, heard)

    def _settings(self, text: str | None) -> PrepareConfig:
        """Return how a file is prepared; without a corpus that knows its words, they lie beside it or are given."""
        settings = self.card.prepare
        if text is not None:
            return replace(settings, transcripts="corpus")
        return replace(settings, transcripts="sidecar") if settings.transcripts == "corpus" else settings

    def predict_clip(self, key: str, clip: PreparedClip) -> Prediction:
        """Recognise the emotion in a prepared clip; a long one is seen through several windows, evenly spread."""
        views = windows(clip, self.card.model.clip, key, self.model.tokenizer)
        answers = torch.cat([self._answer(views[i : i + 16]) for i in range(0, len(views), 16)])
        calibration = self.card.calibration
        probabilities = calibrated(answers.mean(dim=0, keepdim=True).numpy(), calibration)[0]
        seen: tuple[str, ...] = tuple(m for m in self.card.model.reads if any(view.has(m) for view in views))
        named = dict(zip(self.labels, probabilities.tolist(), strict=True))
        threshold = None if calibration is None else calibration.threshold
        return Prediction(key, named, seen, clip.seconds, len(views), threshold)

    def predict_frames(
        self, path: str | Path, modalities: Sequence[str] | None = None, text: str | None = None
    ) -> FramePredictions:
        """Recognise the emotion at every step of a video or a sound file; see :meth:`predict`.

        Raises:
            ClipError: The file is broken, shows no face, or holds nothing that the model reads.
            ConfigError: The model answers for whole clips alone, or does not read one of the modalities.
        """
        clip = self.prepare(path, modalities, text)
        return predict_frames(self.model, self.layout, clip, str(path), device=self.device)

    def _answer(self, views: Sequence[Clip]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = self.model(self.layout.collate(views).to(self.device)).logits
        return logits.double().softmax(dim=1).cpu()

    def _wanted(self, modalities: Sequence[str] | None) -> tuple[str, ...]:
        reads = self.card.model.reads
        strangers = [m for m in modalities or () if m not in reads]
        if strangers:
            raise ConfigError(f"the model does not read {', '.join(strangers)}; it reads {', '.join(reads)}")
        return reads if modalities is None else tuple(modalities)


def choose_device(name: str) -> torch.device:
    """Return a device by name; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} is not available ({reason}); choose cpu, cuda or auto") from error
    return device
