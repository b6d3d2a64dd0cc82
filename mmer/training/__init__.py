"""Training on PyTorch Lightning; nothing below this floor imports it."""
