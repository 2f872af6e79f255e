# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 12 · The α and σ sweeps
#
# TIE-KD (notebook 11) has two numbers that somebody must choose. **α** is the share of $L_{DPM}$ in the loss; what is
# left goes to SSIM. **σ** is the width of the bump that a depth becomes. Choi, Choi and Kim
# ([choi2024](https://arxiv.org/abs/2402.14340)) trained one student for each value and printed the errors:
# Tables 6 and 7, Figs. 4 and 5.
#
# They conclude that an α of 0.1 "generally yielded optimal results across most metrics" (Section 4.5.3), and that "a σ
# value of 0.1 generally yielded good overall performance" (4.5.4). They train with 0.8.
#
# **The question.** Each row of these tables is *one* training. Train again with another seed, and every number moves.
# Is any difference in Table 7 larger than that?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from scipy import stats

from mdelib import course, figures, models, papers, verdicts
from mdelib import distill_figures as drawing
from mdelib.data.base import DepthBatch
from mdelib.distill import depth_bins, depth_probability_map, expected_depth
from mdelib.distill.many import fit_many
from mdelib.distill.training import StudentTraining
from mdelib.evaluation import predict
# %%
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.metrics import depth_metrics
from mdelib.train import TrainSettings, fit
from mdelib.widgets import explore

lesson = course.start("12", data=data, scale=scale, seed=seed, device=device)

# %%
EXPERIMENT = load_experiment("distillation_sweeps")
SETTINGS = EXPERIMENT.resolve("sigma_080", data, lesson.scale)
SIZE, RULE = SETTINGS.size, SETTINGS.distillation
TITLES = {variant: entry.title for variant, entry in EXPERIMENT.variants.items()}
MEASURES = {"abs_rel": "AbsRel", "rmse": "RMSE (m)", "delta1": "δ1"}
views = lesson.views("test", size=SIZE)

# %% [markdown]
# ## First the picture
#
# The paper's two tables as curves (its Figs. 4 and 5). Dots are trainings.

# %%
def published(number):
    """One row a training: x, and the measures."""
    table = papers.load_table("choi2024", f"table{number}").pivot(index="row", columns="column", values="value")
    return table.rename_axis("x").reset_index().assign(seed=0).sort_values("x", ignore_index=True)


printed = {"α": published(6), "σ": published(7)}
for name, label in (("α", "α"), ("σ", "σ (m)")):
    lesson.figure(drawing.sweep_panels({"paper, KITTI": printed[name]}, MEASURES, label), f"paper_{name}",
                  f"The paper's sweep over {name}, one training a dot.",
                  alt="Three zigzag curves of AbsRel, RMSE and delta 1.")

# %% [markdown]
# Look at RMSE over σ. It goes up and down by itself. Nobody expects a student to be worse at 0.7 and at 0.9 than at
# 0.8 for a reason.
#
# ## Noise from a single curve, in ten lines
#
# Suppose the true curve is smooth, and each training adds noise of standard deviation $s$. Between neighbours the true
# curve hardly changes, so their difference is noise of variance $2s^2$ (von Neumann, 1941):
#
# $$\hat s^2 = \tfrac12\, \overline{(y_{i+1} - y_i)^2} .$$
#
# If there were no trend at all, the variance of the whole column would be the same $s^2$. A trend makes it larger. How
# often would a column without trend look as much like one? Shuffle its values, and count.

# %%
def my_jitter(values):
    return float((np.diff(values) ** 2).mean() / 2) ** 0.5


def trend_probability(values, draws=4000):
    """How often a random order of the values is as smooth as theirs."""
    random = np.random.default_rng(0)
    shuffled = random.permuted(np.tile(values, (draws, 1)), axis=1)
    return float((np.square(np.diff(shuffled)).mean(1) <= np.square(np.diff(values)).mean() + 1e-15).mean())

