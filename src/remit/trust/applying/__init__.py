"""Carrying out a plan that was reviewed: written ahead, so that one that was interrupted goes on or is undone."""
