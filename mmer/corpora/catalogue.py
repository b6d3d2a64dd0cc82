"""Every corpus that has an adapter: what it holds, where to get it, what must lie where.

``mmer corpora`` prints this; ``mmer prepare`` and ``mmer manifest`` take their kinds from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from mmer.config import Modality
from mmer.corpora import crema_d, emodb, meld, savee, tess, text
from mmer.corpora.fer2013 import COUNTS, read_fer2013
from mmer.corpora.folder import Layout, read_folder
from mmer.corpora.manifest import DEMO_CORPUS, Manifest
from mmer.corpora.ravdess import SONG_TAKES, SPEECH_TAKES, Channel, read_ravdess
from mmer.corpora.table import read_table
from mmer.emotions import CREMA6, EKMAN7, EMODB7, FER7, GOEMOTIONS28, RAVDESS8
from mmer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus that can be read from its owner's own layout.

    Args:
        name: What the command line calls it.
        title: What papers call it.
        read: Its adapter: the path and the options below to a manifest.
        modalities: What its clips hold.
        clips: How many clips the whole corpus has; None where that is up to the user.
        speakers: How many people are seen or heard; None where nobody says.
        classes: Its emotions in our canonical words; none where that is up to the user.
        licence: Under which terms its owner gives it.
        source: Where to get it.
        layout: What must lie where, in lines for humans.
        options: Further options of the adapter and their values, the first of which is the default.
        prepare: Settings of ``PrepareConfig`` that suit this corpus better than the defaults.
    """

    name: str
    title: str
    read: Callable[..., Manifest]
    modalities: tuple[Modality, ...]
    clips: int | None
    speakers: int | None
    classes: tuple[str, ...]
    licence: str
    source: str
    layout: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepare: Mapping[str, Any] = field(default_factory=dict)