# %%
rows = []
for name, table in printed.items():
    for measure in ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1"):
        y = table[measure].to_numpy()
        rows.append({"sweep": name, "measure": measure, "range of the column": f"{np.ptp(y):.4f}",
                     "noise of one training": f"{my_jitter(y):.4f}",
                     "p without a trend": f"{trend_probability(y):.3f}",
                     "rank correlation": f"{stats.spearmanr(table['x'], y).statistic:+.2f}"})
lesson.table(pd.DataFrame(rows), "jitter", "The paper's columns: how far they reach, the noise that neighbours "
             "suggest, and the probability that a column without any trend looks as smooth.")

# %%
rmse, abs_rel = (next(r for r in rows if r["sweep"] == "σ" and r["measure"] == m) for m in ("rmse", "abs_rel"))
close = int((printed["σ"]["rmse"] < printed["σ"]["rmse"].min() + 2 * float(rmse["noise of one training"])).sum())
lesson.say(f"Over σ, AbsRel has a trend (p = {abs_rel['p without a trend']}, rank correlation "
           f"{abs_rel['rank correlation']}): a wide map makes it worse. In RMSE p = {rmse['p without a trend']}. "
           f"**{close} of {len(printed['σ'])}** values of σ are within two noises of the best RMSE.")

# %% [markdown]
# Notebook 10 says why AbsRel should rise: the softmax map of a near pixel is cut off at the camera, so that it decodes
# too far. AbsRel feels near pixels, RMSE the far ones.
#
# ## What σ does to the target
#
# σ is in metres, and the paper's bins are 0.31 m wide over 80 m. Indoors there are 49 bins over 10 m. The same σ is
# another thing there.

# %%
STREET, ROOM = depth_bins(257, 1e-3, 80.0), depth_bins(49, 1e-3, 10.0)
rows = [{"σ (m)": f"{sigma:g}", **{f"{what}, {place}": f"{value:.1f}" for place, edges in
                                   (("KITTI", STREET), ("NYU", ROOM)) for what, value in
                                   (("in bins", sigma / float(edges[1] - edges[0])),
                                    ("% of the range", 100 * sigma / float(edges[-1])))}}
        for sigma in (0.1, 0.15, 0.5, 0.8, 1.5)]
lesson.table(pd.DataFrame(rows), "units", "The same σ on both data sets.")

# %% [markdown]
# Suppose the teacher is perfect, and the student says the teacher's map exactly. What is that student's error on these
# rooms, for each σ?

# %%
def best_case(sigma, normalize):
    """Errors of the depth that the true depth's own map decodes to."""
    few = views[:lesson.pick(smoke=2, lab=16)]
    maps = depth_probability_map(few.depth.clamp(1e-3, 10), ROOM, sigma, normalize=normalize)
    return depth_metrics(expected_depth(maps, ROOM), few.depth, few.mask)


GRID = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)
floors = {title: pd.DataFrame([{"x": s, "seed": 0, **best_case(s, kind)} for s in GRID])
          for title, kind in (("softmax (paper)", "softmax"), ("linear", "linear"))}
lesson.figure(drawing.sweep_panels(floors, MEASURES, "σ (m)"), "floors", "The error that $L_{DPM}$ asks for, with a "
              "perfect teacher and a perfect student.",
              alt="Softmax errors rise steeply with sigma, linear ones hardly.")

# %%
wide = floors["softmax (paper)"].set_index("x")
lesson.say(f"At σ = 0.8 m, a perfect student of the softmax map has an AbsRel of **{wide.loc[0.8, 'abs_rel']:.2f}** "
           f"in rooms; at the authors' 0.15 m for NYU it has {wide.loc[0.15, 'abs_rel']:.3f}. With α = 0.1, SSIM has "
           "nine times the weight and can pull against that. How far, only training can say.")

# %% [markdown]
# ## The experiment
#
# `experiments/distillation_sweeps.yaml` has all values of both tables, with softmax and with linear maps. Two of them
# are trained here, at σ = 0.8 m; the third, at 0.15 m, is TIE-KD of notebook 11.

