"""What compression costs beyond test accuracy: models made from one original, under noise and corruptions.

    python benchmarks/robustness.py ORIGINAL --data FILE --model pruned=PATH --model 'fine-tuned=PATH' ...

FILE is an .npz of normalised images x and classes y; --mean and --std say by what. Prints a table and writes JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from compressor.commands.robustness import robustness
from compressor.config.robustness import RobustnessSettings
from compressor.render.robustness_page import write_robustness
from compressor.results.robustness import RobustnessReport

RESULTS = Path(__file__).parent / "results" / "robustness.json"
CIFAR = ("0.4914,0.4822,0.4465", "0.2470,0.2435,0.2616")


def rows(report: RobustnessReport, names: list[str]) -> list[dict[str, Any]]:
    """One row a model: sizes, accuracy clean and shifted, excess error, agreement with the original."""
    accuracy = {(row.model, row.shift, row.level): row for row in report.accuracy}
    likeness = {(row.model, row.shift, row.level): row for row in report.likeness}
    strongest = max(row.level for row in report.accuracy if row.shift == "noise" and row.level is not None)
    told = {"clean": ("clean", 0.0), "noise": ("noise", strongest)}
    told |= {row.shift: (row.shift, None) for row in report.accuracy if row.level is None}
    found = []
    for name, model in zip(names, report.models, strict=True):
        row: dict[str, Any] = {"name": name, "saved": model.saved, "macs": model.stats.macs, "bytes": model.stats.bytes}
        for title, (shift, level) in told.items():
            measured, like = accuracy[model.label, shift, level], likeness.get((model.label, shift, level))
            row[title] = {"accuracy": measured.accuracy.model_dump()}
            if measured.excess_error is not None and like is not None and like.agreement is not None:
                row[title]["excess_error"] = measured.excess_error.model_dump()
                row[title]["agreement"] = like.agreement.model_dump()
        found.append(row)
    return found


def show(found: list[dict[str, Any]]) -> None:
    titles = [key for key in found[0] if isinstance(found[0][key], dict)]
    print("accuracy (excess error), %\n" + f"{'':16}" + "".join(f"{title:>18}" for title in titles))
    for row in found:
        cells = []
        for title in titles:
            cell, excess = f"{100 * row[title]['accuracy']['value']:.1f}", row[title].get("excess_error")
            cells.append(cell if excess is None else f"{cell} ({100 * excess['value']:+.1f})")
        print(f"{row['name']:16}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("original", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH", help="repeatable")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--mean", default=CIFAR[0])
    parser.add_argument("--std", default=CIFAR[1])
    parser.add_argument("--report", type=Path, help="also write the page")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    models = dict(item.split("=", 1) for item in options.model)
    settings = RobustnessSettings.parse(
        {
            "data": options.data,
            "samples": options.samples,
            "draws": options.draws,
            "normalised": True,
            "mean": options.mean,
            "std": options.std,
        }
    )
    start = time.perf_counter()
    report = robustness(options.original, [Path(path) for path in models.values()], settings, progress=print)
    found = rows(report, ["dense", *models])
    show(found)
    about = {"seconds": round(time.perf_counter() - start, 1), "samples": report.samples, "draws": report.draws}
    document = {**about, "environment": report.environment.model_dump(), "models": found}
    document["potential"] = [row.model_dump() for row in report.potential]
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.report is not None:
        write_robustness(report, options.report)


if __name__ == "__main__":
    main()
