"""One modality to tokens: an encoder is a module that takes ``(x, mask)`` and returns :class:`~mmer.batch.Tokens`."""
