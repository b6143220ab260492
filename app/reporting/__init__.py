from app.reporting.plan import build_plan_section
from app.reporting.report import build_report
from app.reporting.rows import UNUSED_COLUMNS

__all__ = ["UNUSED_COLUMNS", "build_plan_section", "build_report"]
