"""What an edit of the policies would have changed: recorded decisions, taken again under both sets."""
