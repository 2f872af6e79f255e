# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 14 · Is the explanation faithful?
#
# Notebook 13 made six maps of the same room, and all six look like explanations. They disagree. Who is right?
#
# Cirillo et al. ([cirillo2025](https://arxiv.org/abs/2509.15980)) judge a map in two ways. **Perturbation:** change
# the pixels that it calls most relevant, then those it calls least relevant, and see what happens to the depth map.
# **Attribution Fidelity:** ask how consistent the map is with the predicted depth. Their abstract claims three things:
#
# 1. Saliency maps work well for the light network, METER.
# 2. Integrated gradients work well for the deep one, PixelFormer.
# 3. Attribution Fidelity tells when a method fails, even where conventional metrics look satisfactory.
#
# Here we test all three, and then the tests. At the end there is something no photograph can offer: scenes from which
# a cue was removed, so that the right answer is *known*.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import pandas as pd
import torch
from torch import nn

from mdelib import attribution_figures, course, evaluation, figures, models, verdicts
from mdelib.attribution import TITLES, explain, fill_image, integrated_gradients, position_only, saliency, targets
from mdelib.attribution_figures import study_values
from mdelib.data.scenes import CUES, render_view
from mdelib.exercises import check
from mdelib.fidelity import (KINDS, attribution_fidelity, cue_scores, cue_truth, curve_gap, gap_interval, infidelity,
                             perturbation_curve, pixel_ranks, sensitivity, weight_sanity)
from mdelib.papers import load_claims
from mdelib.widgets import explore

