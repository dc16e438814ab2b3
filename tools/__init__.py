"""The command line, the demo, the survey simulator and the benchmarks."""
