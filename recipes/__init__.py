"""Applications over deepseek_apps; none yet."""
