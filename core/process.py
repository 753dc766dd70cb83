"""How a process starts and ends."""
