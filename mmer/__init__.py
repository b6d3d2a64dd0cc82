"""mmer: multimodal emotion recognition from faces, voices and words."""

from importlib.metadata import version

__version__ = version("mmer")
