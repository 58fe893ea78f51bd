"""The clouds as the trust reads and changes them: one adapter each, behind one port."""
