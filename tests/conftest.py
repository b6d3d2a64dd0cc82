"""Media that the tests share: drawn faces, tones, and files that are broken or odd in every way seen in the wild."""

from __future__ import annotations

import os
import signal
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import tokenizers
import torch
from numpy.typing import NDArray
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from mmer.checkpoint import CARD, Card
from mmer.config import (
    ClipConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    SplitConfig,
    TransformerFusionConfig,
    WaveCNNConfig,
)
from mmer.corpora.demo import synthesize
from mmer.media.container import Source
from mmer.media.video import read_video
from mmer.media.write import write_clip
from mmer.model import EmotionModel, build_model

torch.set_num_threads(1)  # networks this small are slower on several threads, tenfold where other work competes

Image = NDArray[np.uint8]

RIGHT_TURN = (0, 1, -1, 0)
"""a, b, c, d of an mp4 display matrix: the player turns the picture clockwise by 90 degrees."""

BAD_MEDIA = {
    "missing.mp4": "the file does not exist",
    "folder.mp4": "it is not a file",
    "zero bytes.mp4": "the file is empty (0 bytes)",
    "text.mp4": "it cannot be read as media",
    "cut in moov.mp4": "the file is truncated",
    "cut in the middle.mp4": "the file is truncated",
    "cut in the middle.avi": "the file is truncated",
    "cut in the middle.wav": "the file is truncated",
    "cut in the middle.flac": "it cannot be read as media",
    "no face.mp4": "no face in any of 6 frames",
    "all black.mp4": "no face in any of 6 frames",
    "one hour.mp4": "it lasts 3600 s and a clip may last 120 s; cut it into clips",
    "nan.wav": "1 of 16000 audio samples are not finite numbers",
    "no samples.wav": "its audio stream holds no samples",
}
"""What cannot be a clip, and a part of the reason that is given."""

ODD_MEDIA = (
    "a face.mp4",
    "sound only.m4a",
    "no sound.mp4",
    "two faces.mp4",
    "face at times.mp4",
    "portrait.mp4",
    "variable rate.mp4",
    "two tenths.mp4",
    "camcorder.avi",
    "spaces ünd 顔 %03d.mp4",
    "8 kHz.wav",
    "44.1 kHz stereo.wav",
    "24 bit.wav",
    "float.wav",
    "flac.flac",
)
"""What looks odd and is a clip all the same."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that have something slow first, so that in the end no process waits for another that has it."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give signals back to whom they were, for Lightning ignores Ctrl-C behind the first one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo corpus of one actor, each emotion once."""
    folder = tmp_path_factory.mktemp("demo")
    synthesize(folder, actors=1, takes=1, progress=False)
    return folder


@pytest.fixture(scope="session")
def talking(demo_corpus: Path) -> Path:
    """A clip with a face and a voice."""
    return min(demo_corpus.rglob("*.mp4"))


@pytest.fixture(scope="session")
def face(talking: Path) -> Image:
    """A frame with one face, [240 320 3]."""
    return next(read_video(Source("face", talking))).image


@pytest.fixture(scope="session")
def scenery(face: Image) -> Image:
    """A colourful frame of the same shape without a face."""
    return np.linspace(40, 220, face.size).astype(np.uint8).reshape(face.shape)


def sine(seconds: float, rate: int, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(scope="session")
def tone() -> Callable[..., NDArray[np.float32]]:
    """Make a sine of amplitude 0.5: ``tone(seconds, rate, hertz=440)``."""
    return sine


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a small media file: ``make_clip(name, frames, **settings of write_clip)``."""

    def make(name: str, frames: list[Image] | None = None, **settings: object) -> Path:
        write_clip(tmp_path / name, frames, **settings)
        return tmp_path / name

    return make


def write_pcm(path: Path, samples: NDArray[np.float32], rate: int, channels: int = 1) -> Path:
    """Write a 16-bit wav file with the same samples on every channel, without our own writer."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").repeat(channels).tobytes())
    return path


