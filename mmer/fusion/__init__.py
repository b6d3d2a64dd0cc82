"""Several token streams to one vector: a fusion is a module that takes tokens by stream and has a ``dim``."""
