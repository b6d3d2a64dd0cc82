"""The voice to tokens: raw waveforms, log-mel spectrograms, pretrained speech networks."""
