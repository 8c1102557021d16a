"""`python -m deepseek_apps`: the same as the `deepseek-apps` command."""

import sys

from deepseek_apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
