"""The parts of ChatDeepSeek: what it asks, how it calls, what it makes of replies."""
