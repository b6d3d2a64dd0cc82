"""TESS (Dupuis and Pichora-Fuller 2010): two women say "Say the word ..." with 200 words in seven emotions.

``OAF_angry/OAF_back_angry.wav``: the older or the younger actress, the word, the emotion.
"""

from __future__ import annotations

from pathlib import Path

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.named import decode, find_media, read_named, with_tally
from mmer.errors import ClipError

CLIPS = 2800
SPEAKERS = ("OAF", "YAF")

_AGES = {"OAF": "64", "YAF": "26"}
_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "pleasant surprise",
    "sad": "sad",
}
_MISSPELT = {"OA": "OAF"}  # OA_bite_neutral.wav, in the owner's own copy
_AUDIO_SUFFIXES = (".wav", ".flac")


def read_tess(path: Path) -> Manifest:
    """Find the phrases of TESS anywhere below a folder or in zip archives.

    Raises:
        CorpusError: There is no such path, or holds no sound.
    """
    paths, broken = find_media(path, _AUDIO_SUFFIXES)
    return with_tally(read_named(paths, _parse, audio=_AUDIO_SUFFIXES, broken=broken), CLIPS, SPEAKERS)


def _parse(path: Path) -> Row:
    fields = path.stem.split("_")
    speaker = _MISSPELT.get(fields[0], fields[0])
    if len(fields) != 3 or speaker not in SPEAKERS:
        raise ClipError(path.stem, path, "the name is not TESS's speaker_word_emotion, as OAF_back_angry")
    _, word, emotion = fields
    return Row(
        key=f"{speaker}_{word}_{emotion}",
        corpus="tess",
        speaker=speaker,
        label=decode(path, "emotion", _EMOTIONS, emotion),
        text=f"Say the word {word}",
        extra={"gender": "female", "age": _AGES[speaker], "word": word},
    )
