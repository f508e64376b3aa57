"""Tables: what they may hold, how they are read, which rules bind them, how they become codes."""
