"""The metric registry as the page reads it: `python web/metrics.py > web/src/data/metrics.json`."""

import json
from dataclasses import asdict

from quantcheck.metrics import METRICS

if __name__ == "__main__":
    print(json.dumps({key: asdict(metric) for key, metric in METRICS.items()}, indent=1))
