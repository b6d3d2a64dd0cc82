"""From a manifest to batches: prepare once, then read quickly."""
