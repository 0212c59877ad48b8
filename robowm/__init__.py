"""robowm: learn how a manipulation scene behaves, plan in it, show the plan, then move the arm."""

__version__ = "0.1.0"
