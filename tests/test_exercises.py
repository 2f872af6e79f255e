"""Every notebook asks three to six things, each answered in words; typical wrong answers hear what is wrong."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from wrong_answers import slips

from mdelib import editions
from mdelib.editions import list_sources
from mdelib.exercises import check

LESSONS = [source for source in list_sources() if source.stem[:2] != "16"]
IMPORTS = "import math\nimport numpy as np\nimport torch\n"
ASKED = re.compile(r"^check\.(\w+)\((\w+)\)$", re.MULTILINE)
NUMBERED = re.compile(r"\*\*(\d+)\. (.+?)\*\*", re.DOTALL)


@cache
def build(source: Path) -> Any:
    """The student edition, not executed."""
    return editions.build(source)


def in_order(source: Path) -> list[tuple[str, str]]:
    """What stands under "Exercises": ("text", title), ("stub", its function), ("check", exercise), in order."""
    cells = build(source).cells
    start = next(place for place, cell in enumerate(cells) if re.search(r"^## Exercises", cell.source, re.MULTILINE))
    found = []
    for cell in cells[start:]:
        if cell.cell_type == "markdown":
            found += [("text", title) for _, title in NUMBERED.findall(cell.source)]
        elif "...  # your code" in cell.source:
            found.append(("stub", re.search(r"^def (\w+)", cell.source, re.MULTILINE)[1]))
        found += [("check", name) for name, _ in ASKED.findall(cell.source)]
    return found


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_a_notebook_has_three_to_six_exercises_from_warm_up_to_open_question(source: Path) -> None:
    text = "".join(cell.source for cell in build(source).cells if cell.cell_type == "markdown")
    numbers = [int(number) for number, _ in NUMBERED.findall(text.split("## Exercises")[1])]
    first = source.stem.startswith("00")  # only shows how an exercise works
    assert numbers == list(range(1, len(numbers) + 1)) and (2 if first else 3) <= len(numbers) <= 6
    kinds = [kind for kind, _ in in_order(source)]
    asked = kinds.count("check")
    assert kinds[:3 * asked] == ["text", "stub", "check"] * asked  # each has its blank, and each blank its check
    assert asked >= 2 and set(kinds[3 * asked:]) <= {"text"}
    opened = [title for _, title in in_order(source)[3 * asked:]]
    assert first or (opened and all("open" in title.lower() for title in opened))


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_no_blank_is_left_outside_the_exercises_and_each_has_hints(source: Path) -> None:
    blanks = sum("...  # your code" in cell.source for cell in build(source).cells if cell.cell_type == "code")
    assert blanks == sum(kind == "stub" for kind, _ in in_order(source))
    for name in (name for kind, name in in_order(source) if kind == "check"):
        hints = [hint for _, hint in getattr(check, name).mistakes]
        assert len(hints) >= 2 and all(len(hint) > 8 for hint in hints)


@cache
def stub_of(number: str, function: str) -> tuple[str, str]:
    """The cell with the blank of an exercise, and the name of its check."""
    source = next(source for source in list_sources() if source.stem.startswith(number))
    cells = build(source).cells
    stub = next(cell.source for cell in cells if f"def {function}(" in cell.source)
    (name,) = {name for cell in cells for name, given in ASKED.findall(cell.source) if given == function}
    return stub, name


def typed(number: str, function: str, code: str) -> Any:
    """What the notebook's own check says when `code` is typed where the dots are."""
    stub, name = stub_of(number, function)
    body = "\n".join(f"    {line}" for line in code.splitlines())
    scope: dict[str, Any] = {}
    exec(IMPORTS + ASKED.sub("", stub).replace("    ...  # your code", body), scope)
    return getattr(check, name)(scope[function])


