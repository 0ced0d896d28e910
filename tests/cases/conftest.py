"""The scripts run when the test calls them, not when doctests are collected."""

collect_ignore_glob = ["project_*.py", "report_*.py"]
