"""What the policies are used for: rules that do nothing, ids that nobody knows, permits wider than anything needed."""
