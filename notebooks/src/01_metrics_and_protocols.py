# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 · Metrics and protocols: how conventions move a number
#
# Two networks stand in a table, and one has the smaller RMSE. It looks better. But an RMSE is not a property
# of a network. It is the end of a chain of small decisions: which pixels count, how far away they may be,
# whether the network is told the scale of the room, how the errors of many pictures become one number. These
# decisions are the **protocol**. Papers seldom print theirs; their code has it.
#
# **The question.** How far does a number move when the prediction stays the same and only the protocol
# changes? And is that more or less than the step from one published method to the next?
#
# **What the papers do.** They collect numbers from many other papers in one column: in this course huynh2021,
# Tables 1 and 2, and yao2023, Tables 2 and 3. A column claims that its rows may be compared. At the end of
# this notebook you can say when that is so.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import matplotlib.patches as patches
import numpy as np
import pandas as pd
import torch

from mdelib import course, figures, models, papers, verdicts
from mdelib.audit import audit_claim
from mdelib.exercises import check
from mdelib.comparisons import change_bars, dot_panels
from mdelib.conventions import Predicted, breakages, one_at_a_time, predict_views, resampled, scaled_protocol
from mdelib.metrics import HIGHER_IS_BETTER, METRICS, depth_metrics
from mdelib.protocols import CROPS, PROTOCOLS, crop_mask
from mdelib.widgets import explore

lesson = course.start("01", data=data, scale=scale, seed=seed, device=device)
if lesson.info.max_depth > 10:
    raise ValueError(f"notebook 01 scores indoor views, data is {data!r}: choose 'scenes-rooms' or 'nyu'")

# %% [markdown]
# ## One view, one prediction
#
# We take a trained network and leave it alone for the rest of the notebook. Nothing below trains anything. On
# rendered rooms it is a small ResNet-50 network after Hu et al.; on photographs it is METER-XXS with the
# weights that its authors released.

# %%
name, weights = ("meter_xxs", "meter_xxs_nyu") if lesson.info.real else ("hu_resnet50", "rooms_cnn")
network = models.create_model(name, weights=weights).to(lesson.device)
views = lesson.views("test", size=(240, 320) if lesson.info.real else None)
predicted = predict_views(network, views)

