"""Whose work is it? A colleague of another team, and a guest in the same one, at a job of Dana's that runs."""

import pytest

pytestmark = [pytest.mark.e2e]
