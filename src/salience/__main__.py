"""`python -m salience` is the command line."""

import sys

from salience.cli import main

sys.exit(main())