# %%
results = lesson.results("distillation_sweeps")
narrow = [run for run in lesson.results("distillation", ["tie_kd"])]
made = {**{run.variant: run for run in results}, "tie_kd": narrow[0]}
NAMES = {"tie_kd": "σ = 0.15 m (softmax)", **{v: TITLES[v] for v in ("sigma_080", "sigma_080_linear")}}
rows = [{"student": NAMES[v], **{m: made[v].metrics[m] for m in MEASURES}} for v in NAMES]
lesson.table(pd.DataFrame(rows), "rooms", f"Three students on {lesson.info.title}.", sources=list(made.values()))

# %%
students = {"tie_kd": lesson.network("distillation", "tie_kd")}
students |= {v: lesson.network("distillation_sweeps", v) for v in ("sigma_080", "sigma_080_linear")}
said = {v: predict(net, views.image, device=lesson.device) for v, net in students.items()}
BINS = np.quantile(views.depth[views.mask], np.linspace(0.01, 0.99, lesson.pick(smoke=5, lab=16)))


def signed_error(depth):
    """Mean of student − truth for pixels of about one true depth."""
    truth, error = views.depth[views.mask].numpy(), (depth - views.depth)[views.mask].numpy()
    place = np.digitize(truth, BINS)
    return [error[place == k].mean() if (place == k).any() else np.nan for k in range(1, len(BINS))]

# %%
figure, axis = figures.new_figure(height=3.0)
middle = (BINS[1:] + BINS[:-1]) / 2
for number, (v, depth) in enumerate(said.items()):
    axis.plot(middle, signed_error(depth), "o-", ms=4, color=figures.COLOURS[number], label=NAMES[v])
target = expected_depth(depth_probability_map(torch.tensor(middle).view(1, 1, 1, -1), ROOM, 0.8), ROOM).flatten()
axis.plot(middle, target.numpy() - middle, ":", color=figures.COLOURS[1], label="what L_DPM asks for at σ = 0.8 m")
axis.axhline(0, color="0.6", lw=0.8)
axis.set(xlabel="true depth (m)", ylabel="student − truth (m)")
axis.legend()
lesson.figure(figure, "bias", "Where students are wrong, and in which direction.", sources=list(made.values()),
              alt="Three curves of signed error over true depth, and a falling dotted line.")

# %%
near = {v: signed_error(depth)[0] for v, depth in said.items()}
lesson.say(f"At the nearest pixels the student with σ = 0.8 m is {near['sigma_080']:+.2f} m off with softmax maps, "
           f"{near['sigma_080_linear']:+.2f} m with linear ones; with σ = 0.15 m and softmax {near['tie_kd']:+.2f} m. "
           "A student trained for minutes also draws everything towards the middle on its own account.")

# %% [markdown]
# ## Many students at once
#
# Sixty small trainings are one batch. On a CPU they run one after another, and a batch that was stopped goes on where it
# was. On a GPU one small student leaves most of the chip idle. `mdelib.distill.many` stacks the weights of many students
# and runs all of them on the same images in one pass; each has its own loss, its own clipping and its own average. Here
# are two on the CPU, for one epoch on four views, together and one after another:

# %%
def two_students():
    torch.manual_seed(lesson.seed)
    first = models.create_model("densedepth_mobilenetv2")
    return [StudentTraining(deepcopy(first), "tie_kd", sigma=sigma, alpha=0.1) for sigma in (0.15, 0.8)]


little = DepthBatch(views.names[:4], views.image[:4, :, :32, :48], views.depth[:4, :, :32, :48],
                    views.mask[:4, :, :32, :48])
schedule = TrainSettings(epochs=1, batch=2, precision="32-true")
together, alone = two_students(), two_students()
at_once = fit_many(together, [little], [one.loss for one in together], schedule)
in_turn = [fit(one, little, one.loss, schedule) for one in alone]
for sigma, one, other in zip((0.15, 0.8), at_once, in_turn):
    print(f"σ = {sigma} m: loss {one[0]['loss']:.5f} together, {other[0]['loss']:.5f} alone")

