"""One function per operation; a torch reference that always works, faster sets chosen by CPU features."""
