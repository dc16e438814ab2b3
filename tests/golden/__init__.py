"""What released versions wrote, and what it says: later versions read it."""
