"""EMO-DB (Burkhardt et al. 2005): ten speakers say ten German sentences in seven emotions; audio only.

``wav/03a01Fa.wav``: speaker, sentence, the German emotion's letter, and a letter where there are several versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mmer.corpora.manifest import Manifest, Row, speaker_name
from mmer.corpora.named import decode, find_media, read_named, with_tally
from mmer.errors import ClipError

CLIPS = 535

_WOMEN = {"08": "34", "09": "21", "13": "32", "14": "35", "16": "31"}
_MEN = {"03": "31", "10": "32", "11": "26", "12": "30", "15": "25"}
_AGES = dict(sorted({**_WOMEN, **_MEN}.items()))
SPEAKERS = tuple(speaker_name(code) for code in _AGES)

SENTENCES: Mapping[str, str] = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
"""The sentences by their code."""

_EMOTIONS = {
    "W": "angry",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
_NAME = re.compile(r"(\d\d)([a-z]\d\d)([A-Z])([a-z]?)")
_AUDIO_SUFFIXES = (".wav", ".flac")


def read_emodb(path: Path) -> Manifest:
    """Find the utterances of EMO-DB in folders called ``wav``, or anywhere where there is none, zip archives included.

    Other folders of the archive may hold the same names again, as laryngograms.

    Raises:
        CorpusError: There is no such path, or holds no sound.
    """
    paths, broken = find_media(path, _AUDIO_SUFFIXES)
    sounds = [path for path in paths if path.parent.name == "wav"] or paths
    return with_tally(read_named(sounds, _parse, audio=_AUDIO_SUFFIXES, broken=broken), CLIPS, SPEAKERS)


def _parse(path: Path) -> Row:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ClipError(path.stem, path, "the name is not EMO-DB's speaker, sentence, emotion and version, as 03a01Fa")
    speaker, sentence, emotion, version = match.groups()
    return Row(
        key=path.stem,
        corpus="emodb",
        speaker=speaker_name(speaker),
        label=decode(path, "emotion", _EMOTIONS, emotion),
        text=decode(path, "sentence", SENTENCES, sentence),
        extra={
            "age": decode(path, "speaker", _AGES, speaker),
            "gender": "female" if speaker in _WOMEN else "male",
            "sentence": sentence,
            "version": version,
        },
    )
