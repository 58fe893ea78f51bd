"""Do Entra, Google, Azure and the policy agree? What each must hold, what each does hold, and the difference.

Values in the middle (`things`, `desired`, `planning`), effects at the edges (`clouds`, `applying`). Leaves out: billing
and networks, on which no decision of Remit's rests.
"""
