"""What was changed at the clouds behind the file's back: who did it, when, what comes of it, and the way back."""
