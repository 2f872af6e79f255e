# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 11 · Teacher-independent distillation
#
# A large network knows depth; a small one should learn it from the large one. That is **distillation**. In
# classification a teacher says probabilities, and its doubts teach more than its answer. A depth network says one
# number a pixel. Choi, Choi and Kim ([choi2024](https://arxiv.org/abs/2402.14340)) make probabilities of that number
# (notebook 10), so that *any* network can be the teacher. They call it **TIE-KD**.
#
# The claim: students of TIE-KD "consistently surpassed the performance of both the baseline and other response-based
# KD methods across all metrics, independent of the teacher model's architecture" (Section 4.3, Table 1). The baseline
# is the same network, trained on the true depth. So a student that has never seen the truth is said to beat one that
# has.
#
# **Five questions.** Is it so (Table 1)? Does the student resemble its teacher (Tables 2 and 3)? Does it take both
# parts of the loss (Table 4)? With every backbone (Table 5)? And one that the paper leaves open: **how much of the
# gain is the teacher**, how much the probabilities, and how much the loss?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from mdelib import course, figures, models, papers, verdicts
from mdelib import distill_figures as drawing
from mdelib.complexity import blueprint
from mdelib.data.base import resize_depth
from mdelib.distill import depth_probability_map, expected_depth
from mdelib.distill.objectives import RESPONSES, response_loss, tie_kd_loss
from mdelib.distill.training import teacher_similarity
from mdelib.evaluation import predict
# %%
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.metrics import depth_metrics
from mdelib.relief import is_inside_out
from mdelib.similarity import gaussian_window, separable_blur, ssim
from mdelib.widgets import explore

lesson = course.start("11", data=data, scale=scale, seed=seed, device=device)

# %%
EXPERIMENT = load_experiment("distillation")
SETTINGS = EXPERIMENT.resolve("tie_kd", data, lesson.scale)
SIZE, RULE = SETTINGS.size, SETTINGS.distillation
TITLES = {variant: entry.title for variant, entry in EXPERIMENT.variants.items()}
views = lesson.views("test", size=SIZE)

# %% [markdown]
# ## First the picture
#
# The teacher is asked for its depth, and for nothing else. Its depth becomes a probability map. The student says such
# a map itself, and its depth is the mean of it. Two losses compare: maps with maps, and depth with depth.

# %%
lesson.figure(drawing.draw_distillation(), "ways", "Who says what to whom (Fig. 2 of the paper).",
              alt="Boxes with arrows: image to teacher and student, both to maps and depth, and those to two losses.")

# %% [markdown]
# ## The idea in ten lines
#
# With the teacher's map $T$, the student's $S$, and their depths $d_T$, $d_S$ (Eq 4 to 6):
#
# $$L = \beta\,\bigl(\alpha\, L_{DPM} + (1 - \alpha)\, L_{depth}\bigr), \qquad
# L_{DPM} = \frac1M \sum_m \sum_i T_i \ln \frac{T_i}{S_i}, \qquad L_{depth} = 1 - \mathrm{SSIM}(d_T, d_S).$$
#
# Eq 5 is printed with $S$ and $T$ exchanged; this is how the authors' code has it, and how their numbers were made
# (notebook 10 compares the two). $\alpha = 0.1$ and $\beta = 10$.

# %%
def my_tie_kd(logits, teacher, edges, sigma, alpha=0.1, beta=10):
    target = depth_probability_map(teacher, edges, sigma)
    student = logits.softmax(1)
    log_ratio = target.clamp_min(1e-16).log() - student.log()
    divergence = (target * log_ratio).sum(1).mean()
    similar = ssim(expected_depth(student, edges), teacher, variant="tiekd")
    return beta * (alpha * divergence + (1 - alpha) * (1 - similar))

# %%
student = models.create_model("densedepth_mobilenetv2").eval()
few = views[:2]
with torch.no_grad():
    logits = student.predict_raw(few.image)
    depth = resize_depth(few.depth, logits.shape[-2:])
    mine = my_tie_kd(logits, depth, student.edges, RULE.sigma)
    library = tie_kd_loss(logits, depth, student.edges, sigma=RULE.sigma)
print(f"mine {mine:.6f}, the library's {library:.6f}, equal: {torch.isclose(mine, library, rtol=1e-5).item()}")

# %% [markdown]
# ## The student
#
# A MobileNetV2 that stops at an eighth of the image, and the decoder of DenseDepth: bring the coarse map to the size
# of the next finer one, join, convolve twice. The last layer says 257 numbers a pixel. The baseline is the same
# network with one number there. All students are built here at their published size, without numbers in them:

