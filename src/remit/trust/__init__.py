"""Do Entra, Google and the policy agree? What each must hold, what each does hold, and the difference.

Values in the middle, effects at the edges: `desired.py` and `compare.py` are pure, `google.py` and `entra.py` read.
This room only verifies; building the trust comes later.
"""
