"""The report of a run: one HTML page that needs nothing beside itself."""

from pathlib import Path

from foreframe.report.page import page
from foreframe.report.read import read_run
from foreframe.system.files import write_text

REPORT = "report.html"


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; returns its path.

    What is not there yet (no evaluation, no epoch done) is named on the page with the command that
    makes it.

    Raises:
        ForeframeError: the folder holds no run, one of its files is damaged, or the report could
            not be written.
    """
    path = run / REPORT
    write_text(path, page(read_run(run)))
    return path
