"""The demo corpus: synthetic talking faces under RAVDESS's names, to try the whole system without a download.

It is a test bed. Scores on it say that the system works and nothing about people, and every report made on it says so.
"""

from mmer.corpora.demo.corpus import synthesize
from mmer.corpora.demo.script import Take, plan_takes

__all__ = ["Take", "plan_takes", "synthesize"]
