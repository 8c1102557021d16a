"""Applications over deepseek_apps: the code-generation agent, of which the sandbox is there."""
