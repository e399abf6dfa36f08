"""Optimizers: each a pure update kernel over flat buffers and a small class; clipping and schedules beside them."""

from minillm.optim.adamw import AdamW
from minillm.optim.clip import clip_scale, global_norm
from minillm.optim.schedule import warmup_cosine

__all__ = ["AdamW", "clip_scale", "global_norm", "warmup_cosine"]
