from app.reporting.report import build_report

__all__ = ["build_report"]
