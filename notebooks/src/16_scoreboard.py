# %% [markdown]
# # 16 · Scoreboard: every claim, its evidence, its verdict
#
# Five papers make claims. This notebook puts each claim that the course has tested beside our number, the number of
# seeds and views behind it, its interval, and a verdict. Nothing on this page is typed: every row is read from a result
# file, and changes when the result changes.
#
# The course grows notebook by notebook, and so does this page. A claim that no notebook has tested yet says so.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import numpy as np
import pandas as pd

from mdelib import course, editions, experiments, figures, references, scoreboard, verdicts
from mdelib.relief import is_inside_out

lesson = course.start("16", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## How a verdict is reached
#
# A claim compares two things: with and without a module, one network and another. We train both sides with the same
# seeds, test them on the same views, and take the difference view by view. Chance enters twice, by the seed and by the
# choice of views. The bootstrap draws both anew, thousands of times, and the middle 95 % of the differences are the
# interval. The rule is then short. A single seed cannot show how trainings differ, so it never gives more than
# "inconclusive".

# %%
def my_verdict(low, high, direction):
    """The rule of the course: does the whole interval lie on the claim's side of zero?"""
    if low <= 0 <= high:
        return "inconclusive"
    return "agrees" if (low > 0) == (direction == "greater") else "disagrees"


cases = [(low, high, way) for low, high in ((-2, -1), (-1, 1), (1, 2)) for way in ("greater", "smaller")]
print("same as the library:", all(my_verdict(*case) == verdicts.verdict(case[:2], case[2]) for case in cases))

# %% [markdown]
# The picture behind the rule. Take two networks whose true difference is a fifth of the spread between views, and test
# them on more and more views. The interval shrinks; at some point it lets go of zero. A verdict of "inconclusive" says
# that the experiment was too small for the difference, and nothing else.

# %%
random = np.random.default_rng(lesson.seed)
counts = np.array([10, 20, 50, 100, 200, 500])
differences = random.normal(0.2, 1.0, (20, 500))
figure, axis = figures.new_figure(height=2.9)
for row in differences:
    intervals = [verdicts.paired_interval(row[None, :n], np.zeros((1, n)), draws=300)[1] for n in counts]
    axis.plot(counts, [low for low, _ in intervals], color=figures.COLOURS[0], alpha=0.35, lw=1)
    axis.plot(counts, [high for _, high in intervals], color=figures.COLOURS[1], alpha=0.35, lw=1)
axis.hlines([0, 0.2], 10, 500, color="0.4", lw=1, linestyles=["-", ":"])
axis.set(xscale="log", xticks=counts, xticklabels=counts, xlabel="test views",
         ylabel="difference\n(spread of one view)")
axis.minorticks_off()
lesson.figure(figure, "intervals", "Both ends of the interval in twenty repetitions of the same "
              "experiment. The dotted line is the truth.",
              alt="Forty lines that close in on the true difference as the number of views grows.")

# %% [markdown]
# A claim often has several measures, and they need not agree. Then its verdict says so: `agrees in part` if the other
# measures are inconclusive, `mixed` if some agree and some disagree. No measure is left out and none counts twice.

# %%
for measures in (("agrees", "agrees"), ("agrees", "inconclusive"), ("agrees", "disagrees", "inconclusive")):
    print(" + ".join(measures), "→", scoreboard.overall(measures))

# %% [markdown]
# ## The scoreboard
#
# The reference study first: real photographs (NYU-Depth-v2), and rendered scenes where a claim needs them. A row is one
# claim on one data set; data sets are never mixed in a row. Choose a paper, a verdict or a data set. Look at the column
# n before you look at a verdict. The link in `evidence` leads to the cell that shows the numbers.

# %%
studied = references.stored_study()
study = scoreboard.score_all(studied)


def filters_of(scores):
    """What a reader may choose by."""
    return {"paper": [s.claim.paper for s in scores], "verdict": [s.verdict for s in scores],
            "on": [s.on or "no data needed" for s in scores]}


lesson.table(scoreboard.score_table(study), "study", f"The scoreboard of the reference study: "
             f"{len({s.claim.id for s in study})} claims. n is seeds × views.", sources=studied,
             filters=filters_of(study))

# %% [markdown]
# The same claims on what was run here, with the data and the scale of this notebook. These trainings are short and have
# few seeds: read them as a rehearsal of the study.

# %%
here, written = [], {path.name[:2] for path in editions.list_sources()}
for name in experiments.list_experiments():
    definition = experiments.load_experiment(name)
    if definition.notebook in written and lesson.data in definition.data and lesson.scale in definition.scales:
        here += lesson.results(name)
local = [s for s in scoreboard.score_all(here) if s.findings]
lesson.table(scoreboard.score_table(local), "here", f"The claims that were measured on {lesson.info.title} at "
             f"{lesson.scale} scale.", sources=here, filters={"paper": [s.claim.paper for s in local],
                                                              "verdict": [s.verdict for s in local]})

# %% [markdown]
# ## Where is my table?
#
# You come with a paper in your hand and look for one of its tables or figures. Here is each of them, the notebook that
# takes it up, and what became of its claims.

# %%
index = scoreboard.exhibit_table(study)
lesson.table(index, "exhibits", "Every table, figure and equation with a claim on the scoreboard.",
             filters={"paper": list(index.paper)})

# %% [markdown]
# ## How good are the networks behind the verdicts?
#
# A claim tested on weak networks is weak evidence. So here is the accuracy of every network that a verdict rests on.

# %%
UP_TO_DATE = {True: "no", False: "yes", None: "data not here"}
rows = []
for name in experiments.list_experiments():
    found = [r for r in lesson.reference(name) if not r.parameters.get("attribution")]
    for variant in dict.fromkeys(r.variant for r in found):
        mine = [r for r in found if r.variant == variant]
        rows.append({"experiment": name, "variant": variant,
                     **{m: np.mean([r.metrics.get(m, np.nan) for r in mine]) for m in ("abs_rel", "rmse", "delta1")},
                     "seeds": len(mine), "minutes a run": np.mean([r.minutes for r in mine]),
                     "up to date": UP_TO_DATE[mine[0].provenance["outdated"]]})
networks = pd.DataFrame(rows)
lesson.table(networks, "networks", "Every run of the reference study on NYU. 'Up to date' says whether its key still "
             "matches the code, which can be checked only where the data is.",
             filters={"experiment": list(networks.experiment)})

# %% [markdown]
# ## Verdicts at a glance

# %%
boards = {"reference study": study, f"{lesson.info.title}, {lesson.scale}": local}
order = [v for v in scoreboard.VERDICTS if any(s.verdict == v for board in boards.values() for s in board)]
figure, axis = figures.new_figure(height=0.45 * len(order) + 1)
for place, (title, board) in enumerate(boards.items()):
    counted = [sum(s.verdict == name for s in board) for name in order]
    axis.barh(np.arange(len(order)) + 0.38 * (place - 0.5), counted, 0.36,
              color=figures.COLOURS[place], label=title)
axis.set(yticks=range(len(order)), yticklabels=order, xlabel="rows of the scoreboard")
axis.xaxis.get_major_locator().set_params(integer=True)
axis.invert_yaxis()
axis.legend()
lesson.figure(figure, "verdicts", "How many rows of 16.2 and 16.3 got which verdict.",
              alt="Bars of the number of rows for each verdict, for the reference study and for this run.")

# %% [markdown]
# ## What if small differences do not count?
#
# A difference can be sure and still be too small to matter. So move the line: a difference counts only if it is larger
# than a tolerance, a share of the value that it is compared with. At zero tolerance you see the verdicts of above. To
# the right, sure but small differences fall out, and a fourth verdict appears: the interval lies wholly within the
# tolerance, so there is **no difference**.

# %%
measures = [f for s in study for f in s.findings if f.seeds > 1]
tolerances = np.concatenate([[0], np.geomspace(0.001, 0.5, 40)])
moved = scoreboard.verdicts_by_tolerance(measures, tolerances)
shades = dict(zip(moved.columns, (figures.COLOURS[2], figures.COLOURS[1], figures.COLOURS[0], "0.8"), strict=True))
figure, axis = figures.new_figure(height=3.2)
axis.stackplot(100 * tolerances, moved.to_numpy().T, labels=list(moved.columns), colors=list(shades.values()))
axis.set(xscale="symlog", xlim=(0, 50), ylim=(0, len(measures)), xlabel="tolerance (% of the second value)",
         ylabel="measures")
axis.xaxis.set_major_formatter("{x:g}")
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
lesson.figure(figure, "tolerance", f"The {len(measures)} measures with more than one seed, by verdict, as the "
              "tolerance grows; those of 16.2.",
              alt="Stacked areas: agreements and disagreements shrink with the tolerance, 'no difference' grows.")

# %%
one = moved.iloc[np.searchsorted(tolerances, 0.01)]
lesson.say(f"With no tolerance {moved.agrees.iloc[0]} measures agree and {moved.disagrees.iloc[0]} disagree with their "
           f"claims. If one percent does not count, {one.agrees} agree, {one.disagrees} disagree, and for "
           f"{one['no difference']} there is no difference. What is left at the right edge is what no reader can "
           "argue away with a tolerance.")

# %% [markdown]
# ## Limitations, for a reviewer
#
# What a critical reader should hold against these verdicts, in the order in which we would.

# %%
single = [f for s in study for f in s.findings if f.seeds == 1]
views = max(len(r.names) for r in studied if r.data == "nyu")
meter = networks[networks.experiment == "released_meter"].rmse
trained = [r for r in studied if r.data == "nyu" and r.parameters.get("train") and not r.parameters.get("sparse")]
best = min(trained, key=lambda run: run.metrics["rmse"])
lesson.say(
    f"- **Weak networks.** The best network that was trained here reaches an RMSE of {best.metrics['rmse']:.2f} m on NYU "
    f"({best.experiment}, {best.variant}); a released one (METER-XXS) reaches {meter.min():.2f} m. A module that helps "
    "a weak network may do nothing for a strong one, and the other way round.\n"
    f"- **Few seeds.** {len(single)} of {len(single) + len(measures)} measures rest on a single training, and no "
    "verdict follows from them. Three seeds give an idea of the spread between trainings, not a good estimate.\n"
    f"- **The test images.** {views} of NYU's 654 test images were at hand. Each result file names them.")

# %%
reliefs = [run for run in lesson.reference("inside_out") if run.variant.startswith("tie_kd")]
if reliefs:
    turned = sum(is_inside_out(run.per_image["relief"]) for run in reliefs)
    lesson.say(f"- **Students inside out.** {turned} of {len(reliefs)} students of TIE-KD, trained as its authors code it, "
               "have near and far exchanged (notebook 11). They count in the verdicts: they are what that loss gives.")

# %% [markdown]
# - **Size.** Our networks have the published architecture and a fraction of its width. A verdict speaks about the effect
#   at our size. Parameter counts at the papers' size are tested, trainings at that size were not made.
# - **No pretraining.** Encoders began with random weights, where the papers began with ImageNet. This is the largest
#   single difference from the papers, and it is the same on both sides of every comparison.
# - **Resolution.** Images are 96×128 pixels. Effects that live in fine detail, such as thin edges, may not show.
# - **Schedule.** Trainings last minutes. A regulariser or a loss that needs long to act has less time here.
# - **Stand-ins.** KITTI is replaced by rendered streets, whose textures are simple and whose depth is dense. Of SUN
#   RGB-D two views were at hand. Rows say on what they were measured.
# - **Choices where a paper is silent.** Each notebook lists them under its own heading. Where we could, both readings
#   were run; elsewhere another choice might give another verdict.
# - **Many measures.** With twenty measures, one interval in twenty misses zero by chance. No correction is made: read
#   the pattern, and do not pick a row.
# - **Intervals.** The bootstrap treats test views as independent. NYU's come from the same rooms in groups, so that the
#   true intervals are somewhat wider.
# - **One paper without its text.** Of cirillo2025 only the abstract was available. Its metric is a family here, and the
#   verdicts are on the abstract's sentences.
# - **Our own errors.** Everything was written by few people in a short time. Each number can be made again with
#   `make study`; if yours differ, we want to know.

# %% [markdown]
# ## Exercises
#
# **1. Verdicts and tolerance.** Some would call a difference smaller than 1 % "no difference". Write the verdict with a
# tolerance: `inconclusive` if the interval reaches into [−tolerance, tolerance].

# %%
from mdelib.exercises import check


def my_tolerant_verdict(low, high, direction, tolerance):
    """As `verdicts.verdict`, but differences up to `tolerance` do not count."""
    # <solution>
    if low <= tolerance and high >= -tolerance:
        return "inconclusive"
    return "agrees" if (low > 0) == (direction == "greater") else "disagrees"
    # </solution>


check.tolerant_verdict(my_tolerant_verdict)

# %% [markdown]
# **2. Open.** Choose one row with the verdict "inconclusive". How many test views, or how many seeds, would you need to
# decide it? Which of the two helps more? The interval's width in the table is all you need for a first guess.
#
# ## What to read next
#
# The notebook named in a row shows the experiment behind it. `results/` holds the files, one for each experiment.
