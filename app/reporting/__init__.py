from app.reporting.plan import plan_section
from app.reporting.report import build_report

__all__ = ["build_report", "plan_section"]
