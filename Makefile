# make demo            the whole system on synthetic clips: about 8 minutes on 2 cores, and a few more to install
# make demo-features   the same clips with descriptors of their sound, which some systems in configs/tiny read
# make test            every test
# make setup | lint | clean (which leaves every run but the demo's)
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
ACTORS := 16
TAKES := 2

.PHONY: demo demo-data demo-features test setup lint clean
.DELETE_ON_ERROR:

demo: demo-data
	$(BIN)/python train.py fit --config configs/demo.yaml --overwrite
	$(BIN)/python evaluate.py --checkpoint $(DEMO)/fit/checkpoints/best.ckpt --output $(DEMO)/report

demo-data: setup
	$(BIN)/mmer synthesize $(DEMO)/raw --actors $(ACTORS) --takes $(TAKES) --seed 0
	$(BIN)/mmer prepare ravdess $(DEMO)/raw $(DEMO)/data --size 96

demo-features: demo-data
	$(BIN)/mmer features $(DEMO)/data $(DEMO)/mfcc.npz --set mfcc
	$(BIN)/mmer features $(DEMO)/data $(DEMO)/voice.npz --set voice
	$(BIN)/mmer prepare ravdess $(DEMO)/raw $(DEMO)/described --size 96 --features mfcc=$(DEMO)/mfcc.npz --features descriptors=$(DEMO)/voice.npz

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --durations 40 --durations-min 3

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmer needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv $(DEMO) .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
