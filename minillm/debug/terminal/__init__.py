"""The stepper in the terminal, made with Textual, which is imported here and nowhere else."""

from collections.abc import Sequence

from minillm.debug.session import Session
from minillm.debug.terminal.app import Stepper


def run(session: Session, break_on: Sequence[str] = ()) -> None:
    """Step through a session in the terminal until the user quits. Arguments and errors are those of `Stepper`."""
    Stepper(session, break_on).run()


__all__ = ["Stepper", "run"]
