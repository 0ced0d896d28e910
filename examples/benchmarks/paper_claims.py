"""Do the claims of "Adversarial Robustness: From Self-Supervised ..." hold here?

    python examples/benchmarks/paper_claims.py --scale small --data PATH --out DIR

PATH holds train/<class>/ and test/<class>/. Backbones are pre-trained on rotation,
jigsaw, selfie, SimCLR (through the callback) and on three tasks at once, standard and
adversarial; fine-tuned on a labelled subset by a linear head (SLF), a linear head on
perturbed images (ALF) and full adversarial fine-tuning (AFF); and attacked on all
test images, also as ensembles. Claims:

(a) adversarial pre-training + AFF beats AFF from scratch, also of twice the epochs;
(b) it beats standard pre-training, at a learning rate chosen for each on validation;
(c) it needs fewer epochs and image passes to get as far as scratch;
(d) ensembles, in pre-training and of classifiers, beat the best single task, and
    ensembles of tasks beat ensembles of seeds of one task;
(e) the gradient-diversity term helps (on, off, reversed).

Written are results.json, results.md and figure1.png. Every job leaves a file, so the
command can be stopped and repeated. The settings are in examples/recipes/paper_claims.

- [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning, 2020,
  https://arxiv.org/abs/2003.12862
"""

from __future__ import annotations

import argparse
from pathlib import Path

from claims import settings, tables
from claims.jobs import Workers, processes
from claims.phases import Experiment


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scale", choices=["small", "paper"], default="small")
    parser.add_argument("--data", type=Path, required=True, help="image folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/paper_claims"))
    parser.add_argument("--workers", type=int, help="processes; default: processors")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY.KEY=VALUE")
    args = parser.parse_args()

    chosen = settings.read(args.scale, args.set, args.out, args.seeds)
    experiment = Experiment(chosen, args.data, args.out)
    with processes(args.workers) as pool:
        experiment.run(Workers(pool))
    content = tables.collect(experiment)
    settings.write(args.out / "results.json", content)
    (args.out / "results.md").write_text(tables.markdown(content))
    tables.draw(content, args.out / "figure1.png")
    print(tables.markdown(content))


if __name__ == "__main__":
    main()
