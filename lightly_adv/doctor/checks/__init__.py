"""One file for each check, named like the check."""
