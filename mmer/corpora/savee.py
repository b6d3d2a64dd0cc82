"""SAVEE (Haq and Jackson 2009): four men say 15 sentences in each of six emotions and 30 neutral ones.

``AudioData/DC/a01.wav`` is speaker, emotion and sentence, as is ``DC_a01.wav`` where all files lie in one folder;
``AudioVisualClip/DC/a1.avi`` is the face and the voice of the same.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.named import decode, find_media, read_named, with_tally
from mmer.errors import ClipError

CLIPS = 480
SPEAKERS = ("DC", "JE", "JK", "KL")

_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
_NAME = re.compile(r"(?:([A-Z]{2})_)?([a-z]{1,2})(\d{1,2})")
_VIDEO_SUFFIXES = (".avi", ".mp4")
_AUDIO_SUFFIXES = (".wav", ".flac")


def read_savee(path: Path) -> Manifest:
    """Find the utterances of SAVEE anywhere below a folder or in zip archives; sound and picture of one are one clip.

    Raises:
        CorpusError: There is no such path, or holds no sound and no video.
    """
    paths, broken = find_media(path, _VIDEO_SUFFIXES + _AUDIO_SUFFIXES)
    return with_tally(read_named(paths, _parse, _VIDEO_SUFFIXES, _AUDIO_SUFFIXES, broken=broken), CLIPS, SPEAKERS)


def _parse(path: Path) -> Row:
    match = _NAME.fullmatch(path.stem)
    speaker = (match and match[1]) or path.parent.name
    if match is None or speaker not in SPEAKERS:
        raise ClipError(path.stem, path, "the name is not SAVEE's emotion and sentence below a speaker, as DC/a01")
    emotion, sentence = decode(path, "emotion", _EMOTIONS, match[2]), int(match[3])
    last = 30 if emotion == "neutral" else 15
    if not 1 <= sentence <= last:
        raise ClipError(path.stem, path, f"sentence {sentence} is unknown; {emotion} has the sentences 1 to {last}")
    return Row(
        key=f"{speaker}_{match[2]}{sentence:02d}",
        corpus="savee",
        speaker=speaker,
        label=emotion,
        extra={"gender": "male", "sentence": str(sentence)},
    )
