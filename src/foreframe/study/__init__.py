"""Studies: settings compared over several seeds, and a page whose sentences follow from numbers."""

from foreframe.study.page import write_page
from foreframe.study.plan import STUDIES, make_plan, scaled
from foreframe.study.study import run_study

__all__ = ["STUDIES", "make_plan", "run_study", "scaled", "write_page"]
