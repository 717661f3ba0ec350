"""Tables, figures and the page, made from the files of finished runs alone."""

from alcurr.report.bootstrap import paired_bootstrap
from alcurr.report.curves import mean_curves, read_logs
from alcurr.report.page import write_report
from alcurr.report.sections import Section, make_sections
from alcurr.report.tables import read_results

__all__ = [
  "Section",
  "make_sections",
  "mean_curves",
  "paired_bootstrap",
  "read_logs",
  "read_results",
  "write_report",
]