def write_timed(path: Path, frames: list[Image], times: list[float], **options: str) -> Path:
    """Write a video whose frames have their own times, in seconds; the options are the container's."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_on_display(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Set the display matrix of an mp4 file's only track: a point (x, y) is shown at (ax + cy, bx + dy)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    for place, value in zip((0, 4, 12, 16), (a, b, c, d), strict=True):  # the third column is u, v, w
        data[start + place : start + place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session", name="write_timed")
def _write_timed() -> Callable[..., Path]:
    return write_timed


@pytest.fixture(scope="session", name="turn_on_display")
def _turn_on_display() -> Callable[[Path, tuple[int, int, int, int]], Path]:
    return turn_on_display


def index_first(path: Path, target: Path) -> Path:
    """Copy an mp4 file with its index in front, as the web likes it."""
    with av.open(str(path)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as container:
        streams = [container.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    return target


@pytest.fixture(scope="session")
def bad_media(tmp_path_factory: pytest.TempPathFactory, face: Image, scenery: Image) -> dict[str, Path]:
    """The files of ``BAD_MEDIA`` by name."""
    folder = tmp_path_factory.mktemp("bad")
    path = {name: folder / name for name in BAD_MEDIA}
    path["folder.mp4"].mkdir()
    path["zero bytes.mp4"].touch()
    path["text.mp4"].write_text("Dear diary, this is no film.\n" * 20)
    write_clip(path["no face.mp4"], [scenery] * 6)
    write_clip(path["all black.mp4"], [np.zeros_like(face)] * 6)
    write_timed(path["one hour.mp4"], [face, face, face], [0.0, 1799.0, 3599.96])
    write_clip(path["nan.wav"], None, samples=sine(1, 16_000), sample_rate=16_000, audio_codec="pcm_f32le")
    path["nan.wav"].write_bytes(path["nan.wav"].read_bytes()[:-4] + np.float32(np.nan).tobytes())
    write_pcm(path["no samples.wav"], np.zeros(0, np.float32), 16_000)

    whole = {name: folder / f"whole.{name}" for name in ("mp4", "web.mp4", "avi", "wav", "flac")}
    write_clip(whole["mp4"], [face] * 50, samples=sine(2, 48_000))
    index_first(whole["mp4"], whole["web.mp4"])
    write_clip(whole["avi"], [face] * 50, samples=sine(2, 48_000), audio_codec="pcm_s16le")
    write_pcm(whole["wav"], sine(2, 48_000), 48_000)
    write_clip(whole["flac"], None, samples=sine(2, 48_000), audio_codec="flac")
    truncate(whole["mp4"], path["cut in moov.mp4"], 0.99)
    truncate(whole["web.mp4"], path["cut in the middle.mp4"], 0.5)
    for suffix in ("avi", "wav", "flac"):
        truncate(whole[suffix], path[f"cut in the middle.{suffix}"], 0.5)
    return path


def truncate(whole: Path, path: Path, share: float) -> None:
    data = whole.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.fixture(params=BAD_MEDIA)
def bad_medium(request: pytest.FixtureRequest, bad_media: dict[str, Path]) -> tuple[Path, str]:
    """Each bad file in turn, with a part of the reason that is given."""
    return bad_media[request.param], BAD_MEDIA[request.param]


@pytest.fixture(scope="session")
def odd_media(tmp_path_factory: pytest.TempPathFactory, face: Image, scenery: Image) -> dict[str, Path]:
    """The files of ``ODD_MEDIA`` by name."""
    folder = tmp_path_factory.mktemp("odd")
    path = {name: folder / name for name in ODD_MEDIA}
    voice = sine(0.4, 48_000)
    write_clip(path["a face.mp4"], [face] * 10, samples=voice)
    write_clip(path["sound only.m4a"], None, samples=voice)
    write_clip(path["no sound.mp4"], [face] * 6)
    write_clip(path["two faces.mp4"], [np.concatenate([face, face], axis=1)] * 6, samples=voice)
    write_clip(path["face at times.mp4"], [face] * 6 + [scenery] * 25, samples=voice)
    write_clip(path["portrait.mp4"], [np.rot90(face)] * 6, samples=None)
    turn_on_display(path["portrait.mp4"], RIGHT_TURN)
    write_timed(path["variable rate.mp4"], [face] * 6, [0.0, 0.04, 0.08, 0.12, 1.0, 1.5])
    write_clip(path["two tenths.mp4"], [face] * 5, samples=sine(0.2, 48_000))
    write_clip(path["camcorder.avi"], [face] * 6, samples=voice, audio_codec="pcm_s16le")
    write_clip(path["spaces ünd 顔 %03d.mp4"], [face] * 6, samples=voice)
    write_pcm(path["8 kHz.wav"], sine(1, 8_000), 8_000)
    write_pcm(path["44.1 kHz stereo.wav"], sine(1, 44_100), 44_100, channels=2)
    write_clip(path["24 bit.wav"], None, samples=sine(1, 48_000), audio_codec="pcm_s24le")
    write_clip(path["float.wav"], None, samples=sine(1, 48_000), audio_codec="pcm_f32le")
    write_clip(path["flac.flac"], None, samples=sine(1, 48_000), audio_codec="flac")
    return path


def write_checkpoint(model: EmotionModel, path: Path) -> Path:
    """Write a model as a training would that nobody was in."""
    card = Card(
        model.config,
        PrepareConfig(size=64),
        SplitConfig(),
        "nowhere",
        "untrained",
        {},
        ["none"],
        tokenizer=model.tokenizer,
    )
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({CARD: card.to_plain(), "state_dict": weights}, path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of a tiny model that sees and hears."""
    streams = {"face": MViTConfig("mvit", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")}
    config = ModelConfig(streams, clip=ClipConfig(frames=8), fusion=TransformerFusionConfig(dim=32, depth=1, heads=4))
    torch.manual_seed(0)
    return write_checkpoint(build_model(config, load=False), tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt")


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of three layers with its tokenizer, as ``save_pretrained`` writes them."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "am", "so", "happy", "sad", "."]
    library = tokenizers.Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    library.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    folder = tmp_path_factory.mktemp("hf") / "bert"
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    transformers.logging.disable_progress_bar()
    transformers.BertModel(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=library, model_max_length=16, **special).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; what needs it is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MMER_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; MMER_DATA says where they are")
    return folder