# %%
BACKBONES = {"densedepth_mobilenetv2": "MobileNetV2", "densedepth_resnet18": "ResNet18",
             "densedepth_resnet50": "ResNet50"}


def published(number):
    return papers.load_table("choi2024", f"table{number}").pivot(index="row", columns="column", values="value")


printed = {number: published(number) for number in range(1, 6)}

# %%
rows = []
for name, title in BACKBONES.items():
    large = blueprint(name, max_depth=80.0)
    total, encoder = models.count_parameters(large), models.count_parameters(large.encoder)
    rows.append({"backbone": title, "paper (M)": printed[5].loc[f"{title}, TIE-KD", "params"],
                 "ours (M)": total / 1e6, "decoder": f"{1 - encoder / total:.0%}",
                 "here (M)": models.count_parameters(models.create_model(name)) / 1e6})
lesson.table(pd.DataFrame(rows), "sizes", "Weights of the students, the share of the decoder, and the size of the "
             "narrowed ones that this course trains.")

# %% [markdown]
# The "lightweight" student is nearly all decoder. And what was it compared with? A teacher of 78 million weights costs
# more, but a teacher is needed in training alone: its maps are computed once and kept. That is what we do, too.
#
# ## What the losses see
#
# The response-based losses compare two depth maps: SSIM, MSE, a scale-invariant loss (SI), and two sums of them.
# Suppose the student has learned the teacher's map, but for one fault. What does each loss say about it?

# %%
room = views[lesson.pick(smoke=1, lab=18)]
truth = room.depth.clamp(0.1, 9.9)
weights = gaussian_window(11, 3.0)
FAULTS = {"perfect": truth, "10 % too far": 1.1 * truth, "half a metre too far": (truth + 0.5),
          "blurred": separable_blur(F.pad(truth, (5,) * 4, mode="replicate"), weights),
          "relief turned inside out": 2 * separable_blur(F.pad(truth, (5,) * 4, mode="replicate"), weights) - truth}
rows = [{"student's fault": fault, **{kind.replace("_", " + ").upper(): float(response_loss(pred, truth, kind=kind))
                                      for kind in RESPONSES}} for fault, pred in FAULTS.items()]
lesson.table(pd.DataFrame(rows), "faults", "The five response losses for one room.")

# %%
relief = FAULTS["relief turned inside out"]
standard, coded = (float(1 - ssim(relief, truth, variant=variant)) for variant in ("standard", "tiekd"))
lesson.say("The last row is a student that has every bump as a dent. The standard SSIM knows better than that of the "
           f"authors: 1 − SSIM is {standard:.3f} against **{coded:.3f}**. Theirs takes the absolute value of the "
           "covariance, so that a dent counts as a bump. We use theirs, since it made the paper's numbers.")

# %% [markdown]
# ## The teachers
#
# Here, two networks that the course trained on rooms (notebook 02) and ships. On NYU, in the reference study, four:
# METER-XXS with its authors' weights, and the course's own AdaBins, BTS and DepthFormer. How good are the two?

# %%
teachers = {name: models.create_model(entry.network, weights=entry.weights).to(lesson.device)
            for name, entry in RULE.teachers.items() if entry.weights and name in RULE.compared}
said = {name: predict(network, views.image, device=lesson.device) for name, network in teachers.items()}
errors = {name: depth_metrics(depth, views.depth, views.mask) for name, depth in said.items()}
rows = [{"teacher": name, **{m: errors[name][m] for m in ("abs_rel", "rmse", "delta1")}} for name in teachers]
if len(said) == 2:
    similar = {measure: float(value.mean()) for measure, value in teacher_similarity(*said.values()).items()}
    rows.append({"teacher": "the first against the second", **similar})
lesson.table(pd.DataFrame(rows), "teachers", f"Teachers against the truth on {len(views)} test views, at the size of "
             "the students, and against each other.")

# %% [markdown]
# In training, the teacher's map takes the place of the true depth, before anything else happens. So it is mirrored and
# turned together with the image. On KITTI the paper leaves out the top 110 of 352 rows, where its teachers never saw a
# LiDAR point. Indoors there is no such place, and neither the authors' code nor ours leaves out anything.
#
# ## The experiment
#
# `experiments/distillation.yaml` has all trainings of Tables 1 to 5 and some that the paper does not have. Three of
# them run here, on rooms: the baseline, the best response loss of the paper, and TIE-KD.

# %%
results = lesson.results("distillation")
teacher = RULE.teacher
made = {run.variant: run for run in results}
SHOWN = {"abs_rel": "abs_rel", "rmse": "rmse", "delta1": "delta1", f"{teacher}_abs_rel": "abs_rel to the teacher",
         f"{teacher}_rmse": "rmse to the teacher", "edge_f1": "F1 of edges"}
