"""Training: the loop, its configuration and recipes, checkpoints, metrics, and what to do when a loss is not finite."""

from minillm.train.config import TrainConfig
from minillm.train.loop import Trainer

__all__ = ["TrainConfig", "Trainer"]
