"""How fast models are, next to other implementations at equal weights; `benchmarks/speed.py` measures with it, too."""
