"""What keeping freed memory changes: page faults of every pass, and the peak of the process.

python benchmarks/kept_memory.py                      all models, with and without
python benchmarks/kept_memory.py --models nest_tiny_224 --passes 8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

MODELS = ("nest_tiny_224", "hiera_tiny_224", "mvitv2_tiny_224")


def measure(name: str, work: str, passes: int, keep: bool, threads: int) -> None:
    """Prints the page faults of every pass and the process's peak in MB, as JSON."""
    import resource

    import torch

    import hvit
    from hvit.machine import keep_freed_memory

    if keep:
        keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    learns = work == "training"
    model = hvit.create_model(name).train(learns)
    images = torch.rand(8 if learns else 16, 3, *model.config.input_size)
    optimizer = torch.optim.AdamW(model.parameters())
    faults = []
    for _ in range(passes):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if learns:
            model(images).logsumexp(1).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        else:
            with torch.inference_mode():
                model(images)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(json.dumps({"faults": faults, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def main() -> None:
    """Measures every case in a process of its own, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names of the catalogue")
    parser.add_argument("--passes", type=int, default=6, help="passes of each model")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, work, keep = options.measure
        measure(name, work, options.passes, keep == "kept", options.threads)
        return
    for name in options.models:
        for work in ("inference", "training"):
            for keep in ("usual", "kept"):
                command = [sys.executable, __file__, "--passes", str(options.passes), "--threads", str(options.threads)]
                done = subprocess.run(
                    [*command, "--measure", name, work, keep], check=True, capture_output=True, text=True
                )
                row = json.loads(done.stdout)
                print(f"{name:16} {work:9} {keep:5}  peak {row['peak']} MB  faults {row['faults']}", flush=True)


if __name__ == "__main__":
    main()
