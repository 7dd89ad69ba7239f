"""Which runs there are and how they get done; Ray lives here."""
