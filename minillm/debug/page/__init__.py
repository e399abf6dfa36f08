"""The backward pass as one HTML file: the model, each step's sources and arrays, attention and the gradients' flow."""

from minillm.debug.page.report import write_page

__all__ = ["write_page"]
