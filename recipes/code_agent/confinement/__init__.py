"""What the sandbox is made of: bubblewrap's command line, limits, the workspace, processes by number."""