CORPORA: tuple[Corpus, ...] = (
    Corpus(
        name="ravdess",
        title="RAVDESS",
        read=read_ravdess,
        modalities=("video", "audio", "text"),
        clips=SPEECH_TAKES + SONG_TAKES,
        speakers=24,
        classes=RAVDESS8,
        licence="CC BY-NC-SA 4.0",
        source="https://zenodo.org/records/1188976",
        layout=(
            "Video_Speech_Actor_01.zip, Audio_Speech_Actors_01-24.zip, ... as they come, or one of them;\n"
            "or unpacked, in any folders: Actor_01/01-01-06-01-02-01-01.mp4, 03-01-06-01-02-01-01.wav, ..."
        ),
        options={"channel": get_args(Channel)},
    ),
    Corpus(
        name="crema-d",
        title="CREMA-D",
        read=crema_d.read_crema_d,
        modalities=("video", "audio", "text"),
        clips=crema_d.CLIPS,
        speakers=len(crema_d.SPEAKERS),
        classes=CREMA6,
        licence="ODbL 1.0",
        source="https://github.com/CheyneyComputerScience/CREMA-D (a clone with git-lfs)",
        layout=(
            "VideoFlash/1001_DFA_ANG_XX.flv (or .mp4) and AudioWAV/1001_DFA_ANG_XX.wav, both or one;\n"
            "VideoDemographics.csv for gender and age; processedResults/summaryTable.csv for perceived labels"
        ),
        options={"labels": get_args(crema_d.LabelSource)},
    ),
    Corpus(
        name="meld",
        title="MELD",
        read=meld.read_meld,
        modalities=("video", "audio", "text"),
        clips=meld.CLIPS,
        speakers=None,
        classes=EKMAN7,
        licence="GPL-3.0",
        source="https://github.com/declare-lab/MELD",
        layout=(
            "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv, and where there are videos "
            "train/train_splits/dia0_utt0.mp4, dev/dev_splits_complete/..., test/output_repeated_splits_test/..."
        ),
    ),
    Corpus(
        name="savee",
        title="SAVEE",
        read=savee.read_savee,
        modalities=("video", "audio"),
        clips=savee.CLIPS,
        speakers=len(savee.SPEAKERS),
        classes=EKMAN7,
        licence="the owner's terms, on registration",
        source="http://kahlan.eps.surrey.ac.uk/savee/",
        layout=(
            "AudioData/DC/a01.wav, AudioVisualClip/DC/a1.avi, both or one, unpacked or in zip archives;\nor DC_a01.wav"
        ),
    ),
    Corpus(
        name="tess",
        title="TESS",
        read=tess.read_tess,
        modalities=("audio", "text"),
        clips=tess.CLIPS,
        speakers=len(tess.SPEAKERS),
        classes=EKMAN7,
        licence="CC BY-NC-ND 4.0",
        source="https://doi.org/10.5683/SP2/E8H2MF",
        layout="OAF_back_angry.wav, YAF_back_ps.wav, ... in any folders or in zip archives",
    ),
    Corpus(
        name="emodb",
        title="EMO-DB",
        read=emodb.read_emodb,
        modalities=("audio", "text"),
        clips=emodb.CLIPS,
        speakers=len(emodb.SPEAKERS),
        classes=EMODB7,
        licence="the owner's terms",
        source="http://emodb.bilderbar.info/",
        layout="wav/03a01Fa.wav, ..., unpacked or in the zip archive",
    ),
    Corpus(
        name="fer2013",
        title="FER2013",
        read=read_fer2013,
        modalities=("video",),
        clips=sum(COUNTS.values()),
        speakers=None,
        classes=FER7,
        licence="research use, under the challenge's rules",
        source="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
        layout=(
            "fer2013.csv (columns emotion, pixels, Usage), or pictures in folders: train/angry/1.jpg, ..., "
            "test/angry/PublicTest_2.jpg, test/angry/PrivateTest_3.jpg, ..."
        ),
        prepare={"detector": "none", "size": 48},
    ),
    Corpus(
        name="goemotions",
        title="GoEmotions",
        read=text.read_goemotions,
        modalities=("text",),
        clips=text.CLIPS,
        speakers=None,
        classes=GOEMOTIONS28,
        licence="Apache-2.0",
        source="https://github.com/google-research/google-research/tree/master/goemotions",
        layout="train.tsv, dev.tsv, test.tsv and emotions.txt in one folder",
        options={"grouping": get_args(text.Grouping)},
    ),
    Corpus(
        name="text",
        title="a table of texts",
        read=text.read_text,
        modalities=("text",),
        clips=None,
        speakers=None,
        classes=(),
        licence="your own",
        source="write it: one line a text",
        layout="a CSV or TSV file with the columns text and label, and as you like key, speaker, split and others",
    ),
    Corpus(
        name="folder",
        title="a folder for each label",
        read=read_folder,
        modalities=("video", "audio"),
        clips=None,
        speakers=None,
        classes=(),
        licence="your own",
        source="sort your clips into folders",
        layout=(
            "happy/clip.mp4, sad/other.wav, ...: films, pictures or sound of any usual suffix; "
            "clip.mp4 and clip.wav beside each other are one clip"
        ),
        options={"layout": get_args(Layout)},
    ),
    Corpus(
        name="table",
        title="a table of any clips",
        read=read_table,
        modalities=("video", "audio", "text"),
        clips=None,
        speakers=None,
        classes=(),
        licence="your own",
        source="write it: one line a clip",
        layout=(
            "a CSV file with the columns key and video, audio or text, and as you like label, speaker, "
            "corpus, split, gender, take and others; relative paths start at the table"
        ),
    ),
)
"""All corpora, in the order in which they are printed."""


def find_corpus(name: str) -> Corpus:
    """Return a corpus by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    for corpus in CORPORA:
        if corpus.name == name:
            return corpus
    raise ConfigError(f"corpus {name!r} is unknown; choose one of {', '.join(corpus.name for corpus in CORPORA)}")


def describe_corpora(names: Iterable[str]) -> dict[str, Any]:
    """Return what metrics.json says of some corpora by their names alone; a name that is not here has no licence."""
    licences, names = {corpus.name: corpus.licence for corpus in CORPORA}, sorted(names)
    return {
        "names": names,
        "licences": {name: licences.get(name) for name in names},
        "root": None,
        "synthetic": DEMO_CORPUS in names,
        "left_out": [],
    }
