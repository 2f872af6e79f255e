"""The audit: verdicts follow the printed numbers, and turn when a number turns."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision

from mdelib import models
from mdelib.audit import AUDIT_VERDICTS, audit_all, audit_claim, audit_counts, audit_line, audit_table, fill_numbers
from mdelib.dgr import DepthGradientRefinement
from mdelib.papers import KINDS, Claim, list_papers, load_claims
from mdelib.rules import evaluate
from mdelib.sheets import read_sheet

HOME = Path(__file__).resolve().parent.parent
AUDITED = audit_all()
BY_ID = {one.claim.id: one for one in AUDITED}
RULES = [pytest.param(f"{claim.id}-{number}", claim.paper, rule, id=f"{claim.id}-{number}")
         for claim in (one.claim for one in AUDITED) if claim.audit and claim.audit.rule
         for number, rule in enumerate((claim.audit.rule, *(other.rule for other in claim.audit.otherwise)))]


def claim_of(**audit) -> Claim:
    return Claim(id="huynh2021-toy", place="Table 1", states="a claim", notebook="15",
                 audit={"kind": "number", **audit}, instead="It is {table1.rmse[\"DPT\"]:.1f} m.")


def test_more_than_120_claims_of_five_papers_are_audited():
    assert len(AUDITED) >= 120 and set(audit_counts(AUDITED).index) == set(list_papers()) == {
        "choi2024", "cirillo2025", "huynh2021", "yao2023", "you2021"}
    assert len({one.claim.states for one in AUDITED}) == len(AUDITED)
    rules = [" ".join(one.claim.audit.rule.split()) for one in AUDITED if one.claim.audit and one.claim.audit.rule]
    few = {rule for rule in rules if rules.count(rule) > 1}
    assert len(few) <= 2, few  # "state of the art" and "best" may be one comparison; nothing else is counted twice


@pytest.mark.parametrize("one", AUDITED, ids=lambda one: one.claim.id)
def test_every_audited_claim_is_complete(one):
    assert one.verdict in AUDIT_VERDICTS and one.kind in KINDS and one.claim.place and one.claim.states
    assert bool(one.reading) == (one.verdict == "holds only with")
    if one.verdict in ("contradicted", "holds only with") and one.claim.id != "yao2023-sec4.1-sixty":
        assert len(one.instead) > 20
    assert one.instead.count("{") == one.instead.count("}") == 0
    if one.claim.audit and any(word in one.claim.states for word in ("generally", "typically", "favourably", "often")):
        assert one.claim.audit.judged or one.claim.audit.why or one.claim.evidence or one.claim.audit.otherwise


@pytest.mark.parametrize(("name", "verdict", "reading"), [
    ("choi2024-sec4.3-percent", "holds only with", "another denominator"),
    ("choi2024-sec4.3-average", "holds only with", "another denominator"),
    ("choi2024-sec4.3-all-metrics", "contradicted", ""), ("huynh2021-sec4.3-sarpn", "holds", ""),
    ("huynh2021-tab3-inverse", "contradicted", ""), ("yao2023-sec4.2-kitti-rmse", "contradicted", ""),
    ("yao2023-sec4.1-rise-transformer", "contradicted", ""), ("yao2023-sec4.1-rise-cnn", "holds", ""),
    ("you2021-eq6", "holds only with", "N → ∞"), ("you2021-eq6-ratio", "holds", ""),
    ("huynh2021-abs-substantially", "cannot be checked", ""), ("yao2023-tab3-log10", "contradicted", ""),
])
def test_verdicts_worked_out_by_hand(name, verdict, reading):
    assert (BY_ID[name].verdict, BY_ID[name].reading) == (verdict, reading)


def cell(paper, table, column, row):
    return (paper, table, column, row)


def ordered(table: str) -> dict:
    """Accuracies that rise with the number of parameters, for a table of huynh2021."""
    rows = read_sheet("huynh2021", table).column("params").sort_values().index
    columns = {"rel": -1, "rmse": -1, "delta1": 1}
    return {cell("huynh2021", table, column, row): 0.5 + sign * 0.01 * number for column, sign in columns.items()
            for number, row in enumerate(rows)}


# numbers that would make true what is false as printed, where no simple change does
WITNESSES = {
    "choi2024-sec4.2-shape-0": {cell("choi2024", "text", "first", "DPM"): 352,
                                cell("choi2024", "text", "second", "DPM"): 704},
    "choi2024-tab7-mark-delta2-0": {cell("choi2024", "table7", "delta2", "0.3"): 0.9939},
    "choi2024-between-bts-0": {cell("choi2024", "table1", "rmse", "BTS, teacher"): 2.756,
                               cell("choi2024", "table1", "delta1", "BTS, teacher"): 0.956},
    "choi2024-between-adabins-0": {cell("choi2024", "table1", "abs_rel", "AdaBins, teacher"): 0.058,
                                   cell("choi2024", "table1", "rmse", "AdaBins, teacher"): 2.36,
                                   cell("choi2024", "table1", "delta1", "AdaBins, teacher"): 0.964},
    "choi2024-between-depthformer-0": {cell("choi2024", "table1", "abs_rel", "DepthFormer, teacher"): 0.052,
                                       cell("choi2024", "table1", "rmse", "DepthFormer, teacher"): 2.143},
    "choi2024-tab5-resnet18-0": {cell("choi2024", "counted", "params", "ResNet18"): 16.7},
    "choi2024-tab5-resnet50-0": {cell("choi2024", "counted", "params", "ResNet50"): 78.3},
    "huynh2021-abs-compromise-0": ordered("table1"), "huynh2021-sec2-tradeoff-0": ordered("table2"),
    "choi2024-between-bts-size-0": {cell("huynh2021", "table1", "params", "BTS"): 48.0},
    "yao2023-sec4.1-rise-transformer-1": {cell("yao2023", "table1", "transformer_rmse", "lambda = 1"): 0.5},
    "yao2023-abs-cost-0": {cell("yao2023", "counted", "params", "DGR in PixelFormer"): 0},
    "yao2023-sec1-transformers-kitti-0": {
        cell("yao2023", "table3", column, row): value
        for column, value in (("abs_rel", 9.0), ("rmse", 9.0), ("rmse_log", 9.0), ("delta1", 0.1))
        for row in ("DORN", "Yin et al.")},
    "yao2023-eq5-pixels-0": {cell("yao2023", "table1", column, row): 1.0
                             for row in read_sheet("yao2023", "table1").values.index
                             for column in ("transformer_sparseness", "cnn_sparseness")},
}


def attempts(cells: list) -> Iterator[dict]:
    """Other numbers for some of the cells: rows made good or bad, single cells, columns made equal, last digits."""
    sheets = {c: read_sheet(*c[:2]) for c in cells}
    printed = {c: float(sheets[c].values.at[c[3], c[2]]) for c in cells}
    words = {c: {c[3], *re.split(", | [+] | by ", c[3])} for c in cells}
    for word in sorted(set().union(*words.values())):
        mine = [c for c in cells if word in words[c]]
        for low, high in ((1e-3, 1e3), (1e3, 1e-3)):
            yield {c: high if sheets[c].direction.get(c[2]) == "greater" else low for c in mine}
    for column in sorted({c[2] for c in cells}):
        yield {c: 1.0 for c in cells if c[2] == column}
    others = list(dict.fromkeys(printed.values()))[:12]
    for c in cells[:15]:
        last = 2 * float(sheets[c].halves.at[c[3], c[2]])
        for value in (1e-9, 100 * printed[c] + 1, *others, *(printed[c] + n * last for n in (-2, -1, 1, 2, 3))):
            yield {c: value}


def turned(paper: str, rule: str, witness: dict | None) -> bool:
    """Whether some other numbers in the tables turn the truth of a rule."""
    before = evaluate(rule, paper)
    assert before.cells, "a rule that reads no cell is decided before any table is opened"
    for changes in ([witness] if witness else attempts(sorted(before.cells))):
        with contextlib.suppress(ValueError):  # for example a correlation of equal numbers
            if evaluate(rule, paper, changes=changes).holds != before.holds:
                return True
    return False


@pytest.mark.parametrize(("name", "paper", "rule"), RULES)
def test_no_rule_is_true_or_false_whatever_the_tables_say(name, paper, rule):
    assert turned(paper, rule, WITNESSES.get(name))


def test_a_rule_that_cannot_turn_is_found():
    assert not turned("yao2023", "all(table1.cnn_rmse >= table1.cnn_rmse)", None)
    with pytest.raises(AssertionError, match="no cell"):
        turned("yao2023", "1 > 0", None)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(HOME / "papers", tmp_path / "papers")
    return tmp_path / "papers"


def test_a_number_turned_in_a_table_turns_the_verdict(copied):
    def verdict(name):
        return audit_claim(BY_ID[name].claim, copied).verdict

    def edit(table, old, new):
        path = copied / table
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    assert verdict("huynh2021-abs-sota-nyu") == "contradicted"
    edit("huynh2021/tables/table1.csv", "FuSaNet,rmse,0.403", "FuSaNet,rmse,0.303")
    assert verdict("huynh2021-abs-sota-nyu") == "holds"
    assert verdict("yao2023-sec4.1-rise-cnn") == "holds"
    edit("yao2023/tables/table1.csv", "lambda = 5,cnn_rmse,0.758", "lambda = 5,cnn_rmse,0.785")
    assert verdict("yao2023-sec4.1-rise-cnn") == "contradicted"
    assert verdict("choi2024-sec4.3-percent") == "holds only with"
    edit("choi2024/tables/table1.csv", '"AdaBins, TIE-KD",sq_rel,0.2179', '"AdaBins, TIE-KD",sq_rel,0.2167')
    assert verdict("choi2024-sec4.3-percent") == "holds"
    edit("choi2024/tables/table1.csv", '"AdaBins, TIE-KD",sq_rel,0.2167', '"AdaBins, TIE-KD",sq_rel,0.1167')
    assert verdict("choi2024-sec4.3-percent") == "contradicted"


def test_the_sentence_has_its_numbers_computed():
    assert audit_claim(claim_of(rule='table1.rmse["DPT"] > 1')).instead == "It is 0.4 m."
    assert fill_numbers("no number", "huynh2021") == "no number"
    assert fill_numbers('{count(table1.rel)} rows', "huynh2021") == "19 rows"
    with pytest.raises(ValueError, match="in its sentence"):
        fill_numbers('{table1.rmse["nobody"]:.1f}', "huynh2021")
    with pytest.raises(ValueError, match="in its sentence"):
        fill_numbers('{table1.rmse["DPT"]:word}', "huynh2021")


def test_readings_are_tried_in_order_and_the_first_that_holds_is_named():
    no, yes = 'table1.rmse["DPT"] > 1', 'table1.rmse["DPT"] < 1'
    readings = [{"reading": "first", "rule": no}, {"reading": "second", "rule": yes}]
    one = audit_claim(claim_of(rule=no, otherwise=readings))
    assert one.words == "holds only with second" and one.seen.startswith("as written 0.357 > 1 is false; with second")
    assert audit_claim(claim_of(rule=no)).words == "contradicted"
    assert audit_claim(claim_of(rule=yes, otherwise=[{"reading": "first", "rule": no}])).words == "holds"
    assert audit_claim(claim_of(why="no number")).words == "cannot be checked"
    assert audit_claim(claim_of(identity={"left": "1", "right": "0", "limit": "N"})).words == "contradicted"
    limit = claim_of(identity={"left": "1/N**2", "right": "0", "limit": "N"})
    assert audit_claim(limit).words == "holds only with N → ∞"


@pytest.mark.parametrize("audit", [
    {}, {"rule": "1 > 0", "why": "both"}, {"why": "none", "otherwise": [{"reading": "a", "rule": "1 > 0"}]},
    {"rule": "1 > 0", "kind": "gossip"}, {"rule": "1 > 0", "verdict": "holds"},
])
def test_an_audit_has_one_way_to_decide(audit):
    with pytest.raises(ValueError):
        claim_of(**audit)


def test_claims_that_cannot_be_read_are_named():
    with pytest.raises(ValueError, match="claim huynh2021-toy: huynh2021 table1 prints no rmse for 'nobody'"):
        audit_claim(claim_of(rule='table1.rmse["nobody"] > 1'))


def test_only_an_experiment_decides_some_claims():
    claim = next(c for c in load_claims("yao2023") if c.id == "yao2023-fig1-smooth")
    assert audit_claim(claim) is None and claim.id not in BY_ID


def test_the_table_has_a_row_for_every_claim_and_the_counts_add_up():
    table, counts = audit_table(AUDITED), audit_counts(AUDITED)
    assert len(table) == len(AUDITED) == counts.to_numpy().sum()
    assert list(counts.columns) == list(AUDIT_VERDICTS)
    line = audit_line(AUDITED)
    assert line.startswith(f"{len(AUDITED)} claims") and f"{counts['contradicted'].sum()} are contradicted" in line


def test_the_readme_counts_the_audit():
    text = (HOME / "README.md").read_text()
    assert audit_line(AUDITED) in text


@pytest.mark.parametrize("path", sorted(HOME.glob("papers/*/tables/*.csv")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_every_table_has_its_columns_and_says_what_it_is(path):
    assert path.read_text().startswith("# ")
    frame = pd.read_csv(path, comment="#", dtype=str, keep_default_na=False)
    assert list(frame.columns[:6]) == ["row", "column", "value", "unit", "direction", "place"]
    assert set(frame["direction"]) <= {"smaller", "greater", ""} and (frame["place"] != "").all()
    assert frame["unit"].isin(["1", "m", "M", "1/m", "1/s", "pixel", "thousand"]).all()
    assert not frame.duplicated(["row", "column"]).any()
    assert frame["value"].str.match(r"^\d+(\.\d+)?$").all()
    for _, group in frame.groupby("column"):
        assert group["direction"].nunique() == 1 and group["unit"].nunique() <= 3


PRINTED = {"choi2024": 7, "huynh2021": 7, "yao2023": 4}


@pytest.mark.parametrize("paper", PRINTED)
def test_all_tables_of_the_papers_are_here(paper):
    names = {path.stem for path in (HOME / "papers" / paper / "tables").glob("table*.csv")}
    assert names == {f"table{number}" for number in range(1, PRINTED[paper] + 1)}


def test_no_paper_has_negative_or_impossible_accuracies():
    for path in HOME.glob("papers/*/tables/table*.csv"):
        frame = pd.read_csv(path, comment="#")
        shares = frame[frame["column"].str.contains("delta|sparseness")]
        assert shares["value"].between(0, 1).all()


def weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def student(backbone: int, taps: list[int], widths: list[int], ups: int) -> float:
    """Millions of parameters: 1x1, a fusion of two 3x3 a skip, `ups` times two 3x3, 1x1 to 257 bins."""
    total = backbone + convolution(taps[-1], widths[0], 1)
    inputs = widths[0]
    for tap, width in zip(taps[-2::-1], widths[1:], strict=True):
        total += convolution(inputs + tap, width, 3) + convolution(width, width, 3)
        inputs = width
    return (total + ups * 2 * convolution(128, 128, 3) + convolution(128, 257, 1)) / 1e6


@pytest.mark.parametrize(("name", "build", "head", "taps", "widths"), [
    ("MobileNetV2", torchvision.models.mobilenet_v2, "last", [24, 32, 96, 320], [2048, 512, 256, 128]),
    ("ResNet18", torchvision.models.resnet18, "fc", [64, 64, 128, 256, 512], [512, 256, 256, 128, 128]),
    ("ResNet50", torchvision.models.resnet50, "fc", [64, 256, 512, 1024, 2048], [2048, 1024, 512, 256, 128]),
])
def test_the_counted_students(name, build, head, taps, widths):
    with torch.device("meta"):
        network = build()
    backbone = weights(network.features[:-1]) if head == "last" else weights(network) - weights(network.fc)
    counted = read_sheet("choi2024", "counted").values.loc[name]
    assert counted["backbone"] == pytest.approx(backbone / 1e6, abs=5e-7)
    assert counted["params"] == pytest.approx(student(backbone, taps, widths, ups=2), abs=5e-7)


def test_the_counted_networks():
    with torch.device("meta"):
        bts, pixelformer = (weights(models.create_model(name, scale="paper")) for name in ("bts", "pixelformer"))
        hu = models.create_model("hu_resnet50", scale="paper")
        dgr = sum(weights(DepthGradientRefinement(c, kernel_size=1)) for c in (192, 384, 768, 1536))
    assert read_sheet("huynh2021", "counted").values.loc["BTS (DenseNet-161)", "params"] == pytest.approx(bts / 1e6)
    for paper in ("yao2023", "cirillo2025"):
        assert read_sheet(paper, "counted").values.loc["PixelFormer", "params"] == pytest.approx(pixelformer / 1e6)
    assert read_sheet("yao2023", "counted").values.loc["DGR in PixelFormer", "params"] == pytest.approx(dgr / 1e6)
    assert weights(hu) > 6e7
