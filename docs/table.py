"""Score every checkpoint in a folder on its test part and print a table: python docs/table.py FOLDER markdown|latex."""

import sys
from pathlib import Path

from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.measure import measure
from mmer.evaluation.table import format_table
from mmer.inference.predictor import choose_device

folder, style = Path(sys.argv[1]), sys.argv[2]
paths, device = sorted(folder.rglob("*.ckpt")), choose_device("auto")
systems = [evaluate_checkpoint(path, name=str(path.relative_to(folder)), device=device) for path in paths]
print(format_table(measure(systems), style))
