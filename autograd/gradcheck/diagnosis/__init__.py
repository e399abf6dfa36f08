"""What kind of bug a wrong gradient looks like."""

from autograd.gradcheck.diagnosis.diagnose import diagnose
from autograd.gradcheck.diagnosis.evidence import Diagnosis, Evidence, Kind

__all__ = ["Diagnosis", "Evidence", "Kind", "diagnose"]