# %% [markdown]
# ## Try it: a map over σ
#
# Move σ and the depth. The triangle is what the map decodes to, on 49 bins up to 10 m.

# %%
def draw(sigma, depth):
    """Both maps of one depth, and what they decode to."""
    figure, axis = figures.new_figure(height=2.2)
    one = torch.tensor(float(depth)).view(1, 1, 1, 1)
    for number, kind in enumerate(("softmax", "linear")):
        heights = depth_probability_map(one, ROOM, sigma, normalize=kind)
        back = float(expected_depth(heights, ROOM))
        axis.stairs(heights.flatten(), ROOM, fill=True, alpha=0.5, color=figures.COLOURS[number], label=kind)
        axis.plot(back, 0, "^", ms=10, color=figures.COLOURS[number], clip_on=False, zorder=5)
    axis.axvline(depth, color="0.3", ls=":")
    axis.set(xlabel="depth (m)", ylabel="probability", xlim=(0, 10))
    axis.legend()
    return figure

# %%
explore(draw, {"sigma": [0.1, 0.15, 0.3, 0.5, 0.8, 1.5], "depth": [0.5, 1, 2, 3, 5, 8]},
        [{"sigma": 0.15, "depth": 2}, {"sigma": 0.8, "depth": 2}], lesson=lesson, name="try",
        caption="A pixel at {depth} m, σ = {sigma} m.", alt="Two sets of bars around one depth, with triangles.")

# %% [markdown]
# ## Tables 6 and 7, on NYU
#
# Now the reference study: METER-XXS teaches, students are small and trained for a few minutes (notebook 11), and each
# point has more than one seed. The band is the spread between seeds, pooled over the curve.

# %%
study = lesson.reference("distillation_sweeps")
base = [run for run in lesson.reference("distillation") if run.variant == "baseline"]


def curve(name, kind):
    """x, seed and measures of all trainings of one sweep; α = 0.1 is a point of the σ curve, too, at 0.15 m."""
    rows = []
    for run in study:
        rule = run.parameters["distillation"]
        here = run.variant.startswith({"α": "alpha", "σ": "sigma"}[name]) or run.variant.startswith("alpha_010")
        if here and (rule["normalize"] == kind or rule["alpha"] == 0):
            x = rule["alpha"] if name == "α" else rule["sigma"]
            rows.append({"x": x, "seed": run.seed, **{m: run.metrics[m] for m in MEASURES}})
    return pd.DataFrame(rows, columns=["x", "seed", *MEASURES]).sort_values("x", ignore_index=True)


# %%
KINDS = {"softmax (paper)": "softmax", "linear": "linear"}
curves = {name: {title: curve(name, kind) for title, kind in KINDS.items()} for name in ("α", "σ")}
marks = {m: float(np.mean([run.metrics[m] for run in base])) for m in MEASURES} if base else None
for number, (name, label) in zip((6, 7), (("α", "α"), ("σ", "σ (m)"))):
    shown = {title: table for title, table in curves[name].items() if len(table)}
    if shown:
        lesson.figure(drawing.sweep_panels(shown, MEASURES, label, marks=marks), f"sweep_{name}", f"Table {number} on "
                      "NYU. Dots: trainings. Band: spread between seeds. Dotted: the baseline, trained on the truth.",
                      sources=study, alt="Three panels of curves with bands and dots.")
    else:
        lesson.say(f"**The reference study has no sweep over {name} yet.** `mde run distillation_sweeps --data nyu "
                   "--scale study`, then `mde collect`.")

