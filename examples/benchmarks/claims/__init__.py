"""The parts of `paper_claims.py`, in the order in which they are used."""