WRONG = [
    ("00", "my_range", "x = torch.arange(depth.shape[1])\ny = torch.arange(depth.shape[0])[:, None]\n"
     "f = intrinsics[0, 0]\nreturn depth * (1 + (x / f)**2 + (y / intrinsics[1, 1])**2)**0.5", "principal point"),
    ("00", "my_mean_depth_map", "return depth.mean(0, keepdim=True)", "must not count as zero"),
    ("01", "my_delta1", "ratio = pred / target\nreturn (ratio[mask] < 1.25).float().mean()", "p/t and t/p"),
    ("01", "my_delta1", "return (torch.maximum(pred / target, target / pred) < 1.25).float().mean()",
     "inside the mask"),
    ("01", "my_median_align", "return pred * target[mask].mean() / pred[mask].mean()", "medians, not means"),
    ("01", "my_pooled_rmse", "return rmse.mean()", "mean over images"),
    ("01", "my_pooled_rmse", "return (pixels * rmse**2).sum() / pixels.sum()", "take the root"),
    ("02", "my_sharpness", "return target.diff().abs().sum() / prediction.diff().abs().sum()", "above the line"),
    ("02", "my_window", "return 1 + sum(k - 1 for k in kernels)", "steps of 2 pixels"),
    ("03", "my_ratio_of_expectations", "return 1 / 3", "begins at 0"),
    ("03", "my_expectation", "return 1 / 3", "mean of the ratio"),
    ("03", "my_p_values", "return (shuffled >= selectivity).float().mean(0)", "p-value of 0"),
    ("04", "my_robust_selectivity", "size = response.abs().clone()\nsize[:, pixels < least] = 0\n"
     "largest = size.max(1).values\nothers = (size.sum(1) - largest) / (size.shape[1] - 1)\n"
     "return (largest - others) / (largest + others)", "set to zero still counts"),
    ("05", "my_masked", "return image * mask", "fills with black"),
    ("05", "my_best", "return scores > scores.flatten().sort(descending=True).values[count - 1]", "one too few"),
    ("05", "my_auc", "inside, outside = mask[region][:, None], mask[~region]\n"
     "return (inside > outside).float().mean()", "ties count half"),
    ("06", "my_weights", "return channels**2 * merged", "literal outer product"),
    ("07", "my_sorted_transport", "return (pred - target).square().mean()", "sort both sides"),
    ("07", "my_depth_mass", "return depth / depth.sum()", "without depth has no mass"),
    ("07", "my_softmin", "return -epsilon * ((b * torch.exp((g - cost) / epsilon)).sum(1)).log()", "logsumexp"),
    ("08", "my_direction", "return bends / bends.norm(dim=0)", "0 / 0"),
    ("08", "my_chord_loss", "return (ours - true).square().sum(0)[counts].mean()", "root is missing"),
    ("09", "my_normalized_pixel", "return (weight * x * c).sum() / weight.sum(), (weight * c).sum() / weight.sum()",
     "dividing by Σ w takes what is not trusted"),
    ("09", "my_points_in_space", "x = (pixels[:, 0] - camera[0, 2]) / camera[0, 0]\n"
     "y = (pixels[:, 1] - camera[1, 2]) / camera[1, 1]\n"
     "return torch.stack([x, y, torch.ones_like(x)], 1) * depth[:, None]", "x comes from the column"),
    ("10", "my_logit_gradient", "return logits.softmax(0) - teacher", "KL(S || T) has another gradient"),
    ("10", "my_window_divergence", "share = logits[first:first + len(teacher)].log_softmax(0)\n"
     "return (teacher * (teacher.log() - share)).sum()", "over all bins"),
    ("11", "my_total", "known = torch.isfinite(teacher) & (teacher > 0)\n"
     "return beta * ((1 - alpha) * divergence[known].mean() + alpha * (1 - similar[known].mean()))",
     "weight of the divergence"),
    ("11", "my_own_nearest", "return (distances.argmin(1) == own).float().mean()", "tie counts as not nearer"),
    ("12", "my_pooled_spread", "return values.var(1).mean()", "root is missing"),
    ("12", "my_pooled_spread", "return values.std(1).mean()", "average variances"),
    ("13", "my_near_far", "return depth.max() - depth.min()", "mean of a quarter"),
    ("13", "my_rollout_step", "return (relevance + attention.mean(0) @ relevance) / 2", "use the transpose"),
    ("14", "my_agreement", "return (attribution * depth).mean()", "subtract both means"),
    ("15", "my_printed_range", "return float(text) - 0.05, float(text) + 0.05", "last printed digit"),
    ("16", "my_tolerant_verdict", "if low <= tolerance and high >= -tolerance:\n    return 'inconclusive'\n"
     "return 'agrees' if (low < 0) == (direction == 'greater') else 'disagrees'", "the side that the claim names"),
]


