"""The kinds of runs, and the folder that each leaves."""
