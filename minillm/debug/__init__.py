"""Look at a GPT's backward pass: a session, shown in the terminal or on a page."""

from minillm.debug.flow import LayerFlow
from minillm.debug.session import Session

__all__ = ["LayerFlow", "Session"]