# %%
def beside(name, number):
    """A table of the paper beside ours: mean and spread over seeds."""
    rows, ours = [], curves[name]["softmax (paper)"].groupby("x")
    for _, line in printed[name].iterrows():
        row = {name: f"{line['x']:g}"}
        for measure in MEASURES:
            values = ours.get_group(line["x"])[measure] if line["x"] in ours.groups else []
            word = f" ± {values.std():.3f}" if len(values) > 1 else ""
            row |= {f"{measure}, paper": f"{line[measure]:.4f}",
                    f"{measure}, ours": f"{values.mean():.3f}{word}" if len(values) else "–"}
        rows.append(row | {"seeds": str(len(values))})
    return pd.DataFrame(rows)

# %%
for name, number in (("α", 6), ("σ", 7)):
    lesson.table(beside(name, number), f"table_{number}", f"Table {number}: the paper (KITTI, AdaBins) and ours (NYU, "
                 "METER-XXS), softmax maps.", sources=study)

# %% [markdown]
# ## Is any difference larger than noise?
#
# With several seeds a point the question has a standard answer. Compare the variance *between* points with the
# variance *within* them (an F test). If all points were one and the same student, the ratio would be about 1.

# %%
rows = []
for name, kinds in curves.items():
    for title, table in kinds.items():
        groups = table.groupby("x").filter(lambda g: len(g) > 1).groupby("x")
        for measure in MEASURES if groups.ngroups > 2 else ():
            test = stats.f_oneway(*(g[measure].to_numpy() for _, g in groups))
            means = groups[measure].mean()
            best = means.idxmax() if measure == "delta1" else means.idxmin()
            rows.append({"sweep": f"{name}, {title}", "measure": measure, "points": groups.ngroups, "range of means":
                         f"{np.ptp(means):.4f}", "spread of seeds": f"{drawing.pooled_spread(table, measure):.4f}",
                         "F": f"{test.statistic:.1f}", "p": f"{test.pvalue:.2g}", "best at": f"{best:g}"})

# %%
if rows:
    lesson.table(pd.DataFrame(rows), "noise", "Points of our sweeps against the spread between seeds, NYU.",
                 sources=study)
else:
    lesson.say("No sweep has three points with two seeds in the reference study yet.")

# %%
verdict = {row["sweep"]: [] for row in rows}
for row in rows:
    word = "moves" if float(row["p"]) < 0.05 else "cannot be told from noise"
    verdict[row["sweep"]].append(f"{row['measure']} {word} (p = {row['p']}, best at {row['best at']})")
if verdict:
    lesson.say("In our study:\n\n" + "\n".join(f"- {sweep}: {', '.join(words)}." for sweep, words in verdict.items()))
COLUMNS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1")
trends = [m for m in COLUMNS if trend_probability(printed["σ"][m].to_numpy()) < 0.05]
lesson.say(f"In the paper's Table 7, **{len(trends)} of {len(COLUMNS)}** columns have a trend that their own noise "
           f"would hardly make (p < 0.05): {', '.join(trends) or 'none'}.")

# %% [markdown]
# ## Both at once
#
# The paper varies one number at a time. But they belong together: σ matters only as far as $L_{DPM}$ has a say.
# Sixteen smaller students on rooms, all trained alike:

# %%
crossed = lesson.reference("distillation_map", "scenes-rooms")
grid = pd.DataFrame([{"α": r.parameters["distillation"]["alpha"], "σ": r.parameters["distillation"]["sigma"],
                      "abs_rel": r.metrics["abs_rel"]} for r in crossed])
if len(grid):
    table = grid.pivot_table(index="α", columns="σ", values="abs_rel")
    lesson.figure(drawing.value_map(table, "AbsRel", ("α", "σ (m)")), "map", "AbsRel over α and σ, softmax maps, "
                  "rendered rooms; one training a cell. Framed: the smallest.", sources=crossed,
                  alt="A grid of numbers that grow to the lower right.")
else:
    lesson.say("**The map is not there yet.** `mde run distillation_map --data scenes-rooms --scale study`, then "
               "`mde collect`.")