@pytest.mark.parametrize(("number", "function", "code", "words"), WRONG,
                         ids=[f"{number}-{function}-{words[:20]}" for number, function, _, words in WRONG])
def test_a_typical_wrong_answer_hears_its_own_mistake(number: str, function: str, code: str, words: str) -> None:
    outcome = typed(number, function, code)
    assert outcome.state == "failed"
    case, hint = outcome.message.split("Hint: ")  # where it went wrong, what was expected and what came; then why
    assert words in hint and re.match(r"on .+, .+ was expected, .+ came", case)


def test_the_first_measures_one_writes_name_their_mistakes() -> None:
    for name, wrong, words in (
            ("abs_rel", lambda p, t, mask: ((p - t).abs() / p)[mask].mean(), "not by the prediction"),
            ("abs_rel", lambda p, t, mask: ((p - t) / t)[mask].mean(), "cancel"),
            ("rmse", lambda p, t, mask: ((p - t)**2)[mask].mean(), "take the root"),
            ("rmse", lambda p, t, mask: (p - t).abs()[mask].mean(), "square before the mean")):
        assert words in getattr(check, name)(wrong).message.split("Hint: ")[1]


def test_every_notebook_has_a_wrong_answer_here() -> None:
    assert {number for number, *_ in WRONG} == {source.stem[:2] for source in list_sources()}


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_each_notebook_knows_ten_usual_mistakes(source: Path) -> None:
    names = [name for kind, name in in_order(source) if kind == "check"]
    assert sum(len(getattr(check, name).mistakes) for name in names) >= 10  # tests/test_checks.py tries them all


@cache
def solution_of(number: str, function: str) -> str:
    """The body of a function as the solution edition has it."""
    source = next(source for source in list_sources() if source.stem.startswith(number))
    cells = editions.build(source, solutions=True).cells
    solved = next(cell.source for cell in cells if f"def {function}(" in cell.source)
    body = next(part.body for part in ast.parse(solved).body if getattr(part, "name", None) == function)
    return "\n".join(ast.unparse(part) for part in body)


SOLUTIONS = [(source.stem[:2], function) for source in list_sources()
             for kind, function in in_order(source) if kind == "stub"]
