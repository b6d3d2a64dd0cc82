"""From a checkpoint to answers about a file, without Lightning."""
