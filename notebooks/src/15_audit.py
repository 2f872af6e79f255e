# %% [markdown]
# # 15 · Audit: the papers' claims against their own tables
#
# A paper says "up to 7.4 % better". Its own table stands on the next page. Do the two agree? Nobody needs a GPU to find
# out, and hardly any reader looks.
#
# **The question.** Which claims of the five papers do their own printed numbers support?
#
# This notebook takes every sentence with a number or a comparison in it, writes it as a rule over the printed tables, and
# lets a computer decide. It trains nothing. What you learn here works on any paper.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
from itertools import product

import numpy as np
import pandas as pd

from mdelib import audit, audit_figures, course, papers
from mdelib.exercises import check
from mdelib.rules import evaluate, possible_values, printed_range
from mdelib.sheets import leads, place, read_sheet, spearman
from mdelib.widgets import explore

lesson = course.start("15", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## What came out
#
# The result first. There are four verdicts. *Holds*: the printed numbers say the same. *Holds only with*: they do if
# something is read otherwise than it is written, another denominator for example. *Contradicted*: they do not.
# *Cannot be checked*: no printed number decides it.

# %%
found = audit.audit_all()
by_id = {one.claim.id: one for one in found}
counts = audit.audit_counts(found)
lesson.figure(audit_figures.verdict_bars(counts), "verdicts", "Claims of the five papers by verdict. Of cirillo2025 "
              "only the abstract is at hand, of you2021 only the supplement, which has no tables.",
              alt="One stacked bar a paper with the numbers of claims that hold, hold otherwise, are contradicted, "
                  "cannot be checked.")

# %%
total = counts.sum()
decided = len(found) - total["cannot be checked"]
lesson.say(f"**{audit.audit_line(found)}** Of the {decided} that printed numbers can decide, "
           f"{100 * total['holds'] / decided:.0f} % hold as they are written.")

# %% [markdown]
# ## One claim, step by step
#
# choi2024, Section 4.3, about a student network that learned from AdaBins:
#
# > It achieved up to a 7.4% improvement (e.g., in SqRel) […] when compared to the baseline.
#
# **Read.** Who is compared with whom, on which data, in which metric? Here: the student with the baseline, on KITTI, in
# SqRel. Table 1 has both.
#
# **Write it as a rule.** An improvement compared to the baseline is
#
# $$100 \cdot \frac{e_{\text{before}} - e_{\text{after}}}{e_{\text{before}}}$$

# %% tags=["nbval-check-output"]
table = papers.load_table("choi2024", "table1").pivot(index="row", columns="column", values="value")
before, after = table.loc["Baseline", "sq_rel"], table.loc["AdaBins, TIE-KD", "sq_rel"]
print(f"before {before}, after {after}: improvement {100 * (before - after) / before:.2f} %")

# %% [markdown]
# That is not 7.4. But wait: the printed numbers are rounded. A printed 0.2179 stands for anything from 0.21785 to 0.21795,
# and a printed 7.4 for anything from 7.35 to 7.45. So the question is: **is there a pair of true numbers that prints as
# the table does and gives an improvement that prints as the sentence does?**
#
# The improvement rises with the error before and falls with the error after. Its extremes are at the corners.

# %% tags=["nbval-check-output"]
def my_range(text):
    half = 0.5 / 10 ** len(text.partition(".")[2])
    return float(text) - half, float(text) + half


def my_improvements(before, after, divide_by):
    corners = [(b, a) for b, a in product(my_range(before), my_range(after))]
    values = [100 * (b - a) / {"before": b, "after": a}[divide_by] for b, a in corners]
    return min(values), max(values)


for divide_by in ("before", "after"):
    low, high = my_improvements("0.2340", "0.2179", divide_by)
    print(f"divided by the error {divide_by}: {low:.2f} to {high:.2f} %")
print("7.4 is printed for {:.2f} to {:.2f} %".format(*my_range("7.4")))

# %% [markdown]
# Compared to the baseline, no rounding gives 7.4 %. Divided by the **student's** error, it fits. That is by how
# much the baseline's error is larger than the student's, which is always the larger number.
#
# The library does the same for any expression over cells. `prints("7.4", …)` is the question above.

# %%
GAIN = 'table1.sq_rel["Baseline"] - table1.sq_rel["AdaBins, TIE-KD"]'
cells = {"before": 'table1.sq_rel["Baseline"]', "after": 'table1.sq_rel["AdaBins, TIE-KD"]'}
for name, cell in cells.items():
    rule = f"100 * ({GAIN}) / {cell}"
    assert np.allclose(possible_values(rule, "choi2024"), my_improvements("0.2340", "0.2179", name))
    assert evaluate(f'prints("7.4", {rule})', "choi2024").holds == (name == "after")
one = by_id["choi2024-sec4.3-percent"]
lesson.say(f"The library's verdict: **{one.words}**. *{one.instead}*")

# %% [markdown]
# Turn it round: which errors of the student could stand behind a percentage? Choose one.

# %%
candidates = [f"{value / 1e4:.4f}" for value in range(2130, 2241, 2)]


def draw(percent):
    return audit_figures.printed_percent(percent, "0.2340", candidates, "0.2179")


explore(draw, {"percent": ["5.0", "6.9", "7.4"]}, [{"percent": "7.4"}], lesson=lesson, name="percent",
        caption="Where a coloured band crosses the grey one, the sentence and the table can both be right. At the "
                "paper's 0.2179 (dotted) only the second denominator does, for {percent} %.",
        alt="Two falling bands of improvement against the student's error and a grey band for {percent} percent.")

# %% [markdown]
# ## Every number in words
#
# The same for all claims that put a number into a sentence. The grey band is what prints as the sentence does.

# %%
spoken = [one for one in found if one.kind == "number"]
lesson.figure(audit_figures.quantities(spoken), "quantities", "Numbers in words against the printed tables. Bars: what "
              "rounded cells allow; dots: from the cells as printed; arrows: beyond the frame. Orange: no rounding "
              "helps. A claim that holds with another denominator has both its readings.",
              alt="Horizontal bars around zero, one for each number in words, blue inside a grey band, orange outside.")

# %%
sarpn = by_id["huynh2021-sec4.3-sarpn"].quantities[0]
smallest, largest = map(float, by_id["huynh2021-sec4.3-one-size"].seen.split(" < "))
lesson.say(f"""Look at **{sarpn.printed}** of huynh2021: SARPN is said to be that many times larger than FuSaNet. The
printed sizes give {sarpn.value:.2f}, which would print as {sarpn.value:.1f}. Not an error: FuSaNet's 8.1 M is rounded
too, and the quotient may be anything from {sarpn.low:.2f} to {sarpn.high:.2f}. All six quotients in that sentence fit
one size, between {smallest:.3f} and {largest:.3f} million. An auditor who takes printed
digits for exact numbers accuses the innocent.""")

# %% [markdown]
# ## Ranks and ties
#
# "Outperforms", "best", "state of the art" are ranks. Before you check one, decide three things: on **which metrics**,
# against **which rows**, and what a **tie** is. *Surpassed all on all metrics* must be ahead everywhere; *state of the
# art* must not be beaten. Below: FuSaNet's place in each column, and whether it is alone there in front.

# %% tags=["nbval-check-output"]
nyu = read_sheet("huynh2021", "table1")
ranks = pd.DataFrame({"place": place(nyu, "FuSaNet").astype(int), "alone": leads(nyu, "FuSaNet")})
print(ranks.to_string())

# %%
sota, metrics = by_id["huynh2021-abs-sota-nyu"], by_id["choi2024-sec4.3-all-metrics"]
lesson.say(f"""The abstract of huynh2021 says state of the art on NYU. Verdict: **{sota.words}**. *{sota.instead}*

choi2024 says that its students surpass other methods "across all metrics". Verdict: **{metrics.words}**.
*{metrics.instead}* One metric of seven, in the fourth digit. It matters for the word "all" and for nothing else.
Say which of the two you mean when you report a contradiction.""")

# %% [markdown]
# ## Words need a reading
#
# "Generally", "comparable", "favourably" have no truth value. The audit gives each a reading and writes it
# down, so that you can choose another. Where no fair reading exists, the verdict is *cannot be checked*.

# %%
vague = [one for one in found if one.claim.audit and one.claim.audit.judged and '"' in one.claim.audit.judged]
lesson.table(pd.DataFrame([{"claim": f"{one.claim.paper}, {one.claim.place}", "read as": one.claim.audit.judged,
                            "verdict": one.words} for one in vague]), "readings",
             f"The {len(vague)} readings of words that have no number.")

# %% [markdown]
# ## A belief that nobody looked up
#
# huynh2021 motivates a small network with an "apparent compromise between accuracy and network size". It sounds true.
# Its own tables have the sizes and the errors of all baselines.

# %%
sheets = {"Table 1, NYU": nyu, "Table 2, KITTI": read_sheet("huynh2021", "table2")}
lesson.figure(audit_figures.size_against_error(sheets, "FuSaNet"), "sizes", "Parameters and RMSE of all rows of "
              "huynh2021's Tables 1 and 2; ρ is the rank correlation without FuSaNet. If larger were better, the dots would "
              "fall to the right.",
              alt="Two scatter plots of RMSE against the number of parameters without a visible trend.")
rho = {name: spearman(sheet.column("params").drop("FuSaNet"), sheet.column("rmse").drop("FuSaNet"))
       for name, sheet in sheets.items()}
verdict = by_id["huynh2021-abs-compromise"].words
lesson.say(" ".join(f"{name}: rank correlation {value:+.2f} over {len(sheets[name].values) - 1} baselines."
                    for name, value in rho.items())
           + " Where larger is better it would be well below zero. So few rows prove little about networks in general, "
           f"but the sentence is about them. Verdict: **{verdict}**.")

# %% [markdown]
# ## Impossible as printed
#
# Some numbers need no second number to be wrong. huynh2021's Table 3 heads one column iMAE, the mean of the absolute
# inverse-depth errors $|e|$, and the next iRMSE, the root of the mean of $e^2$. For the same pixels
#
# $$\Big(\tfrac{1}{n}\sum |e_i|\Big)^2 \le \tfrac{1}{n}\sum e_i^2,$$
#
# because a variance is not negative. So every row must lie on or above the diagonal.

# %%
sun = read_sheet("huynh2021", "table3")
lesson.figure(audit_figures.possible_region(sun.column("imae"), sun.column("irmse"), ("iMAE", "iRMSE")), "impossible",
              "The five rows of huynh2021's Table 3. Swap the two heads, and all are possible.",
              alt="Five points below the diagonal, in the half plane marked as impossible.")

# %% [markdown]
# A second one takes two papers. yao2023 heads a column of its KITTI table $\log_{10}$. Let $r$ be the ratio of predicted
# and true depth. Where $r$ is within 1.25, $|\ln r|$ is at most $\frac{\ln 1.25}{0.2}\,|r - 1|$. Where it is outside, the
# δs say for how many pixels, and no ratio is beyond 80 m to 1 mm. yao2023 prints AbsRel, huynh2021 the δs of the same
# network. Together they bound the mean:

# %% tags=["nbval-check-output"]
kitti, deltas = (read_sheet(paper, name).values.loc["DPT"] for paper, name in (("yao2023", "table3"),
                                                                               ("huynh2021", "table2")))
step = np.log(1.25)
bound = (kitti["abs_rel"] * step / 0.2 + (deltas["delta2"] - deltas["delta1"]) * 2 * step
         + (deltas["delta3"] - deltas["delta2"]) * 3 * step + (1 - deltas["delta3"]) * np.log(80 / 0.001))
print(f"mean |ln r| is at most {bound:.3f}; a mean |log10 r| of {kitti['rmse_log']} would make it "
      f"{kitti['rmse_log'] * np.log(10):.3f}")

# %% [markdown]
# The column cannot be what its head says. Its size fits the root mean square of $\ln r$, which other papers call
# RMSElog. Who copies "Log10" from this table into his own compares two different things.
#
# ## One network, two papers
#
# Papers copy baselines from each other. Here is every network that two of our papers print for the same data set.

# %%
NAMES = {"abs_rel": ("abs_rel", "rel"), "rmse": ("rmse",), "delta1": ("delta1",)}


def numbers(paper, name, row, what="values"):
    cells = getattr(read_sheet(paper, name), what).loc[row]
    return pd.Series({metric: cells[next(n for n in names if n in cells)] for metric, names in NAMES.items()})


def both(one, two):
    return numbers(*one), numbers(*two), numbers(*one, "halves")


# %%
rows = {"DORN": "DORN", "VNL": "Yin et al.", "TransDepth": "TransDepth", "DPT": "DPT"}
shared = {"NYU": ("table1", "table2", rows), "KITTI": ("table2", "table3", rows)}
pairs = {f"{name}, {where}: huynh2021, yao2023": both(("huynh2021", one, name), ("yao2023", two, other))
         for where, (one, two, rows) in shared.items() for name, other in rows.items()}
for name, paper, sheet in (("BTS", "huynh2021", "table2"), ("AdaBins", "yao2023", "table3"),
                           ("DepthFormer", "yao2023", "table3")):
    pairs[f"{name}, KITTI: {paper}, choi2024"] = both((paper, sheet, name), ("choi2024", "table1", f"{name}, teacher"))

# %%
lesson.figure(audit_figures.between_papers(pairs), "between", "The second paper's number against the first one's. "
              "Green dots: equal as printed, up to rounding; orange diamonds: not. The lower three are "
              "networks of one name trained again, or two networks.",
              alt="Dots at zero for equal numbers, off zero for numbers that differ between two papers.")
moved = [name for name, (one, two, half) in pairs.items() if ((two - one).abs() > half + 1e-9).any()]
dpt = by_id["yao2023-tab2-dpt"]
lesson.say(f"{len(moved)} of {len(pairs)} pairs differ somewhere. One moves a result: DPT on NYU. "
           f"Its authors report another number than yao2023. {dpt.instead}")

# %% [markdown]
# ## Every claim
#
# The buttons work without a kernel, also in the HTML report. *The numbers* is what the rule saw. The rule itself stands in
# `papers/<key>/claims.yaml` under `audit`.

# %%
table = audit.audit_table(found)
lesson.table(table.drop(columns=["instead", "kind"]), "audit", f"The {len(found)} audited claims.",
             filters={"paper": table["paper"].tolist(), "verdict": [one.verdict for one in found],
                      "kind": table["kind"].tolist()})

# %% [markdown]
# ## What to believe instead

# %%
wrong = [one for one in found if one.verdict in ("contradicted", "holds only with")]
lesson.table(pd.DataFrame([{"paper": one.claim.paper, "place": one.claim.place, "claim": one.claim.states,
                            "verdict": one.words, "believe instead": one.instead} for one in wrong]), "instead",
             "Claims that are contradicted, or hold only with another reading.",
             filters={"paper": [one.claim.paper for one in wrong], "verdict": [one.verdict for one in wrong]})

# %% [markdown]
# ## What we had to decide
#
# - **Copies.** The papers are at hand as texts read by a machine. All tables were typed from them and then compared digit
#   by digit with what a parser finds. Damage is repaired only where the text itself allows it, and the head of each CSV
#   says how: the header of yao2023's Table 1 and of choi2024's Table 1, moved ticks in Table 4 of both. Bold type is lost.
# - **Implied claims.** A table claims that its columns are what their heads say, and that a copied baseline is that
#   baseline. These count as claims, of the kinds *possible* and *between papers*.
# - **Counts.** Some sizes were counted again on networks built from the authors' configuration. They stand in
#   `counted.csv`, apart from what is printed.
# - **Rounding.** Half a unit of the last printed digit, to either side. That is generous to the papers. What changes if it
#   is decided otherwise?

# %%
claims = [one for one in found if one.quantities]
first = [one.quantities[:len(one.quantities) if one.verdict != "holds only with" else 1] for one in claims]


def agree(test):
    return sum(all(test(q) for q in some) for some in first)


def nominal(q):
    return printed_range(q.printed)[0] <= q.value <= printed_range(q.printed)[1]


def cut(q):
    digits = 10 ** len(q.printed.partition(".")[2])
    return int(q.value * digits) / digits == float(q.printed)


# %%
rules = {"anything that rounds so (ours)": lambda q: q.fits, "the cells as exact numbers": nominal,
         "exact numbers, digits cut off": cut}
lesson.table(pd.DataFrame([{"printed digits taken as": name, "claims that fit": agree(rule), "of": len(claims)}
                           for name, rule in rules.items()]), "rounding", "Claims with a number in words, under three "
             "conventions of rounding.")

# %% [markdown]
# ## Verdict

# %%
def line(name):
    return f"| {by_id[name].claim.paper}, {by_id[name].claim.place} | {by_id[name].claim.states} | **{by_id[name].words}** |"


chosen = ["choi2024-sec4.3-percent", "choi2024-sec4.3-average", "choi2024-sec4.3-all-metrics", "choi2024-sec4.5.4-good",
          "huynh2021-abs-range", "huynh2021-abs-sota-nyu", "huynh2021-abs-compromise", "huynh2021-tab3-inverse",
          "yao2023-tab2-dgr", "yao2023-sec1-sota-kitti", "yao2023-sec4.2-kitti-rmse", "yao2023-sec4.2-efficacy",
          "yao2023-sec4.1-rise-transformer", "you2021-eq6-ratio"]
lesson.say("A selection; all claims are in the table above.\n\n| where | claim | verdict |\n|---|---|---|\n"
           + "\n".join(map(line, chosen)))

# %% [markdown]
# An audit says nothing about whether a method works. A table can be right and the experiment weak, and a sentence can be
# wrong about a table that is right. It tells you which sentences you can quote. Whether the numbers come back is the
# business of the other notebooks, and of the scoreboard (notebook 16).
#
# ## How to audit any paper
#
# 1. Copy the tables into numbers first, then read them a second time against the paper.
# 2. Go through the text with a pen: mark every number, "better", "best", "all", "most", "times", "%".
# 3. For each: which rows, which column, which denominator, what about ties? Write the rule before you look.
# 4. Give every printed number half a unit of its last digit.
# 5. Ask of each column whether it is possible: nested shares, means and roots, parts and wholes.
# 6. Compare what two papers print for one network.
# 7. Change a number in the table and see the verdict turn. A rule that cannot fail has checked nothing.
# 8. Say what a reader should believe instead, and how much it matters.
#
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. What a printed number stands for.** Given its text, return the lowest and the highest number that rounds to it.

# %%
def my_printed_range(text):
    # <solution>
    half = 0.5 / 10 ** len(text.partition(".")[2])
    return float(text) - half, float(text) + half
    # </solution>


# %%
check.printed_range(my_printed_range)

# %% [markdown]
# **2. An improvement.** Two errors as printed, before and after. Return the lowest and the highest improvement in percent,
# compared to the error before, that they allow.

# %%
def my_improvement_range(before, after):
    # <solution>
    def ends(text):
        half = 0.5 / 10 ** len(text.partition(".")[2])
        return float(text) - half, float(text) + half

    (low, high), (least, most) = ends(before), ends(after)
    return 100 * (1 - most / low), 100 * (1 - least / high)
    # </solution>


# %%
check.improvement_range(my_improvement_range)

# %% [markdown]
# **3. Is this mean possible?** A table prints the mean and the root mean square of the same absolute errors, and none of
# them can be above `largest`. Return True if such errors exist. (There is a bound on both sides. For the second, think of
# errors that are either 0 or `largest`.)

# %%
def my_possible_error(mean, rms, largest):
    # <solution>
    return mean <= rms and rms**2 <= mean * largest * (1 + 1e-9)
    # </solution>


# %%
check.possible_error(my_possible_error)

# %% [markdown]
# **4. Ties.** Return the place of a row in a column: 1 is best, rows that tie share the better place, and two rows ahead
# are two rows ahead even if they tie. `direction` is "smaller" or "greater", whichever is better.

# %%
def my_place(values, row, direction):
    # <solution>
    ahead = [v < values[row] if direction == "smaller" else v > values[row] for v in values]
    return 1 + sum(ahead)
    # </solution>


# %%
check.place_with_ties(my_place)

# %% [markdown]
# **5. Open question.** Take the last paper that you read. Find one number in its prose, write it as a rule, and decide it.
# Then take the verdict *contradicted* above that you find the harshest, and defend the authors: which reading would make
# their sentence true, and is it a reading that a reader would have?
#
# ## What to read next
#
# - Nuijten et al., Behavior Research Methods 2016: statcheck, which recomputed the p-values of thirty thousand articles.
# - Brown and Heathers, Social Psychological and Personality Science 2017: the GRIM test, which asks whether a printed mean
#   is possible where so many people gave whole-number answers.
# - Musgrave, Belongie, Lim, ECCV 2020 (arXiv 2003.08505): a whole field's progress, measured again.
# - In this course: notebook 01 on what moves a metric, notebook 16 on what our own experiments say.