SHOWN = {measure: title for measure, title in SHOWN.items() if measure in results[0].metrics}
rows = [{"student": TITLES[name], **{title: run.metrics[m] for m, title in SHOWN.items()}}
        for name, run in made.items()]
lesson.table(pd.DataFrame(rows), "rooms", f"Students on {lesson.info.title}, against the truth and against their "
             f"teacher ({teacher}).", sources=results)

# %%
first, nearest = (min(made, key=lambda name: made[name].metrics[m]) for m in ("abs_rel", f"{teacher}_abs_rel"))
lesson.say(f"By AbsRel, nearest to the truth is **{TITLES[first]}**, nearest to the teacher **{TITLES[nearest]}**. This is "
           "one seed, of students trained for a minute. But note what the column of the teacher says of the baseline, "
           f"which has never met it: {made['baseline'].metrics[f'{teacher}_abs_rel']:.3f}. To be near to a teacher, it "
           "can be enough to be near to what the teacher is near to.")

# %% [markdown]
# And the depth maps, as in Figs. 1, 3 and 6 to 8 of the paper. Views are chosen by a rule: at a quarter, at half and
# at three quarters of the list of test views, sorted by the baseline's error. The paper looks at edges, in a green
# box. Ours stands where the true depth has the most steps.

# %%
ranks = np.argsort(made["baseline"].per_image["rmse"])
chosen = [int(ranks[round(share * (len(ranks) - 1))]) for share in (0.25, 0.5, 0.75)]
students = {name: lesson.network("distillation", name) for name in made}


