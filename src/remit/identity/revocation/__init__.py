"""Who no longer counts: revoking, knowing it everywhere, and hearing of it from providers."""
