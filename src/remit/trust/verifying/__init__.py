"""Whether the trust holds: every hop walked as each role would, and three sides compared."""