HARMLESS = {  # changes that leave the answer right, and why
    "my_range": {"torch.arange(depth.shape[1])[None, :] -> torch.arange(depth.shape[1])",  # a row is broadcast anyway
                 "(None, :) -> (:,)", "(None, :) -> (None,)",
                 "u - intrinsics[0, 2] -> intrinsics[0, 2] - u",  # squared
                 "v - intrinsics[1, 2] -> intrinsics[1, 2] - v"},
    "my_mean_depth_map": {"mask.sum(0, keepdim=True) -> mask.sum(0)",  # the shape is free up to sides of 1
                          "torch.where(mask, depth, 0.0).sum(0, keepdim=True) -> torch.where(mask, depth, 0.0).sum(0)",
                          "count.clamp(min=1) -> count", "1 -> 0"},  # 0 / 0 is replaced
    "my_delta1": {"torch.maximum(pred / target, target / pred) -> torch.maximum(target / pred, pred / target)"},
    "my_expectation": {"40 -> 41", "200001 -> 200002"},  # a wider, a finer grid
    "my_advantage": {"torch.arange(matrix.shape[1]) - own[:, None] -> own[:, None] - torch.arange(matrix.shape[1])"},
    "my_sorted_transport": {"pred.sort().values - target.sort().values -> target.sort().values - pred.sort().values"},
    "my_depth_mass": {"1e-06 -> 0"},
    "my_exact_second": {  # what the balanced kernel sums to is 0, so its second moment is the same from anywhere
        "torch.arange(len(second), dtype=second.dtype) - len(second) // 2 -> torch.arange(len(second), "
        "dtype=second.dtype) + len(second) // 2",
        "torch.arange(len(second), dtype=second.dtype) - len(second) // 2 -> len(second) // 2 - torch.arange("
        "len(second), dtype=second.dtype)",
        "torch.arange(len(second), dtype=second.dtype) - len(second) // 2 -> torch.arange(len(second), "
        "dtype=second.dtype)",
        "second - second.sum() * smooth -> second.sum() * smooth - second",  # the scale has the sign, too
        "torch.arange(len(second), dtype=second.dtype) -> torch.arange(len(second))",
        "len(second) // 2 -> len(second) * 2", "len(second) // 2 -> len(second)", "len(second) // 2 -> 2", "2 -> 3"},
    "my_chord_loss": {"ours - true -> true - ours"},
    "my_confidence_map": {"pred - target -> target - pred"},
    "my_sparse_gradient": {"return torch.zeros_like(pred) -> return -torch.zeros_like(pred)",
                           "return torch.zeros_like(pred) -> return torch.zeros_like(pred) * 2",
                           "pred.clone() -> pred", "pred - target -> target - pred"},
    "my_log_mass": {"(tail[:-1], tail[1:]) -> (tail[1:], tail[:-1])", "left - right -> right - left",
                    "z[:-1] < 0 -> z[:-1] <= 0", "z[1:] >= 0 -> z[1:] > 0"},  # both formulas agree at 0
    "my_decode": {"centres - depth -> depth - centres", "density < 1e-16 -> density <= 1e-16"},
    "my_pooled_spread": {"values.var(1, correction=1) -> values.var(1)"},  # 1 is PyTorch's default
    "my_f_ratio": {"values.mean(1).var(correction=1) -> values.mean(1).var()",
                   "values.var(1, correction=1) -> values.var(1)"},
    "my_completeness": {"attribution.sum() - change -> change - attribution.sum()"},
    "my_agreement": {"(attribution - attribution.mean(), depth - depth.mean()) -> (depth - depth.mean(), "
                     "attribution - attribution.mean())"},
    "my_possible_error": {"rms ** 2 <= mean * largest * (1 + 1e-09) -> rms ** 2 < mean * largest * (1 + 1e-09)"},
    "my_tolerant_verdict": {"low > 0 -> low >= 0"},  # 0 is inside the tolerance
}


@pytest.mark.filterwarnings("ignore")  # wrong code may warn
@pytest.mark.parametrize(("number", "function"), SOLUTIONS)
def test_every_slip_in_a_solution_is_found(number: str, function: str) -> None:
    found = slips(solution_of(number, function))
    passed = {change.split(": ", 1)[1] for change, wrong in found.items()
              if typed(number, function, wrong).state != "failed"}
    assert passed == HARMLESS.get(function, set())
    exercise = getattr(check, stub_of(number, function)[1])
    assert len(found) - len(passed) + len(exercise.mistakes) >= 10


def test_solutions_pass_their_own_checks() -> None:
    assert len(SOLUTIONS) == sum(kind == "check" for source in list_sources() for kind, _ in in_order(source))
    for number, function in SOLUTIONS:
        assert typed(number, function, solution_of(number, function)).state == "passed", function


def test_an_unusual_mistake_still_hears_what_was_expected() -> None:
    outcome = typed("01", "my_pooled_rmse", "return rmse.max()")
    assert outcome.state == "failed" and "Hint" not in outcome.message
    assert re.search(r"on five images, [\d.]+ was expected, [\d.]+ came", outcome.message)


def test_code_that_does_not_run_is_told_and_not_raised() -> None:
    outcome = typed("07", "my_sorted_transport", "return pred.sorted() - target")
    assert outcome.state == "failed" and "it raised AttributeError" in outcome.message
