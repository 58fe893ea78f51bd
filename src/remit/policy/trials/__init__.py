"""Policy tests: cases in files beside the policies, run by the very judge, and what they reach."""