def busiest(depth, tall=SIZE[0] // 4, wide=SIZE[1] // 4):
    """(top, left, height, width) of the window with the largest depth steps."""
    steps = (depth.log().diff(dim=-1)[..., :-1, :].abs() + depth.log().diff(dim=-2)[..., :-1].abs()).clamp(max=0.3)
    means = F.avg_pool2d(steps, (tall, wide), 1)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return top, left, tall, wide

# %%
picked = views[chosen]
gallery = {"input": picked.image, "truth": picked.depth, "teacher": said[teacher][chosen] if teacher in said else None}
gallery |= {TITLES[name]: predict(net, picked.image, device=lesson.device) for name, net in students.items()}
gallery = {title: list(maps) for title, maps in gallery.items() if maps is not None}
limits = [tuple(np.quantile(depth[mask], [0.01, 0.99])) for depth, mask in zip(picked.depth, picked.mask)]
lesson.figure(drawing.depth_gallery(gallery, limits, boxes=[busiest(d[None].clamp_min(0.1)) for d in picked.depth]),
              "gallery", "Three rooms, their teacher, and three students. Near is bright.", sources=results,
              alt="Rows: input, truth, teacher, three students. Columns: three rooms with a green box each.")

# %% [markdown]
# What does the student say that the baseline cannot? Its whole distribution. Here is a pixel on an edge and one on a
# plain wall, with the map that the teacher would have.

# %%
one, (top, left, tall, wide) = picked.image[1:2], busiest(picked.depth[1:2].clamp_min(0.1))
with torch.no_grad():
    maps = students["tie_kd"].cpu().depth_probability(one)[0]
edges = students["tie_kd"].edges
relief = picked.depth[1, 0].log().diff(dim=1).abs()
window = relief[top:top + tall, left:left + wide - 1]
row, column = divmod(int(window.argmax()), window.shape[1])
PIXELS = {"on the edge": (top + row, left + column), "in the middle": (SIZE[0] // 2, SIZE[1] // 2)}
stride = SIZE[0] // maps.shape[-2]  # the small students say their map at half of the image's size

# %%
figure, axes = figures.new_figure(1, 2, height=2.6, sharey=True)
for axis, (title, (row, column)) in zip(axes, PIXELS.items()):
    depth = (said[teacher] if teacher in said else views.depth)[chosen[1]][None, :, row:row + 1, column:column + 1]
    target = depth_probability_map(depth, edges, RULE.sigma).flatten()
    axis.stairs(target, edges, fill=True, color=figures.COLOURS[1], alpha=0.35, label="the teacher's map")
    axis.stairs(maps[:, row // stride, column // stride], edges, color=figures.COLOURS[0], lw=2, label="the student's")
    axis.set(title=title, xlabel="depth (m)", xlim=(0, 10))
axes[0].legend()
axes[0].set_ylabel("probability")
lesson.figure(figure, "distributions", "Two pixels of the room in the middle, after training.", sources=results,
              alt="Two panels: a box of the teacher's probabilities, and the student's smoother curve.")

# %% [markdown]
# ## Try it: whose map is it?
#
# Choose a student and a view. The third panel is the student minus the teacher, the fourth the student minus the
# truth.

# %%
def draw(student, view):
    """Depth of a student, and how it differs from its teacher and from the truth."""
    image, truth = views.image[view:view + 1], views.depth[view]
    other = said[teacher][view] if teacher in said else truth
    depth = predict(students[student], image, device=lesson.device)[0]
    figure, axes = figures.new_figure(1, 4, height=1.6)
    bounds = (float(truth.quantile(0.01)), float(truth.quantile(0.99)))
    figures.show_image(axes[0], image[0], "input")
    figures.show_depth(axes[1], depth, "student", limits=bounds)
    for axis, (title, against) in zip(axes[2:], {"− teacher": other, "− truth": truth}.items()):
        shown = figures.show_signed(axis, depth - against, f"student {title}", limit=1.0)
    figure.colorbar(shown, ax=axes[2:], label="m")
    return figure

# %%
explore(draw, {"student": list(students), "view": chosen}, [{"student": "tie_kd", "view": chosen[0]},
                                                            {"student": "baseline", "view": chosen[0]}],
        lesson=lesson, name="try", caption="The student {student}.",
        alt="An image, a student's depth, and two signed maps of differences.")

# %% [markdown]
# ## Table 1, on NYU
#
# Now the reference study, on NYU. The paper's Table 1 is on KITTI, with ImageNet weights and 24 epochs on 21,000
# images. Ours: narrowed students from random weights, a few epochs on 795 images of 96 × 128 pixels. Levels cannot be
# compared; the order of the rows can. METER-XXS, the good teacher, teaches by all losses; the others by TIE-KD and by
# the best response loss of the paper. A ± is the spread over seeds.

# %%
study = lesson.reference("distillation")
OWN = {"METER-XXS": "", "AdaBins": "_adabins", "BTS": "_bts", "DepthFormer": "_depthformer"}
METHODS = {"ssim": "SSIM", "mse": "MSE", "si": "SI", "ssim_si": "SSIM + SI", "ssim_mse": "SSIM + MSE",
           "tie_kd": "TIE-KD"}
COUNTED = ("abs_rel", "rmse", "delta1")
lesson.say(f"The study holds {len(study)} trainings of {len({run.variant for run in study})} variants." if study else
           "**The reference study of this experiment is not there yet.** The tables below fill when it is: "
           "`mde run distillation --data nyu --scale study`, then `mde collect`.")

# %%
TEACHERS = {"METER-XXS": ("protocols", "adabins"), "AdaBins": ("gradient_refinement", "adabins"),
            "BTS": ("dissection", "bts"), "DepthFormer": ("gradient_refinement", "depthformer")}


def mean_of(runs, variant, measure):
    values = [run.metrics[measure] for run in runs if run.variant == variant and measure in run.metrics]
    return float(np.mean(values)) if values else float("nan")


def spread_of(runs, variant, measure):
    values = [run.metrics[measure] for run in runs if run.variant == variant and measure in run.metrics]
    return f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""


# %%
nyu = papers.load_table("choi2024", "repository_nyu").pivot(index="row", columns="column", values="value")


def lines_of(name):
    """Rows of Table 1 for one teacher: title -> the paper's row, our runs, and which of them."""
    theirs = "AdaBins" if name == "METER-XXS" else name
    experiment, variant = TEACHERS[name]
    teacher_runs = [run for run in lesson.reference(experiment) if run.variant == variant][:1]
    lines = {"Baseline": ("Baseline", study, "baseline"), "Teacher": (f"{theirs}, teacher", teacher_runs, variant)}
    return lines | {title: (f"{theirs}, {title}", study, f"{method}{OWN[name]}") for method, title in METHODS.items()}

# %%
def table_1(name):
    """The paper's numbers and its authors' (METER stands beside AdaBins), and ours."""
    rows = []
    for title, (row, runs, key) in lines_of(name).items():
        line = {"": title}
        for measure in COUNTED:
            found = mean_of(runs, key, measure)
            line |= {f"{measure}, paper (KITTI)": f"{printed[1].loc[row, measure]:.4f}"}
            line |= {f"{measure}, authors (NYU)": f"{nyu.loc[row, measure]:.4f}"} if measure in nyu else {}
            line[f"{measure}, ours"] = f"{found:.3f}{spread_of(runs, key, measure)}" if np.isfinite(found) else "–"
        rows.append(line)
    return pd.DataFrame(rows)


# %%
for name in OWN:
    if any(run.variant == f"tie_kd{OWN[name]}" for run in study):
        lesson.table(table_1(name), f"table_1{OWN[name]}", f"Table 1, teacher {name}; in the columns of the paper and "
                     f"of its authors {'AdaBins' if name == 'METER-XXS' else name}.",
                     sources=[run for run in study if run.variant.endswith(OWN[name])])

# %% [markdown]
# The claims are about differences, paired over seeds and test views:

# %%
claims = [claim for claim in papers.load_claims("choi2024") if claim.notebook == "11" and claim.evidence]
judged = {claim.id: verdicts.judge(claim, study) for claim in claims}
rows = [{"place": claim.place, "measure": f.measure, "compared": f"{TITLES[f.first]} − {TITLES[f.second]}",
         "difference": f"{f.difference:+.4f}", "95 % interval": f.span, "n": f.count, "verdict": f.verdict}
        for claim in claims for f in judged[claim.id]]
if rows:
    lesson.table(pd.DataFrame(rows), "differences", "What the claims of Tables 1 to 5 come to on NYU.", sources=study)

# %% [markdown]
# ## Inside out
#
# An error says how far a map is off, and not how. So finished students are asked once more, view by view: how does
# their depth correlate with the true depth? 1 is the true relief, however stretched. 0 is none of it. Below 0, far is
# near.

# %%
inside_out = sorted(lesson.reference("inside_out"), key=lambda run: run.seed)
FACING = {name: entry.title for name, entry in load_experiment("inside_out").variants.items()}
relief = {title: [run.per_image["relief"] for run in inside_out if run.variant == name]
          for name, title in FACING.items()}
relief = {title: seeds for title, seeds in relief.items() if seeds}
if relief:
    lesson.figure(drawing.relief_boxes(relief), "inside_out", "Depth of the students against the true depth, over the "
                  "test views of NYU: one box a seed, whiskers from 5 to 95 % of the views. Hatched: more than half of "
                  "the views are inside out.", sources=inside_out,
                  alt="Boxes on an axis from −1 to 1. Most are right of 0; the hatched ones are left of it.")

# %%
turned = [run for run in inside_out if is_inside_out(run.per_image["relief"])]
names = [f"{FACING[run.variant]} (seed {run.seed})" for run in turned]
if inside_out:
    lesson.say(f"**{len(turned)} of {len(inside_out)}** trainings ended inside out" + (f": {'; '.join(names)}." if turned
                                                                                      else "."))

# %%
if turned:
    share = [np.mean(np.array(run.per_image["relief"]) < 0) for run in turned]
    wrong = [run.metrics["abs_rel"] for run in turned]
    last = {(run.variant, run.seed): run.history[-1]["loss"] for run in study}
    which = {(run.variant, run.seed) for run in turned}
    ends = [[loss for key, loss in last.items() if key[0] in {v for v, _ in which} and (key in which) is side]
            for side in (True, False)]
    lesson.say(f"They have near and far exchanged in at least {min(share):.0%} of the views, and an AbsRel of "
               f"{min(wrong):.2f} to {max(wrong):.2f}. No warning is printed." + ((
                   f" Only beside its twins one sees it: the loss of those that are turned ends at {np.mean(ends[0]):.1f}, "
                   f"that of the others by the same teachers at {np.mean(ends[1]):.1f}.") if all(ends) else ""))

# %% [markdown]
# The table of faults announced it. The authors' SSIM takes the absolute value of the covariance, so a room and its
# mould have nearly the same $L_{depth}$. A student begins at random, and its first steps seem to decide which of the two
# it becomes. $L_{DPM}$ knows the difference, but has a tenth of the weight.
#
# Is that the cause? `tie_kd_signed` keeps the sign of the covariance and changes nothing else.

# %%
SIGNED = {"METER-XXS": ("tie_kd", "tie_kd_signed"), "AdaBins": ("tie_kd_adabins", "tie_kd_signed_adabins"),
          "DepthFormer": ("tie_kd_depthformer", "tie_kd_signed_depthformer")}
chosen = {(name, word): [run for run in study if run.variant == variant] for name, pair in SIGNED.items()
          for word, variant in zip(("as coded", "with its sign"), pair)}
rows = [{"teacher": name, "covariance": word, "AbsRel, seed by seed": ", ".join(
            f"{run.metrics['abs_rel']:.3f}" for run in sorted(runs, key=lambda run: run.seed))}
        for (name, word), runs in chosen.items() if runs]
if rows:
    lesson.table(pd.DataFrame(rows), "signed", "TIE-KD with the authors' SSIM, and with one that keeps the covariance's "
                 "sign, on NYU.", sources=sum(chosen.values(), []))

# %% [markdown]
# A mean over the seeds of the first rows is the mean of two kinds of students. And a table of one training a row, like
# the paper's, would have praised or damned a teacher by its seed.
#
# And what did the authors find on NYU? Their repository lists it; the paper does not print it.

# %%
their = {"MobileNetV2": "Baseline", "ResNet18": "ResNet18, baseline", "ResNet50": "ResNet50, baseline"}
rows = []
for backbone, row in their.items():
    line = {"backbone": backbone, "baseline": f"{nyu.loc[row, 'abs_rel']:.4f}"}
    for name in ("AdaBins", "BTS", "DepthFormer"):
        student = f"{name}, TIE-KD" if backbone == "MobileNetV2" else f"{backbone}, TIE-KD by {name}"
        line[f"TIE-KD by {name}"] = f"{nyu.loc[student, 'abs_rel']:.4f}"
    rows.append(line)
lesson.table(pd.DataFrame(rows), "repository", "The authors' own students on NYU, AbsRel.")
pairs = [(value, line["baseline"]) for line in rows for name, value in line.items() if name.startswith("TIE-KD")]
lesson.say(f"There, **{sum(one > other for one, other in pairs)} of {len(pairs)}** students of TIE-KD are worse than "
           "their baseline, which learned from the truth. \"Consistently surpassed\" is a statement about KITTI, "
           "where the truth is sparse and a teacher says something at every pixel.")

# %% [markdown]
# ## Does the student resemble its teacher? (Tables 2 and 3)
#
# All pixels count here, and the truth plays no part: the teacher's depth is the reference.

# %%
WHO = {"METER-XXS": "meter", "AdaBins": "adabins", "BTS": "bts", "DepthFormer": "depthformer"}
pupils = {f"{kind} by {name}": f"{method}{OWN[name]}" for name in OWN
          for kind, method in (("Res-KD", "ssim_si"), ("TIE-KD", "tie_kd"))}
pupils = {"Baseline": "baseline", **pupils}
near = pd.DataFrame({name: {title: mean_of(study, variant, f"{short}_abs_rel") for title, variant in pupils.items()}
                     for name, short in WHO.items()}) if study else pd.DataFrame()
near = near.dropna(how="all").dropna(how="all", axis=1)
if len(near):
    lesson.figure(drawing.similarity_grid(near, "AbsRel to the teacher"), "table_2", "Table 2: students against every "
                  "teacher on NYU. Framed: the student nearest to that teacher.", sources=study,
                  alt="A grid of numbers, students in rows and teachers in columns.")

# %%
theirs = printed[2][[f"{short}_abs_rel" for short in ("adabins", "bts", "depthformer")]]
lesson.table(theirs.set_axis(["to AdaBins", "to BTS", "to DepthFormer"], axis=1).reset_index(names="student"),
             "table_2_paper", "Table 2 of the paper, AbsRel on KITTI.")
own = [f"{kind} by {name}" for name in ("AdaBins", "BTS", "DepthFormer") for kind in ("Res-KD", "TIE-KD")]
nearest = sum(theirs.loc[row].idxmin().startswith(row.split()[-1].lower()) for row in own)
ours = [(title, near.loc[title].idxmin()) for title in pupils if title in near.index and " by " in title]
lesson.say(f"In the paper's table, {nearest} of {len(own)} students are nearest to their own teacher."
           + (f" In ours, {sum(title.endswith(name) for title, name in ours)} of {len(ours)}." if ours else ""))

# %% [markdown]
# Read down a column, and the claim looks right or wrong. Read along a row, and something else may show: a teacher that
# is easy to imitate is near to everybody. The baseline, which has met none of them, is the yardstick for that.
#
# Table 3 asks the same of a student with a larger backbone. "Minimizing the disparity in parameters between teacher
# and student" should bring it nearer.

# %%
rows = []
for name, short in WHO.items():
    suffix = "" if name == "METER-XXS" else f"_{short}"
    line = {"teacher": name}
    for title, variant in (("MobileNetV2", f"tie_kd{suffix}"), ("ResNet50", f"tie_kd_resnet50{suffix}")):
        found = mean_of(study, variant, f"{short}_abs_rel")
        line[title] = f"{found:.3f}" if np.isfinite(found) else "–"
    if name in printed[3].index:
        line |= {"MobileNetV2, paper": f"{printed[2].loc[f'TIE-KD by {name}', f'{short}_abs_rel']:.3f}",
                 "ResNet50, paper": f"{printed[3].loc[name, 'abs_rel']:.3f}"}
    rows.append(line)
lesson.table(pd.DataFrame(rows).fillna("–"), "table_3", "Table 3: AbsRel to the student's own teacher, on NYU and "
             "(the paper) on KITTI.", sources=study)

# %% [markdown]
# ## One loss or both? (Table 4) · Which backbone? (Table 5)

# %%
PARTS = {"L_DPM": "dpm_only", "L_depth": "depth_only", "both": "tie_kd"}
rows = []
for title, variant in PARTS.items():
    line = {"loss": title}
    for measure in ("abs_rel", "rmse", "delta1"):
        found = mean_of(study, variant, measure)
        line |= {f"{measure}, paper": f"{printed[4].loc[f'AdaBins, {title}', measure]:.3f}",
                 measure: f"{found:.3f}{spread_of(study, variant, measure)}" if np.isfinite(found) else "–"}
    rows.append(line)
lesson.table(pd.DataFrame(rows), "table_4", "Table 4: parts of the loss; the paper with AdaBins on KITTI, ours with "
             "METER-XXS on NYU.", sources=[run for run in study if run.variant in PARTS.values()])

# %%
rows = []
for suffix, title in (("", "MobileNetV2"), ("_resnet18", "ResNet18"), ("_resnet50", "ResNet50")):
    for method, word in (("baseline", "baseline"), ("tie_kd", "TIE-KD")):
        line = {"backbone": title, "method": word}
        for measure in ("abs_rel", "rmse", "delta1"):
            found = mean_of(study, f"{method}{suffix}", measure)
            line |= {f"{measure}, paper": f"{printed[5].loc[f'{title}, {word}', measure]:.3f}",
                     measure: f"{found:.3f}" if np.isfinite(found) else "–"}
        rows.append(line)
lesson.table(pd.DataFrame(rows), "table_5", "Table 5: backbones; the paper on KITTI, ours on NYU.", sources=study)

# %% [markdown]
# ## How much is the teacher?
#
# TIE-KD changes three things at once against its baseline. The head says bins. The loss has a divergence and SSIM. And
# the depth to learn from is the teacher's. The paper never takes them apart. Each of these steps changes one thing:

# %%
STEPS = {"a head of bins (truth, SI)": ("truth_dpm_head", "baseline"),
         "then TIE-KD's loss (truth)": ("truth_tie_kd", "truth_dpm_head"),
         "then the teacher: TIE-KD": ("tie_kd", "truth_tie_kd"),
         "all three: TIE-KD − baseline": ("tie_kd", "baseline"),
         "SSIM + SI instead of SI (truth)": ("truth_ssim_si", "baseline"),
         "then the teacher: Res-KD": ("ssim_si", "truth_ssim_si"),
         "then a head of bins": ("head_ssim_si", "ssim_si")}


def step(first, second, measure):
    """Paired difference of two variants over the seeds that both have, or None."""
    sides = [{run.seed: run.per_image[measure] for run in study if run.variant == name} for name in (first, second)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    return verdicts.paired_interval(*(np.array([side[s] for s in seeds], float) for side in sides)) if seeds else None


# %%
for measure, label in (("rmse", "change of RMSE (m)"), ("abs_rel", "change of AbsRel")):
    steps = {title: step(*pair, measure) for title, pair in STEPS.items()}
    steps = {title: found for title, found in steps.items() if found is not None}
    if steps:
        lesson.figure(drawing.gain_steps(steps, label), f"steps_{measure}", "One thing at a time, on NYU. Blue is "
                      "better, orange worse, grey cannot be told.", sources=study,
                      alt="Rows of dots with intervals around zero, one a change of the training.")
if not steps:
    lesson.say("No pair of these variants is in the study yet.")

# %%
HOLDERS = {"teacher": "then the teacher: TIE-KD", "head": "a head of bins (truth, SI)",
           "loss": "then TIE-KD's loss (truth)"}
gains = {what: steps[title] for what, title in HOLDERS.items() if title in steps}
if len(gains) == 3:
    words = [f"the {what} {value:+.4f} ({low:+.4f} to {high:+.4f})" for what, (value, (low, high)) in gains.items()]
    lesson.say("Of the change in AbsRel from the baseline to TIE-KD: " + ", ".join(words) + ". Negative is better. A "
               "caution: METER-XXS has learned from far more of NYU than the 795 views of our students. A gain by this "
               "teacher may be a gain by more data.")

# %% [markdown]
# ## What we had to decide
#
# - **The direction of the divergence.** As in the code; `tie_kd_eq5` has it as printed.
# - **σ and the bins.** The authors' for NYU: 0.15 m and 49 bins to 10 m. Their code forgets this σ in the combined
#   loss and takes 0.5 m; `tie_kd_as_coded` does, too, with densities in place of integrals. Notebook 12 varies σ.
# - **The baseline's target.** The truth, as the paper says. The released configurations load a teacher's map.
# - **The top rows.** A share of the rows, sliced off for all losses alike; a switch makes it TIE-KD's alone, as coded.
# - **Best epoch.** The paper keeps the epoch that is best on its test views. We keep the last.
# - **Optimiser and schedule.** The course's (notebook 02): AdamW, a rise and a half cosine, averaged weights.

# %%
OTHER = {"tie_kd": "as above", "tie_kd_linear": "linear maps", "tie_kd_eq5": "KL(S || T), as printed",
         "tie_kd_as_coded": "as coded: density, σ = 0.5 m"}
rows = [{"TIE-KD": title, **{m: f"{mean_of(study, v, m):.3f}{spread_of(study, v, m)}"
                             for m in ("abs_rel", "rmse", "delta1", "meter_abs_rel")}}
        for v, title in OTHER.items() if any(run.variant == v for run in study)]
if rows:
    lesson.table(pd.DataFrame(rows), "readings", "If decided otherwise: four readings of TIE-KD on NYU, teacher "
                 "METER-XXS.", sources=[run for run in study if run.variant in OTHER])

# %% [markdown]
# ## Verdict

# %%
lines = []
for claim in claims:
    words = ", ".join(f"{f.measure} {f.difference:+.3f} **{f.verdict}**" for f in judged[claim.id])
    lines.append(f"- {claim.place}: {claim.states} *Ours:* {words or 'not tested yet'}.")
lesson.say("On NYU, in the reference study, teacher METER-XXS if nothing else is said:\n\n" + "\n".join(lines))

# %% [markdown]
# Small students, on indoor views, with another teacher: they can disagree with the paper and both be right. What does
# not depend on size is the design. A comparison with a baseline that differs in head, loss and target says nothing
# about which of them helped.
#
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. The loss.** Eq 4 from its two parts. Both are means over the pixels where the teacher says something: its depth
# is finite and above 0. Given are the divergence of each pixel and the SSIM of each pixel.

# %%
def my_total(divergence, similar, teacher, alpha, beta):
    """A number, from maps (H, W) each and two numbers."""
    # <solution>
    known = torch.isfinite(teacher) & (teacher > 0)
    return beta * (alpha * divergence[known].mean() + (1 - alpha) * (1 - similar[known].mean()))
    # </solution>


check.distillation_total(my_total)

# %% [markdown]
# **2. Leave the sky out.** The paper asks its library for a crop of H rows from row 110 of an image with H rows. Older
# versions return what is there, newer ones fill up with zeros. Write it so that it does not depend on that: the maps
# without their first rows.

# %%
def my_crop(maps, rows):
    """(B, C, H − rows, W), from (B, C, H, W)."""
    # <solution>
    return maps[..., rows:, :]
    # </solution>


check.below_top(my_crop)

# %% [markdown]
# **3. The luminance term.** On depths in metres, SSIM's constants hardly count. What is left of its first factor for a
# student that is $c$ times too far, everywhere? Neither the depth nor the unit is needed.

# %%
def my_luminance(c):
    """A number between 0 and 1, from the factor c > 0."""
    # <solution>
    return 2 * c / (1 + c**2)
    # </solution>


check.luminance(my_luminance)

# %% [markdown]
# **4. Who is nearest?** From a table of distances, students in rows and teachers in columns: the share of students
# that are nearer to their own teacher than to any other. `own` has the column of each student's teacher. A tie counts
# as not nearer.

# %%
def my_own_nearest(distances, own):
    """A share, from (S, T) and (S,) whole numbers."""
    # <solution>
    mine = distances.gather(1, own[:, None])[:, 0]
    others = distances.scatter(1, own[:, None], torch.inf).amin(1)
    return (mine < others).double().mean()
    # </solution>


check.own_nearest(my_own_nearest)

# %% [markdown]
# **5. Open question.** A teacher that is wrong in the same way everywhere is easy to imitate. Invent a measure that
# says whether a student has learned from *this* teacher, and not only what all teachers have in common. What would
# your measure say of the baseline?
#
# ## What to read next
#
# - Hinton, Vinyals, Dean, 2015 (arXiv 1503.02531): distillation, and why soft labels teach more.
# - Bhat, Alhashim, Wonka, CVPR 2021 (arXiv 2011.14141): AdaBins, depth as a mean over bins.
# - Alhashim, Wonka, 2018 (arXiv 1812.11941): DenseDepth, whose decoder the students have.
# - Diaz, Marathe, CVPR 2019: soft labels for ordinal regression.
# - In this course: notebook 10, what the maps do to depth; notebook 12, α and σ.