# %% [markdown]
# ## What we had to decide
#
# - **The base point.** The paper's sweep over α does not say its σ, and the other way round. We take the authors' σ
#   for NYU, 0.15 m, and their α, 0.1. In the paper the row σ = 0.8 of Table 7 is the row α = 0.1 of Table 6, so it
#   used that one.
# - **Rows that are missing.** The text says α goes to 0.7, the table ends at 0.5. We go to 1, and begin at 0, which
#   are the rows of Table 4.
# - **The divergence** is KL(T ‖ S), as coded, and bins get integrals. A σ of 0.1 m is half a bin indoors, where
#   densities at bin centres would alias (notebook 10).
# - **What would change it?** More seeds narrow the band. A longer training would move all curves down, and the band
#   with them, so that nothing here says what a large student on KITTI does.
#
# ## Verdict

# %%
claims = [claim for claim in papers.load_claims("choi2024") if claim.notebook == "12" and claim.evidence]
lines = []
for claim in claims:
    words = ", ".join(f"{TITLES[f.first]} − {TITLES[f.second]}: {f.measure} {f.difference:+.4f} ({f.span}) "
                      f"**{f.verdict}**" for f in verdicts.judge(claim, study))
    lines.append(f"- {claim.place}: {claim.states} *Ours:* {words or 'not tested yet'}.")
lesson.say("On NYU, in the reference study:\n\n" + "\n".join(lines))

# %% [markdown]
# A table of fifteen trainings, one each, with the best value in bold, is a table of fifteen draws. How much better
# than the mean is the best of fifteen equal students?

# %%
best = np.sort(np.random.default_rng(lesson.seed).standard_normal((20000, len(printed["σ"]))), axis=1)[:, -1].mean()
lesson.say(f"By **{best:.2f}** standard deviations, on average. That is what a bold number is worth, if nobody says "
           "how large the standard deviation is.")

# %% [markdown]
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. The band.** The standard deviation between seeds, pooled over all points of a sweep: each point has its own
# mean, and all have the same noise.

# %%
def my_pooled_spread(values):
    """A number, from (P, S): P points with S seeds each."""
    # <solution>
    return values.var(1, correction=1).mean().sqrt()
    # </solution>


check.pooled_spread(my_pooled_spread)

# %% [markdown]
# **2. Noise from neighbours.** Von Neumann's estimate from one value a point.

# %%
def my_neighbour_noise(values):
    """A number, from (P,) values along the curve."""
    # <solution>
    return (values.diff().square().mean() / 2).sqrt()
    # </solution>


check.jitter(my_neighbour_noise)

# %% [markdown]
# **3. The ratio.** F for P points with S seeds each: S times the variance of the points' means, over the mean of the
# variances between seeds.

# %%
def my_f_ratio(values):
    """A number, from (P, S)."""
    # <solution>
    between = values.shape[1] * values.mean(1).var(correction=1)
    return between / values.var(1, correction=1).mean()
    # </solution>


check.f_ratio(my_f_ratio)

# %% [markdown]
# **4. Another range.** A σ was chosen for K bins over a range of R metres. Which σ covers as many bins when there are
# M bins over Q metres?

# %%
def my_sigma(sigma, R, K, Q, M):
    """Metres."""
    # <solution>
    return sigma / (R / K) * (Q / M)
    # </solution>


check.sigma_elsewhere(my_sigma)

# %% [markdown]
# **5. Open question.** You may train thirty students, and you want the best σ. Thirty values with one seed each, ten
# values with three, or something that decides as it goes? What do you lose with each, and what would you print?
#
# ## What to read next
#
# - Bouthillier et al., MLSys 2021 (arXiv 2103.03098): where the variance of benchmarks comes from.
# - Dodge et al., EMNLP 2019 (arXiv 1909.03004): report what a search found, and how long it looked.
# - Li et al., JMLR 2018 (arXiv 1603.06560): Hyperband, a search that decides as it goes.
# - In this course: notebook 10, why σ moves depth; notebook 15, the papers' claims against their own tables.