size = tuple(views.depth.shape[-2:])
baseline = PROTOCOLS["bts_nyu"]
each = predicted.per_image(baseline)
example = int(each["abs_rel"].argsort()[len(views) // 2])  # neither the best view nor the worst: the middle one

# %%
pred, target, mask = (maps[example:example + 1] for maps in (predicted.plain, predicted.target, predicted.mask))
figure = figures.image_rows([{"view": views.image[example], "ground truth": target[0], "prediction": pred[0],
                              "error: prediction − truth": (pred - target)[0]}], masks=[mask[0]])
lesson.figure(figure, "one_view",
              "The view whose AbsRel is the middle one of all test views. Red: too far. Blue: too near.",
              alt="A view, its true depth, the predicted depth and the signed error, side by side.")

# %% [markdown]
# The error map has one number a pixel. A table has one number a network. Everything in this notebook is about
# what happens between the two.
#
# ## AbsRel in ten lines
#
# Write $\hat d$ for the predicted depth, $d$ for the true depth, both in metres. The most common measure
# asks: by which share of the true depth is a pixel wrong, on average?
#
# $$\mathrm{AbsRel} = \frac{1}{n} \sum_{i=1}^{n} \frac{|\hat d_i - d_i|}{d_i}$$
#
# Even here there are decisions: which $n$ pixels, and what to do with predictions out of range.

# %%
def my_abs_rel(pred, target, mask, min_depth=1e-3, max_depth=10.0):
    values = []
    for p, t, m in zip(pred, target, mask, strict=True):       # image by image
        counts = m & (t > min_depth) & (t < max_depth)         # which pixels count
        p = p.clamp(min_depth, max_depth)                      # what the network may say
        error = (p - t).abs() / t.where(counts, 1)
        values.append(error[counts].double().mean())           # one number a picture
    return torch.stack(values).mean()                          # one number a data set


mine = float(my_abs_rel(predicted.plain, predicted.target, predicted.mask))
library = depth_metrics(predicted.plain, predicted.target, predicted.mask)["abs_rel"]
assert abs(mine - library) < 1e-6
lesson.say(f"Ten lines give **{mine:.4f}**, the library gives **{library:.4f}**, over {len(views)} views of "
           f"{lesson.info.title}.")

# %% [markdown]
# ## Twelve measures
#
# Twelve measures are common. With the error $e = \hat d - d$ and the log error $g = \ln \hat d - \ln d$:

# %% tags=["nbval-check-output"]
WORDS = {
    "abs_rel": ("mean |e| / d", "By which share of the depth am I wrong?"),
    "sq_rel": ("mean e² / d, in metres", "The same, but large errors count more."),
    "rmse": ("√ mean e², in metres", "How many metres am I off? The far and the grossly wrong decide."),
    "rmse_log": ("√ mean g²", "By which factor am I off? Near and far count alike."),
    "log10": ("mean |log₁₀ d̂ − log₁₀ d|", "The same without squares, in powers of ten."),
    "si": ("mean g² − (mean g)²", "How uneven is my factor? One factor everywhere costs nothing."),
    "silog": ("100 · √ si", "The same as a percentage: what KITTI ranks by."),
    "imae": ("mean |1/d̂ − 1/d|, in 1/m", "The error in inverse depth: the near decides."),
    "irmse": ("√ mean (1/d̂ − 1/d)², in 1/m", "The same, but large errors count more."),
    "delta1": ("share of pixels with max(d̂/d, d/d̂) < 1.25", "How many pixels are within a factor of 1.25?"),
    "delta2": ("… < 1.25² = 1.5625", "How many are within a factor of 1.56?"),
    "delta3": ("… < 1.25³ ≈ 1.953", "How many are within a factor of 1.95?")}
lesson.table(pd.DataFrame([(name, *WORDS[name]) for name in WORDS], columns=["measure", "formula", "in words"]),
             "measures", "The twelve measures. Up to irmse smaller is better; for the three deltas larger is.")

# %% [markdown]
# Each of them is blind to something. To see to what, take a **perfect** prediction and break it in seven
# ways. Every break is made so strong that the RMSE is the same. Then ask the other measures.

# %%
broken = breakages(target, mask, seed=seed)
limit = 3 * float((broken["shift"] - target)[mask].mean())
figure, axes = figures.new_figure(1, len(broken), height=1.15)
for axis, (word, depth) in zip(axes, broken.items(), strict=True):
    shown = figures.show_signed(axis, (depth - target)[0], word, limit=limit, mask=mask[0])
figure.colorbar(shown, ax=axes, label="error (m)", shrink=0.9, pad=0.01)
lesson.figure(figure, "breaks",
              "Seven wrong depth maps of one room, drawn as errors: everything too far by a factor; by some "
              "metres; only the nearest or the farthest quarter of the pixels; noise; blur; one pixel in a "
              "hundred far off. All have the same RMSE.",
              alt="Seven signed error maps of one room, one for each kind of error.")

# %%
scores = pd.DataFrame({word: depth_metrics(depth, target, mask) for word, depth in broken.items()}).T
deltas = [m for m in METRICS if m in HIGHER_IS_BETTER]
scores[deltas] = 1 - scores[deltas]
scores = scores.rename(columns={m: f"1 − {m}" for m in deltas})
share = (scores / scores.max().clip(lower=1e-9)).to_numpy()
figure, axis = figures.new_figure(height=3.1)
axis.imshow(share, cmap="Purples", vmin=0, vmax=1.6, aspect="auto")
for (row, column), value in np.ndenumerate(scores.to_numpy()):
    axis.text(column, row, f"{value:.2g}" if value > 5e-5 else "0", ha="center", va="center", fontsize=9,
              fontweight="bold" if share[row, column] > 0.999 else None)
axis.set_xticks(range(len(scores.columns)), scores.columns, rotation=35, ha="right")
axis.set_yticks(range(len(scores)), scores.index)
lesson.figure(figure, "blind",
              "What each measure says of the seven errors. Darker: worse within its column; bold: the worst. "
              "Deltas are shown as misses.", alt="A heat map: a row for each error, a column for each measure.")

# %%
near, far = scores.loc["near quarter"], scores.loc["far quarter"]
lesson.say(f"""Read it by columns.

- **RMSE** is {scores['rmse'].min():.3f} m in every row, as it was made to be. It cannot tell a room that is a
  little too large from one with holes in its walls.
- **SI and SILog** are {scores.loc['scale', 'si']:.0f} for a wrong scale. A network that gets every room wrong
  by one factor is perfect to them.
- **AbsRel** sees the near quarter {near['abs_rel'] / far['abs_rel']:.1f} times as strongly as the far
  quarter, and **iRMSE** {near['irmse'] / far['irmse']:.0f} times, for the same error in metres.
- **δ₁** counts misses and does not ask how bad they are. The outliers are one pixel in a hundred, so it sees
  {scores.loc['outliers', '1 − delta1']:.3f} and no more, however far off they are.

So two networks can change places when the measure changes. That is why papers print several. It does not help
against the next problem.""")

# %% [markdown]
# ## The protocols
#
# These are the ways in which people score, written down as data. The names are those of the library: whoever
# says `bts_nyu` has said everything in its row.

# %% tags=["nbval-check-output"]
rows = [{"protocol": p.name, "crop": p.crop or "none", "depth counts (m)": f"{p.min_depth:g}–{p.max_depth:g}",
         "pooled over": {"image": "images", "pixel": "pixels", "hu": "images, root last"}[p.pooling],
         "scale given": {None: "no", "median": "median", "lstsq": "scale, shift"}[p.align],
         "compared at": "×".join(map(str, p.resolution)) if p.resolution else "truth's",
         "mirror": "yes" if p.flip else "no", "clamped": "yes" if p.clamp else "no", "δ": p.delta, "source": p.source}
        for p in PROTOCOLS.values()]
lesson.table(pd.DataFrame(rows), "protocols",
             "Every protocol of the library and who uses it. Mirror: the prediction is averaged with that of "
             "the mirrored image. Clamped: predictions beyond the range of depths are set to its ends. δ: the ratio "
             "must be below 1.25, or may be equal to it.")

# %% [markdown]
# Three columns need a word. A **crop** says which part of the view counts. **Pooling** says what is
# averaged first. **Scale given** means that the prediction is first multiplied, or stretched and shifted, so
# that it fits the truth as well as possible.

# %%
figure, axis = figures.new_figure(height=3.2)
figures.show_image(axis, views.image[example])
for index, crop in enumerate((None, "hu_centre", "eigen_nyu")):
    kept = np.argwhere(crop_mask(*size, crop).numpy())
    (top, left), (bottom, right) = kept.min(0), kept.max(0) + 1
    axis.add_patch(patches.Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, lw=3,
                                     ls=("-", "--", "-.")[index], clip_on=False,
                                     ec=figures.COLOURS[(6, 1, 5)[index]], label=f"{crop or 'none'}: "
                                     f"{100 * len(kept) / (size[0] * size[1]):.0f} % of the view"))
axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
lesson.figure(figure, "crops", "The indoor crops. Eigen et al.'s drops a frame that is narrowest below.",
              alt="A view with three nested rectangles, one for each crop.")

# %% [markdown]
# ## The same predictions under every protocol
#
# Now the experiment. One network, one set of views, predictions made once. Only the scoring changes. The
# first row, BTS's protocol, is our baseline: AdaBins, NeWCRFs and PixelFormer share it but for the mirror
# image.
#
# Two protocols of the course join in: the one for its rendered rooms, and the habit of self-supervised work
# on KITTI (the true median gives every picture its scale), carried over indoors.

# %%
indoor = ["bts_nyu", "adabins_nyu", "eigen2014_nyu", "hu2019_nyu", "hu2019_masks", "interpretable_nyu", "meter_nyu",
          "rooms", "selfsup_indoors", "affine_nyu"]
selfsup = dict(one_at_a_time(baseline, size))["median scale given"]
chosen = {n: selfsup if n == "selfsup_indoors" else scaled_protocol(n, size) for n in indoor}
scored = {n: predicted.score(p) for n, p in chosen.items()}
spread = {n: predicted.per_image(p) for n, p in chosen.items()}
if size != (480, 640):
    lesson.say(f"NYU's depth maps have 480×640 pixels, ours here {size[0]}×{size[1]}. The resolutions at "
               "which some protocols compare are scaled down alike.")

# %% [markdown]
# To judge a movement we need a ruler. We take a published one: the step from BTS to AdaBins, two networks
# that are scored alike but for the mirror image, in the numbers that papers of this course print.

# %% tags=["nbval-check-output"]
huynh = papers.load_table("huynh2021", "table1").pivot(index="row", columns="column", values="value")
yao = papers.load_table("yao2023", "table2").pivot(index="row", columns="column", values="value")
ruler = pd.DataFrame({
    "measure": ["abs_rel", "rmse", "1 − delta1"],
    "BTS": [huynh.at["BTS", "rel"], huynh.at["BTS", "rmse"], 1 - huynh.at["BTS", "delta1"]],
    "AdaBins": [yao.at["AdaBins", "abs_rel"], yao.at["AdaBins", "rmse"], 1 - yao.at["AdaBins", "delta1"]]})
steps = 1 - ruler["AdaBins"] / ruler["BTS"]
ruler["step (%)"] = [f"{100 * value:.1f}" for value in steps]
lesson.table(ruler, "ruler",
             "The ruler: BTS (huynh2021, Table 1) and AdaBins (yao2023, Table 2) on NYU-Depth-v2.")
step = dict(zip(("abs_rel", "rmse", "delta1"), steps, strict=True))

# %%
titles = {"abs_rel": "AbsRel  (← better)", "rmse": "RMSE in m  (← better)", "delta1": "δ₁  (better →)"}


def as_wide_as_the_step(start):
    return {m: step[m] * (1 - start[m] if m == "delta1" else start[m]) for m in titles}


rows = {n: {m: (scored[n][m], resampled(spread[n], m, chosen[n].pooling, seed=seed)) for m in titles}
        for n in indoor}
figure = dot_panels(rows, titles, bands=as_wide_as_the_step(scored["bts_nyu"]),
                            accented=[n for n in indoor if chosen[n].align])
lesson.figure(figure, "everything",
              f"One network, {len(views)} views of {lesson.info.title}, one set of predictions, {len(indoor)} "
              "protocols. Grey line: the baseline. Grey band: as far as the published step from BTS to "
              "AdaBins. Bars: 95 % intervals over the choice of views. Orange squares: the protocol gives "
              "the scale.",
              alt="Three panels of dots, one row for each protocol, for AbsRel, RMSE and delta one.")

# %%
def move(scores, n, measure, base="bts_nyu"):
    return 100 * (scores[n][measure] / scores[base][measure] - 1)


honest = [n for n in indoor if chosen[n].align is None]
values = [scored[n]["rmse"] for n in honest]
lesson.say(f"""The predictions did not change by a millimetre. Among the {len(honest)} protocols that give no
scale, the RMSE runs from **{min(values):.3f} m** to **{max(values):.3f} m**, a factor of
{max(values) / min(values):.2f}; the step from BTS to AdaBins is a factor of {1 / (1 - step['rmse']):.2f}. Hu
et al.'s protocol moves the RMSE by {move(scored, 'hu2019_nyu', 'rmse'):+.1f} % and AbsRel by
{move(scored, 'hu2019_nyu', 'abs_rel'):+.1f} %. Giving scale and shift lowers AbsRel by
{-move(scored, 'affine_nyu', 'abs_rel'):.0f} %.""")

# %% [markdown]
# ### The same on real photographs
#
# Rendered rooms are tidy. The course's reference study scores METER-XXS, with its authors' weights, on
# photographs of NYU-Depth-v2 at full resolution. Again only the scoring changes from row to row.

# %%
reference = {r.parameters["protocol"]: r for r in lesson.reference("protocols", "nyu", "study")}
complete = {"bts_nyu", "hu2019_nyu", "affine_nyu"} <= set(reference)
real = {n: r.metrics for n, r in reference.items()} if complete else {}
each_real = {n: {measure: torch.tensor(v, dtype=torch.float64) for measure, v in r.per_image.items()}
             for n, r in reference.items()}
if not real:
    lesson.say("The reference study has no results for this experiment yet. `make study` makes them where "
               "NYU is.")

# %%
if real:
    rows = {n: {m: (real[n][m], resampled(each_real[n], m, PROTOCOLS[n].pooling)) for m in titles} for n in real}
    figure = dot_panels(rows, titles, bands=as_wide_as_the_step(real["bts_nyu"]), accented=["affine_nyu"])
    lesson.figure(figure, "nyu",
                  f"METER-XXS, {len(reference['bts_nyu'].names)} test photographs of NYU-Depth-v2, one set of "
                  "predictions. Line, band and bars as above.",
                  alt="The same three panels for real photographs.", sources=list(reference.values()))
    lesson.say("On photographs Hu et al.'s protocol moves the RMSE by "
               f"**{move(real, 'hu2019_nyu', 'rmse'):+.1f} %** and AbsRel by "
               f"{move(real, 'hu2019_nyu', 'abs_rel'):+.1f} %.")

# %% [markdown]
# ## One convention at a time
#
# A protocol is a bundle. Which of its conventions does the work? Start from the baseline and move one at a
# time.

# %%
moved = {words: predicted.score(p) for words, p in one_at_a_time(baseline, size).items()}
base = scored["bts_nyu"]
changes = pd.DataFrame({words: {"AbsRel": s["abs_rel"] / base["abs_rel"], "RMSE": s["rmse"] / base["rmse"],
                                "misses, 1 − δ₁": (1 - s["delta1"]) / (1 - base["delta1"])}
                        for words, s in moved.items()}).T.sub(1).mul(100)
changes = changes.loc[changes.abs().max(axis=1).sort_values(ascending=False).index]
figure, axes = figures.new_figure(1, 3, height=3.8, sharey=True)
for axis, measure in zip(axes, changes, strict=True):
    change_bars(axis, changes.index, changes[measure], limit=1.15 * changes.abs().max().max())
    axis.set(title=measure, xlabel="change (%)")
lesson.figure(figure, "tornado",
              "Each convention moved alone, from BTS's protocol. Blue: the number gets better. Orange: it "
              "gets worse. The network is the same throughout.",
              alt="Three bar charts of signed changes in percent, sorted from the convention that moves most.")

# %%
strong = [words for words in changes.index if changes.loc[words].abs().max() > 100 * step["rmse"]]
weak = [words for words in changes.index if changes.loc[words].abs().max() < 0.5]
lesson.say(f"""Here {len(strong)} of {len(changes)} conventions move some number by more than the whole
published RMSE step ({100 * step['rmse']:.1f} %): {'; '.join(strong)}. {len(weak)} move nothing by half a
percent: {'; '.join(weak) if weak else 'none'}. Those that do not matter here may matter elsewhere: not
clamping is harmless until a network predicts a negative depth, and < against ≤ until predictions are rounded.

Two deserve a closer look, since tables mix them: pooling, and the given scale.""")

# %% [markdown]
# ## Pooling: what is averaged first
#
# Every picture has its own RMSE, $r_i$. The BTS family averages these. Hu et al. average the squares $r_i^2$
# and take the root once, at the end. Eigen et al.'s formulas sum over all pixels of the test set, which is
# the same as Hu et al.'s if every picture has equally many valid pixels.

# %%
r = each["rmse"].numpy()
figure, axis = figures.new_figure(height=2.8)
axis.hist(r, bins=24, color="0.8")
centres = {"mean of the RMSEs": r.mean(), "root of the mean square": np.sqrt((r**2).mean())}
for index, (label, value) in enumerate(centres.items()):
    axis.axvline(value, color=figures.COLOURS[index], label=f"{label}: {value:.3f} m")
axis.set(xlabel="RMSE of one view (m)", ylabel="views")
axis.legend()
lesson.figure(figure, "pooling", "The RMSE of every test view, and two ways to make one number of them.",
              alt="A histogram of per-view RMSE with two vertical lines; the root of the mean square is "
              "farther right.")

# %% [markdown]
# The second line is always at or to the right of the first. The variance of the $r_i$ cannot be negative:
#
# $$0 \le \mathrm{Var}(r) = \overline{r^2} - \bar r^{\,2} \qquad\Longrightarrow\qquad
# \underbrace{\bar r}_{\text{mean of RMSEs}} \le \underbrace{\sqrt{\overline{r^2}}}_{\text{root of the mean square}}$$
#
# This is Jensen's inequality for the square. It also says how large the gap is: exactly the spread of the
# pictures. The more uneven a test set, the more the choice moves the number.

# %%
image, hu = predicted.score(baseline)["rmse"], moved["roots after the mean over images"]["rmse"]
assert abs((hu**2 - image**2) - r.var()) < 1e-9
lesson.say(f"{hu:.4f}² − {image:.4f}² = {hu**2 - image**2:.5f}, and the variance of the RMSEs is "
           f"{r.var():.5f} m². The hardest tenth of the views makes "
           f"{100 * np.sort(r**2)[-max(1, len(r) // 10):].sum() / (r**2).sum():.0f} % of the mean square, and "
           f"{100 * np.sort(r)[-max(1, len(r) // 10):].sum() / r.sum():.0f} % of the mean.")

# %% [markdown]
# ## A given scale hides errors
#
# One photograph cannot tell a large room from a small model of it. So some protocols forgive the scale: they
# multiply the prediction by median(truth) / median(prediction), or fit scale and shift by least squares,
# **picture by picture**, before any error is taken. That is fair if the question is shape. It is a trap if
# the number then stands beside one that was not helped.

# %%
sabotage = {"as predicted": lambda d: d, "every depth × 1.3": lambda d: 1.3 * d,
            "every depth + 0.5 m": lambda d: d + 0.5, "a flat wall, 3 m away": lambda d: torch.full_like(d, 3.0)}
helps = {"no help": baseline, "median": one_at_a_time(baseline, size)["median scale given"],
         "scale and shift": one_at_a_time(baseline, size)["scale and shift given"]}
helped = {what: {h: predicted.changed(change).score(p)["abs_rel"] for h, p in helps.items()}
          for what, change in sabotage.items()}
frame = pd.DataFrame(helped).T.rename_axis("prediction").reset_index()
lesson.table(frame, "alignment",
             "AbsRel of four predictions without help, with the median given, and with scale and shift given "
             "for every picture.")

# %%
lesson.say(f"""The median forgives the factor completely: the second row is
{helped['every depth × 1.3']['median']:.3f}, like the first, although its rooms are 30 % too large. Least
squares also forgives the half metre. And look at the last row: a flat wall that knows nothing of any picture
has an AbsRel of {helped['a flat wall, 3 m away']['no help']:.3f} on its own and
{helped['a flat wall, 3 m away']['median']:.3f} with the median given, against
{helped['as predicted']['no help']:.3f} for the network without help. Before a given scale impresses you,
score a wall.""")

# %% [markdown]
# ## The same words, another crop: KITTI
#
# Garg's crop for KITTI is given in fractions of the depth map. TIE-KD's code first cuts the map to the
# 352×1216 pixels that networks see and takes the **same fractions of that**. Both are Garg's crop, both are
# honest code, and they keep different pixels.

# %%
height, width = 375, 1242
boxes = {crop: np.argwhere(crop_mask(height, width, crop).numpy())
         for crop in ("garg", "garg_after_kb", "eigen_kitti")}
figure, axis = figures.new_figure(height=2.6)
axis.add_patch(patches.Rectangle((0, 0), width, height, fc="0.93", ec="0.6"))
axis.add_patch(patches.Rectangle(((width - 1216) // 2, height - 352), 1216, 352, fc="none", ec="0.6", ls="--"))
for index, (crop, b) in enumerate(boxes.items()):
    (top, left), (bottom, right) = b.min(0), b.max(0) + 1
    axis.add_patch(patches.Rectangle((left, top), right - left, bottom - top, fill=False, lw=2.5, label=crop,
                                     ls=("-", "--", "-.")[index], ec=figures.COLOURS[index]))
axis.set(xlim=(-5, width + 5), ylim=(height + 5, -5), aspect="equal", xlabel="column", ylabel="row")
axis.legend(loc="upper left", ncols=3)
lesson.figure(figure, "kitti",
              "KITTI's full view (grey), the 352×1216 part that networks see (thin dashes), and what counts under "
              "three crops.", alt="A wide frame with a dashed inner frame and three coloured rectangles.")

# %% tags=["nbval-check-output"]
spans = {crop: (*b.min(0), *b.max(0), len(b)) for crop, b in boxes.items()}
lesson.table(pd.DataFrame([(crop, f"{top}–{bottom}", f"{left}–{right}", pixels, CROPS[crop].title)
                           for crop, (top, left, bottom, right, pixels) in spans.items()],
                          columns=["crop", "rows", "columns", "pixels", "what it is"]),
             "kitti_crops", f"Three crops of a KITTI depth map of {height}×{width} pixels.")
lesson.say(f"Cut first, Garg's crop begins **{spans['garg_after_kb'][0] - spans['garg'][0]} rows lower**. "
           "Rows near the horizon tend to show what is far away, where errors in metres are large. This is "
           "arithmetic about pixels; we have not measured what it does to TIE-KD's RMSE.")

# %% [markdown]
# ## How sure is a number at all
#
# The test views are a sample. Draw them again, with replacement, and the number changes: that is the
# bootstrap, and the bars in the large figure show it. It is a fair second ruler: is a protocol's move larger
# than chance?

# %%
low, high = resampled(each, "rmse", seed=seed)
other = predicted.per_image(one_at_a_time(baseline, size)["averaged with the mirror image"])
difference, (below, above) = verdicts.paired_interval(other["rmse"].numpy(), each["rmse"].numpy(), seed=seed)
at_654 = (high - low) / 2 * np.sqrt(len(views) / 654) / image
lesson.say(f"""The baseline's RMSE is {image:.3f} m with a 95 % interval of **[{low:.3f}, {high:.3f}]** over
{len(views)} views. If the views were as many as NYU's 654 it would be about {100 * at_654:.1f} % to each
side; the step from BTS to AdaBins is {100 * step['rmse']:.1f} %.

Two ways of scoring the *same* views are another matter. Averaging with the mirror image changes the RMSE by
{difference:+.4f} m, with a paired interval of [{below:+.4f}, {above:+.4f}], which is
{np.sqrt(2) * (high - low) / (above - below):.1f} times narrower than for two separate draws of views. Which
rooms were drawn moves both numbers together and drops out. Two papers that print only means cannot be paired.""")

# %% [markdown]
# ## Reading a published table
#
# Back to huynh2021, Table 1: many networks, one column of RMSE. Draw it against the column of AbsRel.

# %%
one, where = (real, "METER-XXS on NYU") if real else (scored, f"our network on {lesson.info.title}")
factor = one["hu2019_nyu"]["rmse"] / one["bts_nyu"]["rmse"]
known = {"BTS": figures.COLOURS[0], "Hu et al.": figures.COLOURS[1]}
nudge = {"DPT": (6, -9), "AFDB-Net": (-52, -5), "DS-SIDENet": (6, -9), "SARPN": (-34, 4), "FCRN": (-28, 3),
         "VNL": (-24, 2), "DAV": (-26, -6), "FuSaNet": (-42, -6), "TransDepth": (-56, -3), "PlaneNet": (6, 3)}

# %%
figure, axis = figures.new_figure(height=4.0)
for row, (x, y) in huynh[["rel", "rmse"]].iterrows():
    axis.plot(x, y, "o", color=known.get(row, "0.7"), ms=9 if row in known else 6)
    axis.annotate(row, (x, y), nudge.get(row, (7, -3)), textcoords="offset points", fontsize=8)
x, y = huynh.loc["BTS", ["rel", "rmse"]]
axis.plot([x, x], [y, y * factor], "-o", color=known["BTS"], mfc="white", ms=9, lw=1.5, zorder=0)
axis.set(xlabel="AbsRel, as published", ylabel="RMSE (m), as published", xlim=(0.099, 0.165))
lesson.figure(figure, "published",
              "huynh2021, Table 1, NYU-Depth-v2. Hollow: where BTS would be if Hu et al.'s protocol moved it "
              f"as it moves {where}.",
              alt="Nineteen published networks: those with nearly the same AbsRel lie in two groups of RMSE.")

# %%
close = huynh.loc[huynh["rel"] <= 0.12, "rmse"].sort_values()
edge = int(np.argmax(np.diff(close)))
gap = huynh.at["Hu et al.", "rmse"] / huynh.at["BTS", "rmse"] - 1
rel = huynh.loc[close.index, "rel"]
lesson.say(f"""Take the {len(close)} networks with an AbsRel of at most 0.12. They fall into two groups:
{edge + 1} with an RMSE up to {close.iloc[edge]:.3f} m and {len(close) - edge - 1} from
{close.iloc[edge + 1]:.3f} m on, with nothing between. In AbsRel the same two groups touch: one goes up to
{rel.iloc[:edge + 1].max():.3f}, the other begins at {rel.iloc[edge + 1:].min():.3f}. What else separates them in RMSE?

We know the protocol of one in each. BTS averages per-image RMSEs and scores the sensor's raw depth, with
Eigen et al.'s crop. Hu et al. take the root of the mean square and score in-painted depth, nearly uncropped.
The table puts Hu et al. {100 * gap:.0f} % above BTS in RMSE, but
{100 * (huynh.at['Hu et al.', 'rel'] / huynh.at['BTS', 'rel'] - 1):.0f} % in AbsRel. With {where}, Hu et al.'s
way of scoring alone makes **{100 * (factor - 1):.0f} %**, on one and the same true depth. So a part of
the gap is not about networks, and the table cannot say how large a part. Verdict on this pair: **not
comparable** until both are scored alike. For the other rows the table does not say how they were scored.""")

# %% [markdown]
# ## A column that cannot be
#
# Protocol mistakes can be caught from a table alone. huynh2021, Table 3, prints iMAE and iRMSE, the mean and
# the root mean square of the same inverse depth errors $x_i = |1/\hat d_i - 1/d_i|$. As above,
#
# $$0 \le \mathrm{Var}(x) = \overline{x^2} - \bar x^{\,2} \quad\Longrightarrow\quad
# \mathrm{iMAE} = \bar x \le \sqrt{\overline{x^2}} = \mathrm{iRMSE}.$$
#
# It holds for any set of pixels, so for every picture and for any average over pictures, as long as both
# columns score the same pixels. Now the rows in which the printed table breaks it:

# %% tags=["nbval-check-output"]
claim = next(c for c in papers.load_claims("huynh2021") if c.id == "huynh2021-tab3-inverse")
verdict = audit_claim(claim).verdict
printed = papers.load_table("huynh2021", "table3").pivot(index="row", columns="column", values="value")
failing = printed[printed["imae"] > printed["irmse"]]
lesson.table(failing[["imae", "irmse"]].rename_axis(index="network", columns=None).reset_index(), "impossible",
             "huynh2021, Table 3, as printed: the rows with iMAE > iRMSE.")
lesson.say(f"{len(failing)} of {len(printed)} rows are impossible. Verdict on the column heads as printed: "
           f"**{verdict}**. {claim.instead} The order of the rows within each printed column stays as it is.")

# %% [markdown]
# ## What we had to decide
#
# Where papers are silent the library still has to do something. Each choice has a name in `depth_metrics`,
# and here is what the other choice would give, for the same predictions.

# %%
bias = each["rmse_log"]**2 - each["si"]  # (mean g)² of every view
strict, loose = base["delta1"], moved["ratio ≤ 1.25 instead of <"]["delta1"]
decided = [
    ("RMSE log: natural logarithm", "base 10", base["rmse_log"], base["rmse_log"] / np.log(10)),
    ("SI: (mean g)² taken off in full", "half of it, as in Eigen et al.'s loss", base["si"],
     float((each["si"] + bias / 2).mean())),
    ("SILog: 100 · √ SI", "10 · √ with 0.85 of (mean g)², BTS's loss", base["silog"],
     float(10 * (each["si"] + 0.15 * bias).sqrt().mean())),
    ("iRMSE in 1/m", "in 1/km, KITTI's unit", base["irmse"], 1000 * base["irmse"]),
    ("δ₁: ratio < 1.25", "≤ 1.25, Hu et al.", strict, loose),
    ("predictions clamped to the range", "not clamped", base["rmse"], moved["no clamping"]["rmse"]),
    ("RMSE: mean over images", "root last, Hu et al.", base["rmse"], hu)]
lesson.table(pd.DataFrame(decided, columns=["our choice", "the other one", "ours", "otherwise"]), "decided",
             "Choices that a reader of a table cannot see. The first four change the unit or the meaning of "
             "a number.")

# %% [markdown]
# Three more have no number. A truth exactly at the limits of the depth range does not count. The scale is
# fitted before clamping, over the pixels that count. And a prediction that is not finite is an error, not a
# pixel to skip: a network must not gain from saying nothing.
#
# ## Turn it yourself
#
# Choose a protocol and watch the twelve numbers move against the baseline. To answer at once it asks every second view.
# Without a running kernel you see three settings.

# %%
half = slice(None, None, lesson.pick(smoke=1, lab=2))
fewer = Predicted(*(maps[half] for maps in (predicted.plain, predicted.mirrored, predicted.target, predicted.mask)))
before = fewer.score("bts_nyu")


def draw(crop, cap, pooling, scale_given, delta):
    options = {"crop": None if crop == "none" else crop, "max_depth": cap, "pooling": pooling, "delta": delta}
    align = None if scale_given == "none" else scale_given
    now = depth_metrics(fewer.plain, fewer.target, fewer.mask, align=align, **options)
    change = [100 * ((1 - now[m]) / max(1 - before[m], 1e-9) - 1) if m in HIGHER_IS_BETTER
              else 100 * (now[m] / before[m] - 1) for m in METRICS]
    figure, axis = figures.new_figure(height=2.9)
    change_bars(axis, METRICS, change, limit=70, texts=[f"{before[m]:.3g} → {now[m]:.3g}" for m in METRICS])
    axis.set(xlabel="change of the error (%), cut at 70; deltas as misses")
    return figure


# %%
explore(draw, {"crop": ["none", "eigen_nyu", "hu_centre"], "cap": [3.0, 5.0, 8.0, 10.0],
               "pooling": ["image", "pixel", "hu"], "scale_given": ["none", "median", "lstsq"], "delta": ["<", "<="]},
        [{"crop": "hu_centre", "cap": 10.0, "pooling": "hu", "scale_given": "none", "delta": "<="},
         {"crop": "eigen_nyu", "cap": 3.0, "pooling": "image", "scale_given": "none", "delta": "<"},
         {"crop": "eigen_nyu", "cap": 10.0, "pooling": "image", "scale_given": "lstsq", "delta": "<"}],
        lesson=lesson, name="turn", caption="Crop {crop}, depths below {cap:g} m, pooling {pooling}, scale given: "
        "{scale_given}, ratio {delta} 1.25. Right: the baseline's value and the new one.",
        alt="Twelve bars, one a measure, for crop {crop}, cap {cap:g} m, pooling {pooling}, scale {scale_given}.")

# %% [markdown]
# ## Verdict

# %%
photographs = f""" On photographs of NYU, with METER-XXS, Hu et al.'s protocol alone moves the RMSE by
**{move(real, 'hu2019_nyu', 'rmse'):+.0f} %**.""" if real else ""
lesson.say(f"""With predictions fixed, on {lesson.info.title}, the protocol moves the RMSE by up to
**{max(abs(move(scored, n, 'rmse')) for n in honest):.0f} %** where no scale is given and by up to
**{max(abs(move(scored, n, 'rmse')) for n in indoor):.0f} %** where it is.{photographs} The published step
from BTS to AdaBins is {100 * step['rmse']:.0f} %.

| claim | place | verdict |
|---|---|---|
| the RMSE column ranks Hu et al. and BTS | huynh2021, Table 1 | **not comparable**: scored in two ways |
| {claim.states.split('.')[0]} | huynh2021, {claim.place} | **{verdict}** |

Never compare two numbers without their protocols. Say yours: its name is enough.""")

# %% [markdown]
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. Near enough.** The share of valid pixels whose ratio, whichever way round is larger, is below 1.25.

# %%
def my_delta1(pred, target, mask):
    # <solution>
    ratio = torch.maximum(pred / target, target / pred)[mask]
    return (ratio < 1.25).double().mean()
    # </solution>


# %%
check.delta1(my_delta1)

# %% [markdown]
# **2. Give the scale.** Return the prediction multiplied so that its median over the valid pixels is the
# truth's.

# %%
def my_median_align(pred, target, mask):
    # <solution>
    return pred * (torch.quantile(target[mask], 0.5) / torch.quantile(pred[mask], 0.5))
    # </solution>


# %%
check.median_align(my_median_align)

# %% [markdown]
# **3. From pictures to pixels.** A paper's supplement lists the RMSE of every picture and how many pixels
# counted in it. Compute the RMSE over all pixels.

# %%
def my_pooled_rmse(rmse, pixels):
    # <solution>
    return ((pixels * rmse.square()).sum() / pixels.sum()).sqrt()
    # </solution>


# %%
check.pooled_rmse(my_pooled_rmse)

# %% [markdown]
# **4. Open question.** Choose a network of the upper group in the published figure. Find its evaluation code.
# Is the root taken before or after the mean over pictures, is there a crop, what is compared with what size?
# Then say whether it may stand in one column with BTS. Nobody has a list of these answers; a careful one is
# worth sharing.
#
# ## What to read next
#
# - Eigen, Puhrsch, Fergus 2014 (arXiv 1406.2283): where most of the measures and the scale-invariant error come from.
# - Hu, Ozay, Zhang, Okatani, WACV 2019 (arXiv 1803.08673): also has measures for edges, which none of the twelve sees.
# - In this course: notebook 02 compares two networks under one protocol, with paired intervals.
