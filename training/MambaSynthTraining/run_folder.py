"""The files of a run's folder, by their names."""

RUN = "run.json"
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
