"""The report on a data set as text, worst findings first."""

from __future__ import annotations

from typing import Any

from cnnrun.data.inspection.report import FEW, IMBALANCED, Report
from cnnrun.data.targets import KINDS
from cnnrun.runtime.printable import printable
from cnnrun.runtime.text_table import columns

_SHOWN = 5
_MOST_CLASSES = 20
# What there is a row of.
_WORD = {"labels": "class", "label_sets": "label", "values": "value", "masks": "class"}


def to_text(report: Report) -> str:
    """Warnings, then numbers; some 20 to 50 lines."""
    found = warnings(report)
    first = [f"WARNING  {line}" for line in found] or ["No problems found."]
    parts = [first, _counts(report), _pixels(report), _copies(report), _bad_files(report)]
    parts.append([f"note: {note}" for note in report["notes"]])
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def warnings(report: Report) -> list[str]:
    """One line for each thing that would spoil training or its measurement, the worst first."""
    return [
        *_leaks(report),
        *_conflicts(report),
        *_classes_missing(report),
        *_imbalance(report),
        *_bad_images(report),
    ]


def _leaks(report: Report) -> list[str]:
    lines = []
    for kind, words in (("exact", "pixel for pixel"), ("near", "nearly the same (look at them)")):
        for split, count in report[kind]["leaked"].items():
            if count:
                total = report["totals"][split]
                lines.append(
                    f"leakage: {count:,} of {total:,} {split} images ({count / total:.2%}) are "
                    f"also in {_earlier(split)}, {words}"
                )
    return lines


def _earlier(split: str) -> str:
    return "training" if split == "validation" else "training or validation"


def _conflicts(report: Report) -> list[str]:
    exact, near = report["exact"]["conflicts"], report["near"]["conflicts"]
    words = {"label_sets": "sets of labels"}.get(report["targets"], report["targets"])
    lines = []
    if exact:
        lines.append(f"labels: {_count(exact, 'image')} with several {words} at once")
    if near:
        lines.append(f"labels: {_count(near, 'pair')} of near copies with different {words}")
    return lines


def _classes_missing(report: Report) -> list[str]:
    words = KINDS[report["targets"]].words
    lines = [f"classes: there is only one class, {_some(report['classes'])}: nothing to classify"]
    one_alone = len(report["classes"]) == 1 and report["targets"] == "labels"
    lines = lines if one_alone else []
    if report["everywhere"]:
        lines.append(f"labels: every training image has {_some(report['everywhere'])}")
    lines += [
        f"{words}: {len(names):,} of {len(report['classes']):,} have no image in the {split} "
        f"split: {_some(names)}"
        for split, names in report["missing"].items()
        if names
    ]
    if report["few"]:
        few = report["few"]
        lines.append(f"{words}: {len(few):,} have fewer than {FEW} training images: {_some(few)}")
    return lines


def _imbalance(report: Report) -> list[str]:
    largest, smallest, ratio = (report["imbalance"][k] for k in ("largest", "smallest", "ratio"))
    if ratio is None or ratio <= IMBALANCED:
        return []
    return [
        f"imbalance: {ratio:,.0f} times as many training images of {printable(largest['class'])} "
        f"({largest['count']:,}) as of {printable(smallest['class'])} ({smallest['count']:,})"
        + ("; accuracy will hide the small class" if report["targets"] == "labels" else "")
    ]


def _bad_images(report: Report) -> list[str]:
    lines = []
    if report["bad_files"]:
        lines.append(f"files: {_count(len(report['bad_files']), 'sample')} can't be read")
    if report["blank"]["count"]:
        places = [_place(place) for place in report["blank"]["images"]]
        count = report["blank"]["count"]
        lines.append(f"blank: {_count(count, 'image')} of one color: {_some(places, count)}")
    return lines


def _counts(report: Report) -> list[str]:
    """A table of classes by splits; of many classes the smallest and largest."""
    counts, classes = report["counts"], report["classes"]
    order = sorted(range(len(classes)), key=lambda k: -counts["all"][k])
    omitted = max(0, len(classes) - _MOST_CLASSES)
    if omitted:
        half = _MOST_CLASSES // 2
        order = [*order[:half], *order[-half:]]
    else:
        order = sorted(order)
    first = _WORD[report["targets"]]
    rows = [(first, *counts), *((classes[k], *_at(counts, k)) for k in order)]
    rows.append(("total", *(f"{report['totals'][split]:,}" for split in counts)))
    if omitted:
        more = (f"... {omitted:,} more classes ...", *("" for _ in counts))
        rows.insert(1 + _MOST_CLASSES // 2, more)
    return columns(rows, right=range(1, len(rows[0])), names=(0,))


def _at(counts: dict[str, list[int]], k: int) -> list[str]:
    return [f"{of_split[k]:,}" for of_split in counts.values()]


def _pixels(report: Report) -> list[str]:
    image, pixels = report["image"], report["pixels"]
    kind = {1: "gray", 3: "RGB"}.get(image["channels"], f"{image['channels']} channels")
    lines = [f"images      {image['height']} x {image['width']} (height x width), {kind}"]
    for name, found in (report["files"] or {}).items():
        most = [f"{what} ({count:,})" for what, count in found.items()]
        lines.append(f"file {name}  {_some(most)}")
    bright = pixels["brightness"]
    return [
        *lines,
        f"mean        {_numbers(pixels['mean'])}  (training split, 0..1)",
        f"std         {_numbers(pixels['std'])}",
        f"brightness  {bright['least']:.3f} to {bright['most']:.3f}, median {bright['median']:.3f}",
    ]


def _copies(report: Report) -> list[str]:
    exact, near = report["exact"], report["near"]
    lines = [
        f"exact duplicates  {_count(exact['groups'], 'group')}, {exact['across']:,} across splits"
    ]
    lines += [f"  {' = '.join(map(_place, group[:3]))}" for group in exact["images"][:_SHOWN]]
    if not near["searched"]:
        return [*lines, "near duplicates   not searched: the images are too small to compare"]
    lines.append(
        f"near duplicates   {_count(near['pairs'], 'pair')}, {near['across']:,} across splits"
    )
    return lines + [f"  {' ~ '.join(map(_place, pair))}" for pair in near["images"][:_SHOWN]]


def _bad_files(report: Report) -> list[str]:
    bad = report["bad_files"]
    lines = [f"  {printable(file['path'])}: {file['reason']}" for file in bad[:_SHOWN]]
    more = [f"  ... and {len(bad) - _SHOWN:,} more"] if len(bad) > _SHOWN else []
    return ["bad files", *lines, *more] if bad else []


def _place(place: dict[str, Any]) -> str:
    file = f" {place['file']}" if "file" in place else ""
    return printable(f"{place['split']} {place['index']} ({place['class']}){file}")


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _some(names: list[str], total: int | None = None) -> str:
    more = (total or len(names)) - _SHOWN
    return ", ".join(map(printable, names[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
