"""perf/run, once everything that it needs is there."""

import sys

from .main import main

sys.exit(main())
