"""Why a decision came out as it did, and what would change it: parts of policies, what they saw, verified repairs."""
