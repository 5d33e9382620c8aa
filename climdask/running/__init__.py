"""One run, from start to end: the plan is made, the driver works, results are reported."""