lesson = course.start("14", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## A judge that can be checked
#
# Take a network so simple that we know what matters: its depth is 20 m minus the number of white pixels among ten that
# we chose. Fill the most relevant pixels first (here with black), and the depth map is wrong by one metre a pixel, up
# to ten. Fill the least relevant first, and nothing happens until only those ten are left.
#
# The idea in ten lines:

# %%
class Known(nn.Module):
    """20 m minus the white pixels among ten, the same depth everywhere."""

    def __init__(self):
        super().__init__()
        self.places = torch.zeros(100).index_fill(0, torch.arange(3, 100, 10), 1).view(10, 10)

    def forward(self, image):
        return (20 - (self.places * image.mean(1)).sum((1, 2)))[:, None, None, None].expand(-1, 1, 10, 10)


# %%
def my_curve(network, image, attribution, fractions, fill=0.0):
    """RMSE to the unperturbed depth after the first pixels in rank were filled."""
    ranks = attribution.abs().flatten().argsort(descending=True).argsort().view(attribution.shape)
    errors = []
    for fraction in fractions:
        gone = ranks < round(fraction * ranks.numel())
        change = network(torch.where(gone, fill, image)) - network(image)
        errors.append(float(change.square().mean().sqrt()))
    return errors


known, white, fractions = Known().eval(), torch.ones(1, 3, 10, 10), (0.0, 0.05, 0.1, 0.5, 1.0)
found = saliency(known, white)
library = perturbation_curve(known, white, found, fractions=fractions, fill="black").scores["rmse"][0].tolist()
lesson.say(f"Filled: {fractions}. By hand: {my_curve(known, white, found[0], fractions)}. The library: {library} m.")

# %% [markdown]
# ## Perturbation, on rooms
#
# Two networks with attention: the course's Transformer, and PixelFormer at the lab's size. Six maps each. The last two
# are controls: a map that looks at nothing but the place in the image, and noise.
#
# A filled pixel gets the network's mean colour. The solid line fills the most relevant first, the dashed one the least
# relevant. A good map has its solid line high and its dashed line low.

# %%
nets = {"Transformer": models.create_model("segformer", weights="rooms_transformer").requires_grad_(False),
        "PixelFormer": lesson.network("gradient_refinement", "pixelformer").requires_grad_(False)}
METHODS = ("saliency", "integrated_gradients", "attention_rollout", "grad_cam", "position_only", "random")
NAMES = {**TITLES, "random": "random"}
OPTIONS = {"integrated_gradients": {"steps": lesson.pick(smoke=4, lab=24)}, "grad_cam": {"signed": True}}
few = lesson.views("test")[list(range(0, lesson.pick(smoke=4, lab=96), lesson.pick(smoke=2, lab=16)))]


def map_of(network, image, method, target=None):
    """Maps (B, H, W) of a method or of the control "random"."""
    if method == "random":
        return torch.rand(len(image), *image.shape[-2:], generator=torch.Generator().manual_seed(seed))
    return explain(network, image, method, target, **OPTIONS.get(method, {}))


maps = {name: {method: map_of(network, few.image, method) for method in METHODS} for name, network in nets.items()}

# %%
def both_curves(network, attribution, **options):
    return [perturbation_curve(network, few.image, attribution, order=order, ties="random", **options)
            for order in ("most", "least")]


curves = {name: {method: both_curves(network, maps[name][method]) for method in METHODS}
          for name, network in nets.items()}
panels = {name: {NAMES[method]: ((100 * most.fractions).tolist(), most.scores["rmse"].mean(0).tolist(),
                                 least.scores["rmse"].mean(0).tolist())
                 for method, (most, least) in methods.items()} for name, methods in curves.items()}
lesson.figure(attribution_figures.curve_panels(panels), "curves", f"How wrong the depth map becomes ({len(few)} "
              "rooms). Solid: most relevant first. Dashed: least relevant first.",
              alt="Two panels with six pairs of rising lines.")

# %% [markdown]
# Drag the share yourself. The left picture is what the network sees. The point is where you are on the lines.

# %%
at, TITLED = slice(1, 2), {NAMES[method]: method for method in METHODS}  # the second of the rooms above
before = {name: evaluation.predict(network, few.image[at])[0] for name, network in nets.items()}
empty = {name: fill_image(few.image[at], "mean", model=network) for name, network in nets.items()}
queue = {(network, title, order): pixel_ranks(maps[network][method][at], order, ties="random")
         for network in nets for title, method in TITLED.items() for order in ("most", "least")}  # as above


def filled(percent, order, network, method):
    """The room without the first pixels in an order, what the network makes of it, and how far that is from before."""
    ranks = queue[network, method, order]
    gone = ranks < round(percent / 100 * ranks.numel())
    picture = torch.where(gone[:, None], empty[network], few.image[at])
    depth = evaluation.predict(nets[network], picture)[0]
    return picture[0], depth, float((depth - before[network]).square().mean().sqrt())

# %%
def draw_filled(percent, order, network, method):
    picture, depth, error = filled(percent, order, network, method)
    figure, axes = figures.new_figure(1, 4, height=2.2)
    figures.show_image(axes[0], picture, f"{percent} % filled")
    limits = tuple(float(before[network].quantile(q)) for q in (0.01, 0.99))
    for axis, values, title in zip(axes[1:], (before[network], depth), ("depth before", "depth now")):
        shades = figures.show_depth(axis, values, title, limits=limits)
    figure.colorbar(shades, ax=axes[1:3], label="depth (m)", shrink=0.8)
    for curve, dashes in zip(curves[network][TITLED[method]], ("-", "--")):
        axes[3].plot([0, *100 * curve.fractions], [0, *curve.scores["rmse"][1]], dashes, color="0.5")
    axes[3].plot(percent, error, "o", color=figures.COLOURS[1], ms=8)
    axes[3].set(xlabel="filled (%)", ylabel="RMSE (m)", title=f"off by {error:.2f} m")
    return figure

# %%
explore(draw_filled, {"percent": [0, 1, 5, 10, 20, 30, 50], "order": ["most", "least"],
                      "network": list(nets), "method": list(TITLED)},
        [{"percent": 5, "order": order, "network": "Transformer", "method": "saliency"} for order in ("most", "least")],
        lesson=lesson, name="perturb", caption="{network}, {method}: {percent} % of the pixels are filled, the {order} "
        "relevant first.", alt="A room with {percent} % of its pixels filled, the {order} relevant first; its depth "
        "before and now ({network}, {method}); and two rising lines, most and least relevant first, with a point.")

# %% [markdown]
# One number a map: the area between its two lines, as a height in metres. And the same with other ways to perturb: the
# image's own blur instead of one colour, and whole blocks of 16 × 16 pixels instead of scattered ones.

# %%
WAYS = {"mean colour": {}, "blur": {"fill": "blur"}, "blocks": {"block": lesson.pick(smoke=8, lab=16)}}
gaps = {name: {method: {"mean colour": curve_gap(*curves[name][method])} for method in METHODS} for name in nets}
for name, network in nets.items():
    for method in METHODS:
        for way in ("blur", "blocks"):
            pair = both_curves(network, maps[name][method], **WAYS[way])
            gaps[name][method][way] = curve_gap(*pair)


def in_words(values):
    """Mean over rooms and its interval."""
    centre, (low, high) = gap_interval(values)
    return f"{centre:+.2f} ({low:+.2f} to {high:+.2f})"


rows = [{"network": name, "map": NAMES[method], **{way: in_words(gaps[name][method][way]) for way in WAYS}}
        for name in nets for method in METHODS]
lesson.table(pd.DataFrame(rows), "gaps", f"Area between the curves, metres, with 95 % intervals over {len(few)} rooms "
             "(few, so the intervals are rough). Positive: filling what the map calls relevant hurts more.")

# %% [markdown]
# Look along a row, not only down a column. Whether a map is "good" can depend on *how* pixels are removed. Scattered
# pixels of one colour are a texture on which these networks were never trained, and it shows most on smooth walls. Part
# of what this test measures is the test.
#
# ### On NYU, with METER
#
# The reference study measured the same on photographs, with the METER that its authors trained. Three new words.
# *Against truth*: the errors are those to the true depth, not to the unperturbed map. *Oracle*: no explanation, but the
# order of blocks by what filling each one alone does. *Infidelity*: comes below.

# %%
meter, others = lesson.reference("attribution_meter"), lesson.reference("attribution")
COLUMNS = {"gap_rmse": "mean colour", "gap_rmse_blur": "blur", "gap_rmse_noise": "noise", "gap_rmse_block": "blocks",
           "gap_rmse_truth": "against truth", "infidelity": "infidelity"}
if meter:
    table = study_values(meter, "meter", COLUMNS)
    lesson.table(table, "meter", f"METER-XXS, authors' weights, {len(meter[0].names)} test images of NYU. Areas in "
                 "metres with 95 % intervals over images; those of blur, noise and blocks are over every second share. "
                 "Infidelity is better when smaller.", sources=meter)
else:
    lesson.say("The study on NYU has no results yet: `make study` makes them.")

# %%
for prefix, title in (("pixelformer", "PixelFormer"), ("transformer", "Transformer"), ("cnn", "CNN")):
    mine = [r for r in others if r.variant.startswith(f"{prefix}_")]
    if mine:
        chosen = ("gap_rmse", "gap_rmse_blur", "gap_rmse_block", "infidelity")
        table = study_values(mine, prefix, {key: COLUMNS[key] for key in chosen})
        lesson.table(table, f"study_{prefix}", f"{title} (narrowed, trained on NYU), {len(mine[0].names)} test "
                     "images; otherwise as above.", sources=mine)

# %%
NETWORKS = {"meter": "METER", "pixelformer": "PixelFormer", "transformer": "Transformer", "cnn": "CNN"}
lines = []
for prefix, title in NETWORKS.items():
    found = {r.variant.removeprefix(f"{prefix}_"): r.per_image for r in [*meter, *others]
             if r.variant.startswith(f"{prefix}_")}
    lows = {key: [gap_interval(torch.tensor(values[way], dtype=torch.float64))[1][0]
                  for way in ("gap_rmse", "gap_rmse_blur", "gap_rmse_block")] for key, values in found.items()}
    sure = [NAMES[key] for key, low in lows.items() if min(low) > 0 and key in TITLES]
    lines += [f"- {title}: {', '.join(sure) or 'none'}"] if found else []
if lines:
    lesson.say("The whole interval lies above 0 with the mean colour, with blur *and* with blocks:\n\n"
               + "\n".join(lines) + "\n\nWhere *position only* is among them, a good area proves no look at "
               "the image.")

# %% [markdown]
# ## Attribution Fidelity
#
# "Consistency with the predicted depth map." A summary of the paper says how: normalise both, and take Pearson's
# correlation. (Normalising changes nothing; a correlation does it anyway.)
#
# Think before you look. What is the best possible map under this measure? The depth map itself. It scores 1 and needs
# no network at all. Its negative scores −1. And a ramp from top to bottom, which knows no image, may do well, because
# rooms are farther at the top.
#
# The formula itself was not at hand, so here are five readings: Pearson's and Spearman's correlation with the depth,
# both again with the steepness of the depth (*gradient*), and the structural similarity of both maps (*ssim*).

# %%
rows = []
for name, network in nets.items():
    depth = network(few.image).detach()
    copy = "copy of the depth map"
    areas = {copy: curve_gap(*both_curves(network, depth[:, 0])),
             **{NAMES[method]: gaps[name][method]["mean colour"] for method in METHODS}}
    for title, attribution in {copy: depth[:, 0], **{NAMES[m]: maps[name][m] for m in METHODS}}.items():
        scores = {kind.replace("_", "\n"): float(attribution_fidelity(attribution, depth, kind=kind).mean())
                  for kind in KINDS}
        rows.append({"network": name, "map": title, **scores, "area (m)": float(areas[title].mean())})
fidelity = pd.DataFrame(rows)
lesson.table(fidelity, "fidelity", "Five readings of Attribution Fidelity, beside the area between the curves.")

# %%
best = fidelity.loc[fidelity.groupby("network")["area (m)"].idxmax()]
lesson.say("\n".join(
    f"- {row.network}: the largest area belongs to *{row.map}*, whose fidelity (Pearson) is {row.pearson:+.2f}."
    for row in best.itertuples()) + "\n- A copy of the depth map has fidelity 1 and knows nothing of the "
    "network's reasons.")
if meter:
    values = {r.variant.removeprefix("meter_"): r for r in meter}
    lesson.say("On NYU, METER: fidelity (Pearson) and, in brackets, that of the mean map of all *other* images: "
               + "; ".join(
        f"{NAMES.get(key, key)} {r.metrics['pearson']:+.2f} "
        f"({r.metrics['pearson_position']:+.2f})" for key, r in values.items() if key in METHODS[:4]) + "; "
        f"position only {values['position_only'].metrics['pearson']:+.2f}." if "position_only" in values else "")

# %% [markdown]
# **A failing explanation that the measure likes.** Place alone beats most methods. So a high fidelity does not show
# that a map is right, and a low one does not show that it is wrong. Agreement with the answer is not agreement with
# the reasons.
#
# ## Sanity: does the map notice that the network forgot?
#
# Adebayo et al. (2018): shuffle the network's weights, layer by layer from the output. An explanation of the network
# must change. If it stays, it did not explain this network.

# %%
two = few.image[:2]
rows = []
for method in ("saliency", "integrated_gradients", "attention_rollout", "grad_cam", "position_only"):
    options = {"integrated_gradients": {"steps": 8}}.get(method, OPTIONS.get(method, {}))
    shares, kept = weight_sanity(nets["Transformer"], lambda one, m=method, o=options: explain(one, two, m, **o),
                                 stages=3, seed=seed)
    rows.append({"map": NAMES[method], **{f"{100 * float(share):.0f} % forgotten": float(column.nanmean())
                                          for share, column in zip(shares, kept.T, strict=True)}})
lesson.table(pd.DataFrame(rows), "sanity", "Rank correlation with the trained Transformer's map while its layers "
             "forget, from the output on (two rooms, one shuffle). Near 0 at the end is right.")

# %% [markdown]
# ### ... and that it learnt something else?
#
# Adebayo's second test trains anew. Every training image gets the depth map of *another* image. The network can still
# learn what is right on average: floors below and near, walls above and far. It cannot learn to see. So what explains
# the network that sees should not come back from the one that does not.
#
# Both Transformers below began with the same weights and saw the same images.

# %%
shuffled = models.create_model("segformer", weights="rooms_transformer_shuffled").requires_grad_(False)
pair = {"true depth": nets["Transformer"], "shuffled": shuffled}
asked = {"smoothgrad": {"samples": lesson.pick(smoke=2, lab=16)}, "attention_rollout": {}, "grad_cam": {"signed": True},
         "position_only": {}}
again = {name: {TITLES[method]: explain(network, two, method, **options) for method, options in asked.items()}
         for name, network in pair.items()}
rows = [(two[0], network(two).detach()[0], {title: found[0] for title, found in again[name].items()})
        for name, network in pair.items()]
lesson.figure(attribution_figures.method_rows(rows, labels=list(pair)), "shuffled", "One room. Above: the network that "
              "learnt from each image's own depth map. Below: the one that learnt from other images'.",
              alt="Two rows: the room, the depth that the network predicts, and four attribution maps.")

# %% [markdown]
# Do two maps look alike? Take the rank correlation of their magnitudes, as above. It needs a yardstick: two networks
# that learnt the *same* from different first weights. Where even those do not agree, the test says nothing.

# %%
rows = []
for on in ("nyu", "scenes-rooms"):
    for result in lesson.reference("shuffled_labels", on):
        for method in (name for name in TITLES if name in result.per_image):
            one, other = (torch.tensor(result.per_image[key], dtype=torch.float64)
                          for key in (method, f"{method}_reseeded"))
            rows.append({"data": on, "network": result.variant, "map": TITLES[method],
                         "shuffled labels": in_words(one), "other first weights": in_words(other),
                         "difference": in_words(other - one), "one": float(one.mean()), "other": float(other.mean())})
labels = pd.DataFrame(rows)

# %%
lesson.table(labels.drop(columns=["one", "other"]), "labels", "Rank correlation with the map of the network that learnt from "
             "true depth: mean over test images with its 95 % interval. A difference above 0: the map depends on what "
             "was learnt.",
             sources=[r for on in ("nyu", "scenes-rooms") for r in lesson.reference("shuffled_labels", on)])

# %%
kept = labels[(labels.data == "nyu") & labels["map"].isin(["saliency", "Grad-CAM"])]
lesson.say("On NYU:\n\n" + "\n".join(
    f"- {row.network}, {row.map}: {row.one:+.2f} under shuffled labels, {row.other:+.2f} under other first weights"
    for row in kept.itertuples()))

# %% [markdown]
# *Position only* stays at 1 whatever happens, so the test catches it. A map that agrees less under shuffled labels than
# under other first weights depends on what was learnt. The agreement that is left under shuffled labels cannot come
# from seeing depth. Edges, and what all rooms have in common, are enough for it.
#
# Now compare the networks. The Transformer's gradients lose half of their agreement, the CNN's next to nothing. One
# likely reason is the grid of notebook 13: the CNN's strides give every pixel its share of the gradient, whatever the
# network learnt. A map can be sharp, stable, and a picture of the architecture. The CNN's Grad-CAM, coarse as it is,
# forgets everything. (One training each; other trainings may differ.)
#
# Two more measures come with captum. **Infidelity**: fill random squares; which share of the target's changes does the
# map *not* predict? **Sensitivity**: how far does the map move when the image hardly does (noise of 2 %)?

# %%
rows = []
for method in ("saliency", "integrated_gradients", "attention_rollout", "grad_cam", "position_only"):
    network, found = nets["Transformer"], maps["Transformer"][method]
    options = {"integrated_gradients": {"steps": 8}}.get(method, OPTIONS.get(method, {}))
    moved = sensitivity(lambda x, m=method, o=options: explain(network, x, m, **o), two, samples=2, seed=seed)
    missed = infidelity(network, few.image, found, samples=lesson.pick(smoke=2, lab=12), seed=seed)
    rows.append({"map": NAMES[method], "infidelity": float(missed.nanmean()), "sensitivity": float(moved.mean())})
robust = pd.DataFrame(rows).set_index("map")
lesson.table(robust.reset_index(), "robust", "Both are better when smaller (Transformer; sensitivity over two rooms). "
             "A map that ignores the image cannot move: by itself, low sensitivity proves nothing.")

# %% [markdown]
# ## The ground truth that only rendered scenes have
#
# All judges so far ask the network about pictures it has never seen. Here is another way. Render the room once more
# **without one cue**: no shadows, no texture, no ground contact, no familiar size. The prediction changes by $\Delta$,
# and nothing but what was removed can be the reason. Ask exactly for this change, $s(d) = \langle \Delta, d\rangle /
# \|\Delta\|^2$. The right answer is known twice:
#
# - **where**: the pixels that the cue's removal changed;
# - **how much**: put the cue back cell by cell, and see how much of the change comes back.

# %%
rooms = lesson.pick(smoke=(2,), lab=(2, 10, 14))
pairs = [(cue, index, render_view("scenes-rooms", "test", index, lesson.size), render_view(
    "scenes-rooms", "test", index, lesson.size, without=cue)) for index in rooms for cue in CUES]
pairs = [pair for pair in pairs if pair[3].extras["cue_pixels"].any()]
network = nets["Transformer"]
cues, images = [pair[0] for pair in pairs], torch.stack([pair[2].image for pair in pairs])
twins, region = (torch.stack(parts) for parts in zip(*((p[3].image, p[3].extras["cue_pixels"]) for p in pairs),
                                                     strict=True))
truth = cue_truth(network, images, twins, region=region, cell=lesson.pick(smoke=12, lab=16))
answers = {method: map_of(network, images, method, truth.target) for method in METHODS}
steps = OPTIONS["integrated_gradients"]["steps"]
answers["twin"] = integrated_gradients(network, images, truth.target, baseline=twins, steps=steps)
answers["truth"] = truth.effect
pointing = {method: cue_scores(found, truth) for method, found in answers.items()}

# %%
shown = [cues.index(cue) for cue in dict.fromkeys(cues)]
rows = [(f"{cues[i]}", images[i], twins[i], truth.effect[i],
         {NAMES[method].replace(" ", "\n"): answers[method][i] for method in METHODS[:4]}) for i in shown]
lesson.figure(attribution_figures.cue_rows(rows), "cues", "One row a cue. The third column is the truth: where "
              "putting the cue back brings the change back. Then what four methods answer.",
              alt="Rooms with and without a cue, the true effect and four attribution maps.")

# %%
rows = []
CUE_NAMES = {**NAMES, "twin": "integrated gradients from the twin", "truth": "the true effect"}
by_cue = {cue: torch.tensor([one == cue for one in cues]) for cue in dict.fromkeys(cues)}
for method in answers:
    auc, effect = pointing[method]["auc"], pointing[method]["effect"]
    rows.append({"map": CUE_NAMES[method], **{f"where: {cue}": float(auc[at].mean()) for cue, at in by_cue.items()},
                 "where, all": float(auc.mean()), "how much, all": float(effect.mean())})
cue_table = pd.DataFrame(rows).set_index("map")
lesson.table(cue_table.reset_index(), "cue_scores", f"Do maps point at the cue? Transformer, {len(cues)} pairs of "
             "rooms. Where: AUC, how often a pixel of the cue gets more than another pixel; 0.5 is chance. "
             "How much: rank correlation with the true effect over cells.")

# %% [markdown]
# A map below 0.5 points *away* from the cue.
#
# The last two rows are no competitors. *From the twin* is integrated gradients that walk from the room without the cue
# to the room with it: it was told what to compare with. Where both pictures are equal it is 0, and so is the true
# effect: both its scores are high partly by construction. *The true effect* itself stays below 1 in *where*: not every
# pixel that changed mattered, and it is known by cells only.
#
# Integrated gradients from the mean colour are asked a broader question, "what made this change possible at all?", and
# much of the room takes part in that. **The baseline is half of the question.**
#
# ## Judges that disagree
#
# Every measure ranks the same maps. If they measured one thing called "faithfulness", the columns would look alike.

# %%
own = fidelity[fidelity.network == "Transformer"].set_index("map")
listed = [NAMES[method] for method in METHODS if method != "random"]
ranked = pd.DataFrame({
    **{f"area, {way}": [float(gaps["Transformer"][m][way].mean()) for m in METHODS if m != "random"] for way in WAYS},
    "fidelity, Pearson": own.loc[listed, "pearson"].tolist(),
    "fidelity, gradient": own.loc[listed, "gradient"].tolist(),
    "infidelity": (-robust.loc[listed, "infidelity"]).tolist(),
    "sensitivity": (-robust.loc[listed, "sensitivity"]).tolist(),
    "cue: where": cue_table.loc[listed, "where, all"].tolist(),
    "cue: how much": cue_table.loc[listed, "how much, all"].tolist()}, index=listed)
lesson.figure(attribution_figures.rank_table(ranked), "ranks", "Ranks of five maps of the Transformer under nine "
              "measures; 1 is the best.", alt="A table of ranks whose columns differ.")

# %%
agreement = ranked.corr("spearman")
against = agreement["cue: how much"].drop(["cue: how much", "cue: where"]).sort_values()
lesson.say(f"Of the seven that do not know the cue, *cue: how much* agrees most with *{against.index[-1]}* "
           f"({against.iloc[-1]:+.2f}) and least with *{against.index[0]}* ({against.iloc[0]:+.2f}; rank correlation "
           f"over {len(listed)} maps, too few to be more than a hint).")

# %% [markdown]
# ## What we had to decide
#
# - **Fill, fractions, order, scores.** All ours: 1 to 50 % of the pixels, the mean colour, RMSE. The table of areas
#   shows what changes otherwise.
# - **Sign.** A contribution of −1 m is as relevant as one of +1 m: maps are ranked by magnitude.
# - **Attribution Fidelity.** Its formula was not at hand. Five readings stand beside each other.
# - **PixelFormer.** Ours is narrowed and trained for minutes. The claim is about 270 million parameters.
# - **One network each.** Intervals are over images. They say nothing of other trainings.
#
# ## Verdict

# %%
claims = [claim for claim in load_claims("cirillo2025") if claim.notebook == "14" and claim.evidence]
findings = [found for claim in claims for found in verdicts.judge(claim, [*meter, *others])]
number = {claim.id: str(place) for place, claim in enumerate(claims, 1)}
if findings:
    lesson.say("\n".join(f"{number[claim.id]}. {claim.states}" for claim in claims))
    table = verdicts.findings_table(findings, [*meter, *others])
    lesson.table(table.assign(claim=[number[found.claim.id] for found in findings]), "verdicts",
                 "The abstract's claims on NYU. METER: over images; PixelFormer: one training, so no verdict.",
                 sources=[*meter, *others])
else:
    lesson.say("On NYU: no runs yet.")

# %%
said = pd.DataFrame({"claim": [number[found.claim.id] for found in findings],
                     "verdict": [found.verdict for found in findings]})
lesson.say("\n".join(f"- Claim {place}: " + ", ".join(f"{count} × *{verdict}*" for verdict, count in
                                                      part.verdict.value_counts().items())
                     for place, part in said.groupby("claim")))

# %%
place = cue_table.loc[NAMES["position_only"]]
lesson.say(f"""On rendered rooms, for the Transformer:

- saliency points at the pixels of a removed cue with AUC {cue_table.loc[NAMES['saliency'], 'where, all']:.2f},
  integrated gradients with {cue_table.loc[NAMES['integrated_gradients'], 'where, all']:.2f}, place alone with
  {place['where, all']:.2f}, noise with {cue_table.loc[NAMES['random'], 'where, all']:.2f};
- integrated gradients that begin at the room without the cue follow how much each cell matters (rank correlation
  {cue_table.loc[CUE_NAMES['twin'], 'how much, all']:.2f}, partly by construction), those from the mean colour do not
  ({cue_table.loc[NAMES['integrated_gradients'], 'how much, all']:.2f});
- a map without any look at the image has a fidelity (Pearson) of
  {own.loc[NAMES['position_only'], 'pearson']:+.2f}, integrated gradients
  {own.loc[NAMES['integrated_gradients'], 'pearson']:+.2f}.

**Fidelity to the depth map is not fidelity to the network.**""")

# %% [markdown]
# ## Exercises
#
# **1. Exactly so many.** Mark the most relevant share of the pixels, those of the largest magnitude. Many may be alike;
# still exactly `round(share * pixels)` must be marked, the first ones row by row among equals.

# %%
def my_first_pixels(attribution, share):
    """1.0 at the chosen pixels of a map (H, W), 0.0 elsewhere."""
    # <solution>
    ranks = attribution.abs().flatten().sort(descending=True, stable=True).indices.argsort()
    return (ranks < round(share * attribution.numel())).double().view(attribution.shape)
    # </solution>


check.first_pixels(my_first_pixels)

# %% [markdown]
# **2. Attribution Fidelity,** as Pearson's correlation of an attribution (H, W) with a depth map (H, W).

# %%
def my_agreement(attribution, depth):
    # <solution>
    a, d = attribution - attribution.mean(), depth - depth.mean()
    return (a * d).sum() / (a.square().sum() * d.square().sum()).sqrt()
    # </solution>


check.agreement(my_agreement)

# %% [markdown]
# **3. Between two curves.** The area between errors (F,) of two orders over fractions (F,), as a mean height.

# %%
def my_gap(fractions, most, least):
    # <solution>
    return torch.trapezoid(most - least, fractions) / (fractions[-1] - fractions[0])
    # </solution>


check.curve_gap(my_gap)

# %% [markdown]
# **4. Open.** The shuffled network still knows what rooms have in common. How would you shuffle so that it does not,
# and what should then happen to Grad-CAM? **5. Open.** Construct a map with a large area between its curves and a
# cue score of 0.5. What did the perturbation reward?
#
# ## What to read next
#
# - Adebayo et al., NeurIPS 2018 (arXiv 1810.03292): sanity checks for saliency maps.
# - Hooker et al., NeurIPS 2019 (arXiv 1806.10758): ROAR, which trains anew on perturbed images; the honest, costly way.
# - Yeh et al., NeurIPS 2019 (arXiv 1901.09392): infidelity and sensitivity.
# - Rong et al., ICML 2022 (arXiv 2202.00449): how the shape of what is removed leaks into the score.
# - In this course: notebook 05 removes pixels with a trained mask; notebook 15 audits the papers' own tables.
