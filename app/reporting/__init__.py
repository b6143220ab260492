from app.reporting.plan import plan_section
from app.reporting.report import build_report
from app.reporting.rows import NOT_DRAWN

__all__ = ["NOT_DRAWN", "build_report", "plan_section"]
