"""`lightly-adv corruptions`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightly_adv.cli import attacked, console, loaders
from lightly_adv.cli.finetune import FinetuneCLI
from lightly_adv.cli.run_folder import write_json
from lightly_adv.evaluation import CorruptionReport, evaluate_corruptions, figures
from lightly_adv.evaluation.corruptions import COMMON, CORRUPTIONS, CifarC, table
from lightly_adv.files import replace as write_text

EXAMPLES = f"""\
The test images of the run that the checkpoint lies in are corrupted as they come;
options of the data change them. The table has the accuracy at each severity in percent.
With --cifar_c the corrupted images are those of the published CIFAR-10-C or
CIFAR-100-C, and the data have to be the test set in its own order. After a kill the
same command goes on where it was: what is lost is the batch in work.

corruptions:
  common: {", ".join(COMMON[:8])},
    {", ".join(COMMON[8:])}
  for tuning: {", ".join(name for name in CORRUPTIONS if name not in COMMON)}

examples:
  lightly-adv corruptions runs/finetune/checkpoints/best-robust.ckpt
  lightly-adv corruptions runs/finetune/checkpoints/last.ckpt --severities 1 3 5 \\
    --corruptions fog snow --max_samples 1000
  lightly-adv corruptions runs/finetune/checkpoints/last.ckpt --cifar_c CIFAR-10-C
"""


def run(arguments: Sequence[str]) -> int:
    """Measure a classifier on corrupted test images; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    names = _names(options.corruptions)
    severities = table.check_severities(options.severities)
    files = None if options.cifar_c is None else CifarC(options.cifar_c)
    cli = attacked.restore(options.checkpoint, others)
    facts = attacked.facts(options.checkpoint)
    out: Path = options.out or cli.folder.path / _file_name(options)
    written = [out, out.with_suffix(".md"), out.with_suffix(".png")]
    for path in written:
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another file with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    state = out.with_name(f"{out.name}.state")
    if state.exists():
        console.say(f"corruptions: going on from {state}")
    loader, order = _images(cli, as_they_come=files is not None)
    report = evaluate_corruptions(
        cli.model,
        loader,
        names,
        severities=severities,
        files=files,
        max_samples=options.max_samples,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
        state=state,
    )
    console.say(_text(report))
    content = json.loads(report.to_json(name=options.checkpoint.stem))
    write_json(out, {**content, "order": order, **facts})
    state.unlink()
    console.say(f"corruptions: the report is in {_beside(report, written)}")
    return 0


def _names(given: Sequence[str]) -> tuple[str, ...]:
    """Return the corruptions that are asked for, by name or as a group."""
    alone = len(given) == 1 and given[0] in ("common", "all")
    return table.resolve(given[0] if alone else given)


def _images(cli: FinetuneCLI, *, as_they_come: bool) -> tuple[Iterable[Any], str]:
    if not as_they_come:
        return loaders.test_images(cli.datamodule)
    cli.datamodule.setup("test")
    return cli.datamodule.test_dataloader(), loaders.AS_THEY_COME


def _beside(report: CorruptionReport, paths: Sequence[Path]) -> str:
    """Write table and figure beside the report; return what there is."""
    out, markdown, image = paths
    write_text(markdown, report.to_markdown() + "\n")
    found = f"{out}, the table in {markdown.name}"
    try:
        figures.save(report.figure(), image)
    except ImportError as error:  # matplotlib is an extra
        return f"{found}; {error}"
    return f"{found}, the figure in {image.name}"


def _text(report: CorruptionReport) -> str:
    """Return the accuracies as a table, and the line with the means."""
    severities = {str(each): str(each) for each in report.severities}
    columns = {"corruption": "corruption", **severities, "mean": "mean"}
    return f"{console.table(report.table(), columns)}\n{report}"


def _file_name(options: argparse.Namespace) -> str:
    """Name the report after what differs from the usual."""
    parts = ["corruptions", options.checkpoint.stem]
    if options.cifar_c is not None:
        parts.append(options.cifar_c.resolve().name)
    if options.corruptions != ["common"]:
        parts += options.corruptions
    if options.severities != list(table.SEVERITIES):
        parts.append("at-" + "-".join(map(str, options.severities)))
    if options.max_samples is not None:
        parts.append(f"{options.max_samples}-images")
    return f"{'-'.join(parts)}.json"


def _parser() -> argparse.ArgumentParser:
    parser = attacked.parser(
        "corruptions",
        "Measure accuracy of a fine-tuned classifier on corrupted images: noise, "
        "blur, weather, and what programs do.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="<run>/checkpoints/<name>.ckpt")
    add(
        "--corruptions",
        nargs="+",
        default=["common"],
        metavar="NAME",
        help="names, or common for the 15, or all for the 19; default: common",
    )
    add(
        "--severities",
        nargs="+",
        type=int,
        default=list(table.SEVERITIES),
        metavar="N",
        help="default: 1 2 3 4 5",
    )
    add("--cifar_c", type=Path, help="folder of CIFAR-10-C or CIFAR-100-C")
    add("--max_samples", type=int, help="use only that many test images")
    add("--seed", type=int, default=0, help="seed of what is drawn; default: 0")
    add(
        "--out", type=Path, help="JSON file to write; default: in the folder of the run"
    )
    return parser
