"""The loss curve as a PNG, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path

from minillm.files import replacing
from minillm.train import metrics


def plot_losses(metrics_file: Path, png: Path) -> bool:
    """Draw training and validation loss against the step; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    lines = metrics.read(metrics_file)
    evaluated = [line for line in lines if line["val_loss"] is not None]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([line["step"] for line in lines], [line["train_loss"] for line in lines], lw=0.8, label="training batch")
    axes.plot(
        [line["step"] for line in evaluated], [line["val_loss"] for line in evaluated], "o-", label="validation split"
    )
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.legend()
    with replacing(png) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
