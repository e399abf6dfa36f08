"""Text from a trained model."""

from minillm.generate.generate import generate, generate_text
from minillm.generate.sampling import Sampling

__all__ = ["Sampling", "generate", "generate_text"]
