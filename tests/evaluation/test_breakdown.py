from __future__ import annotations

import torch

from lightly_adv.evaluation import breakdown, statistics


def test_classes_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (200,), generator=generator)
    flags = {
        "clean": torch.rand(200, generator=generator) < 0.7,
        "a": torch.rand(200, generator=generator) < 0.5,
        "worst": torch.rand(200, generator=generator) < 0.3,
    }
    rows = breakdown.per_class(labels, flags)
    assert [row["class"] for row in rows] == [0, 1, 2, 3, 4]
    assert sum(row["num_samples"] for row in rows) == 200
    for side, flag in (("clean", flags["clean"]), ("robust", flags["worst"])):
        right = [row[f"{side}_accuracy"] * row["num_samples"] / 100 for row in rows]
        assert round(sum(right)) == int(flag.sum())
        for row, count in zip(rows, right, strict=True):
            expected = list(statistics.wilson(round(count), row["num_samples"]))
            assert row[f"{side}_interval"] == expected


def test_confusion_counts_every_image_once() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, found = torch.randint(4, (2, 300), generator=generator)
    matrix = breakdown.confusion(labels, found, classes=4)
    assert [sum(row) for row in matrix] == labels.bincount(minlength=4).tolist()
    columns = [sum(column) for column in zip(*matrix, strict=True)]
    assert columns == found.bincount(minlength=4).tolist()
    assert sum(matrix[i][i] for i in range(4)) == int((labels == found).sum())
    assert matrix[1][2] == int(((labels == 1) & (found == 2)).sum())
