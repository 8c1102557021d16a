"""The `deepseek-apps` command: one verb per file, `render` is the only printer."""
