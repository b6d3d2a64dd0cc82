"""Encoders of the face, one module a family."""
