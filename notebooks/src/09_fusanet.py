# %% [markdown]
# # 09 · FuSaNet: a network that leans on its own points
#
# Depth completion is the easier task: give a network an image *and* a few hundred points whose depth is known, and it
# fills in the rest. Huynh and colleagues ([huynh2021](https://arxiv.org/abs/2108.11098)) ask whether a network can do the same
# with points that nobody measured. It predicts depth, decides where that depth can be trusted, and runs a second time
# with those places as if they were measured. They call them **salient points**.
#
# Section 1 says why this should work: salient points are places "where predicted depth values tend to be more
# accurate". The network that does it, **FuSaNet**, has 8.1 million weights, "3.1-38.4 times" fewer than the
# networks it is compared with (abstract).
#
# **Five questions.** Does the second pass help (Table 4)? Does it help to train with measured points that are missing
# later (Table 5)? What is the confidence worth (Table 6), and each term of the loss (Table 7)? And is the predicted
# depth really better where the salient points are?

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import re
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

# %%
from mdelib import course, figures, models, papers, verdicts
from mdelib import fusanet_figures as drawing
from mdelib.complexity import blueprint, ratio_interval, time_in_turns
from mdelib.exercises import check
from mdelib.experiments import load_experiment
from mdelib.fusanet import FuSaNetLoss, fusanet_loss, sparse_loss
from mdelib.fusion import FKAConv, NormalizedConv2d, normalized_convolution
from mdelib.points import default_intrinsics, guiding_points, random_points, salient_points
from mdelib.weights import weights_root
from mdelib.widgets import explore

lesson = course.start("09", data=data, scale=scale, seed=seed, device=device)

# %%
EXPERIMENT = load_experiment("fusanet")
SETTINGS = EXPERIMENT.resolve("full", data, lesson.scale)
SIZE, PROTOCOL, FOCAL = SETTINGS.size, SETTINGS.protocol, SETTINGS.network_options["focal"]
TITLES = {variant: entry.title for variant, entry in EXPERIMENT.variants.items()}
views = lesson.views("test", size=SIZE)

# %% [markdown]
# ## First the picture
#
# One network, the Fusion-Net, runs twice. In training the first run also gets *guiding points*: the true depth at
# SIFT keypoints of the image. In use it gets none. The Saliency-Net looks at what came out and chooses points; their
# depth is the depth that was just predicted.

# %%
lesson.figure(drawing.draw_passes(), "passes", "The way of an image through FuSaNet (Fig. 1 of the paper).",
              alt="Boxes with arrows: image and guiding points into Fusion-Net, Saliency-Net, and Fusion-Net again.")

# %% [markdown]
# ## A mean that knows what it may trust
#
# How do a few known depths become a map? The confidence predictor is made of **normalised convolutions** (Eldesokey et
# al., the paper's reference 11). Every value $x$ comes with a confidence $c$ between 0 and 1, and both are convolved
# with the same positive weights:
#
# $$y = \frac{W * (x\,c)}{W * c} + b, \qquad c' = \frac{W * c}{\sum W} .$$
#
# A value that is not trusted is not in the mean. The new confidence says how much was trusted around here.

# %%
def my_normalized_convolution(x, c, weight):
    """(1, 1, H, W) each, and a positive 3 × 3 kernel."""
    total, around = F.conv2d(x * c, weight, padding=1), F.conv2d(c, weight, padding=1)
    return torch.where(around > 0, total / around.clamp_min(1e-12), 0), around / weight.sum()


depth = torch.tensor([[2.0, 2.0, 9.0], [2.0, 0.0, 9.0], [3.0, 0.0, 0.0]])[None, None]
trust = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])[None, None]
box = torch.ones(1, 1, 3, 3)
mine, library = my_normalized_convolution(depth, trust, box), normalized_convolution(depth, trust, box)
print("equal to the library:", all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine, library)))
print("in the middle: (1·2 + 1·2 + ½·3) / 2½ =", round(mine[0][0, 0, 1, 1].item(), 3),
      "with confidence 2½ / 9 =", round(mine[1][0, 0, 1, 1].item(), 3))

# %% [markdown]
# Layer by layer, sparse depth spreads. Here are the guiding points of a room, and what six such layers with equal
# weights make of them: no learning, only means.

# %%
room = views[lesson.pick(smoke=1, lab=18)]
guides = guiding_points(room.image, room.depth, room.mask, 64)
sparse, trusted = guides.maps(SIZE)
spread = {0: (sparse, trusted)}
for step in range(1, 7):
    spread[step] = normalized_convolution(*spread[step - 1], torch.ones(1, 1, 5, 5))

# %%
figure, axes = figures.new_figure(2, 4, height=1.55)
limits = (float(room.depth.quantile(0.02)), float(room.depth.quantile(0.98)))
figures.show_image(axes[0, 0], room.image[0], "room, guiding points")
drawing.scatter_points(axes[0, 0], guides, colour=figures.COLOURS[1])
figures.show_depth(axes[1, 0], room.depth[0], "true depth", limits=limits)
for column, step in enumerate((1, 3, 6), start=1):
    y, c = spread[step]
    figures.show_depth(axes[0, column], y[0], f"depth, layer {step}", limits=limits, mask=c[0] > 1e-6)
    figures.show_share(axes[1, column], (c / c.max())[0], f"confidence, layer {step}")
lesson.figure(figure, "spreading", "Means of trusted depth. Grey: nothing is trusted yet. Each map of confidence is "
              "scaled to its own largest value.",
              alt="A room with points; depth spreads from the points over three panels, with confidence below.")

# %% [markdown]
# Two things to keep in mind. Weights are positive, so that such a layer can only average: it cannot find an edge. And
# **where nothing is trusted, nothing ever will be**: with zero points, all confidence is zero in every layer.

# %%
layers = [NormalizedConv2d(1, 4, 3), NormalizedConv2d(4, 4, 3), NormalizedConv2d(4, 1, 3)]
y, c = torch.zeros(1, 1, 12, 16), torch.zeros(1, 1, 12, 16)
for layer in layers:
    y, c = layer(y, c)
print("largest confidence after three layers without a point:", c.max().item())

# %% [markdown]
# But in use there are *no* points in the first pass, and Figure 6 of the paper shows confidence maps for that case. So
# the paper leaves something out. Our stem joins the points' confidence $a$ with what the image looks like:
# $1 - (1 - a)(1 - \sigma(W * y))$. The idea is in the paper's reference 10, where a network gives the first
# confidence.
#
# ## A convolution in space
#
# Two points can be neighbours in the image and metres apart in the room. The branch that handles points therefore
# works in space: with the camera's focal length, a pixel and its depth become a point in metres (notebook 00).
# **FKAConv** (reference 2) gathers the K nearest neighbours there. A small network sees their places and deals their
# features out to the elements of a kernel. It does not care in which order points come, nor where the cloud as a whole
# is.

# %%
torch.manual_seed(lesson.seed)
layer = FKAConv(8, 8).eval()
cloud = guides.cloud(default_intrinsics(SIZE, focal=FOCAL)[None])
features, valid, order = torch.randn(1, 8, cloud.shape[2]), guides.valid, torch.randperm(cloud.shape[2])
with torch.no_grad():
    y = layer(features, cloud, valid)
    turned = layer(features[..., order], cloud[..., order], valid[:, order])
    moved = layer(features, cloud + torch.tensor([0.5, -0.2, 3.0])[:, None], valid)
    few = layer(features[..., :3], cloud[..., :3], valid[:, :3])  # fewer points than neighbours
print("another order:", f"{(turned - y[..., order]).abs().max():.0e}", "| the cloud moved by 3 m:",
      f"{(moved - y).abs().max():.0e}", "| three points:", tuple(few.shape))

# %% [markdown]
# ## The network
#
# Five Fusion-Blocks work at five resolutions. Each has four branches whose results are added: two ordinary ones at two
# resolutions, a normalised convolution, and FKAConv, whose features go back to the pixels that the points came from. A
# decoder and a refinement follow; the confidence predictor is the chain of normalised convolutions through all of
# them. Each block gives a depth map, the finest is the answer. The paper gives no widths, only the sum: 8.1 million.

# %%
large = blueprint("fusanet", focal=FOCAL)
net = large.fusion
parts = {"stem": [net.sparse1, net.sparse2, net.image, net.join, net.look], "encoders": [net.encoders],
         "between scales": [net.downs, net.attended_downs], "decoders": [net.decoders],
         "refinements": [net.refinements], "Saliency-Net": [large.saliency]}
rows = [{"part": name, "weights (M)": sum(map(models.count_parameters, modules)) / 1e6}
        for name, modules in parts.items()]
total = models.count_parameters(large) / 1e6
confident = sum(models.count_parameters(m) for m in large.modules() if isinstance(m, NormalizedConv2d)) / 1e6
lesson.table(pd.DataFrame([*rows, {"part": "all", "weights (M)": total}]), "parts",
             "FuSaNet at paper scale.")
lesson.say(f"**{total:.2f} million** weights; the paper has 8.1. Of these, {confident:.2f} million are in normalised "
           "convolutions, the confidence predictor.")

# %% [markdown]
# ## Salient points
#
# The Saliency-Net joins the confidence to the features, and the confidence to the depth. Each goes through nine
# parallel convolutions (dilations up to 21) and two more; the product of both results is the saliency map. How a map
# becomes points is not said. Our rule: take the cell with the largest saliency × confidence, cross out its
# neighbours, take the largest of what is left, and so on.

# %%
def network_to_look_at():
    """The network that comes with the course for rendered rooms; otherwise the one that this notebook trains."""
    if lesson.data == "scenes-rooms" and (weights_root() / "rooms_fusanet.safetensors").is_file():
        return models.create_model("fusanet", weights="rooms_fusanet").to(lesson.device), "weights/rooms_fusanet"
    return lesson.network("fusanet", "full"), "this notebook's own training"


network, origin = network_to_look_at()
lesson.say(f"Pictures from here on show the network from {origin}.")

# %%
with torch.no_grad():
    found = network.predict(room.image.to(lesson.device))
saliency, confidence, first = found.saliency.cpu(), found.first.confidence.cpu(), found.first.depth[0].cpu()


def my_salient_cells(weight, count):
    """Rows and columns of the heaviest cells (H, W), no two of them neighbours, heaviest first."""
    weight, cells = weight.clone(), []
    while len(cells) < count and weight.max() > 0:
        row, column = divmod(int(weight.argmax()), weight.shape[1])
        cells.append((row, column))
        weight[max(row - 1, 0):row + 2, max(column - 1, 0):column + 2] = 0
    return torch.tensor(cells)


library = salient_points(saliency, first, confidence, 20)
print("equal to the library:",
      torch.equal(my_salient_cells((saliency * confidence)[0, 0], 20), library.pixels[0][library.valid[0]]))

# %% [markdown]
# Choosing a cell has no gradient. The Saliency-Net still learns: a salient point goes into the second pass with its
# saliency × confidence as its trust, and *how much* to trust has a gradient. Which point to choose follows from it.
#
# ## What it is trained with
#
# Depth and confidence are learned together (Eq 4). With Hu et al.'s three terms (notebook 01) and the epoch $p$:
#
# $$\mathcal{L}_{DC} = \mathcal{L}_{log} + \mathcal{L}_{grad} + \mathcal{L}_{norm} - \tfrac1p \mathcal{L}_C,
# \qquad \mathcal{L}_C = C - \mathcal{L}_{log}\, C .$$
#
# $\mathcal{L}_{log}$ is the mean of $\ln(|e| + \tfrac12)$; in $\mathcal{L}_C$ it must be the map, or single pixels
# could not differ. So training pays $1 - \ln(|e| + \tfrac12)$ for each unit of confidence.

# %%
lesson.figure(drawing.confidence_gain(), "gain", "What one unit of confidence earns at a pixel, over its error.",
              alt="A falling curve that crosses zero at an error of about 2.2 metres.")
with torch.no_grad():
    errors = torch.cat([(network(part.to(lesson.device)).cpu() - depth).abs()[mask] for part, depth, mask in
                        zip(*(whole.split(16) for whole in (views.image, views.depth, views.mask)))])
lesson.say(f"Below {np.e - 0.5:.2f} m of error confidence is rewarded. On {len(views)} test views **"
           f"{float((errors > np.e - 0.5).float().mean()):.1%}** of the pixels are worse than that. Everywhere else, "
           "the loss asks for all the confidence it can get. And the more epochs, the less it asks for anything.")

# %% [markdown]
# The **sparse loss** (Eq 3) is a ratio: the RMSE at the guiding points over the RMSE everywhere.
#
# $$\mathcal{L}_S = \sqrt{\tfrac{1}{M_s}\sum_j (\hat d_j - d_j)^2} \Big/ \sqrt{\tfrac1M \sum_i (\hat d_i - d_i)^2}$$
#
# A ratio has two ways down. Watch what the formula asks of the pixels that are *not* guiding points:

# %%
pred = found.first_depth.cpu().clone().requires_grad_()
rows = []
for title, detach in {"as printed": False, "denominator held fixed (ours)": True}.items():
    slope, = torch.autograd.grad(sparse_loss(pred, room.depth, guides, room.mask, detach=detach), pred)
    worse = (slope * (pred - room.depth)).detach()  # negative: a larger error would lower the loss
    elsewhere = guides.maps(SIZE)[1] == 0
    rows.append({"sparse loss": title, "pixels where a larger error lowers the loss":
                 f"{float((worse[elsewhere & room.mask] < 0).float().mean()):.0%}"})
lesson.table(pd.DataFrame(rows), "ratio", "The sparse loss on this room, at the pixels that are no guiding points.")

# %% [markdown]
# We hold the denominator fixed. Last comes the normalised Hessian loss of notebook 08, and all is added over the five
# resolutions (Eq 5): $\sum_i \gamma^i (\beta \mathcal{L}_{DC} + \phi \mathcal{L}_S + \lambda \mathcal{L}_H)$ with
# $\beta = 1$, $\phi = 5$, $\lambda = 0.01$ and $\gamma = 1, ¾, ½, ¼, ⅛$. How much does each term have to say?

# %%
maps = network.predict(room.image.to(lesson.device)).first
room_on_device = [t.to(lesson.device) for t in (room.depth, room.mask)]
points = guiding_points(room.image, room.depth, room.mask, 64)


def total(**weights):
    """Eq 5 with some weights changed, on one room in the third epoch."""
    return fusanet_loss(maps, *room_on_device, replace(points, **{
        name: getattr(points, name).to(lesson.device) for name in ("pixels", "depth", "confidence", "valid")}), 3,
        FuSaNetLoss(**weights))


rows = []
for title, off in {"L_DC": {"beta": 0}, "L_S": {"phi": 0}, "L_H": {"lam": 0}}.items():
    part = total() - total(**off)
    slope = torch.autograd.grad(part, maps.depth[0], retain_graph=True)[0]
    rows.append({"term": title, "value in the loss": float(part.detach()),
                 "length of its gradient at the finest map": float(slope.norm())})
lesson.table(pd.DataFrame(rows), "terms", "The weighted terms of Eq 5 for this room and the trained network.")

# %% [markdown]
# ## The experiment
#
# `experiments/fusanet.yaml` trains eight variants of the small network on the same views with the same seeds. `full`
# is the last row of Tables 4 to 7 at once. Here it is trained on rooms; the reference study on NYU has all eight.

# %%
results = lesson.results("fusanet")
full = next(run for run in results if run.variant == "full")
lesson.table(verdicts.summary(results, ["abs_rel", "rmse", "delta1"], TITLES), "accuracy",
             f"Accuracy on {lesson.info.title}, from images alone.", sources=results)

# %% [markdown]
# ## What it sees (Figs. 6 and 7)
#
# Two views, chosen by a rule: at a quarter and at three quarters of the list of test views, sorted by error. Each is
# shown twice: once with guiding points (true depth at keypoints, which a user does not have), once without. White is
# high. Red dots are the salient points.

# %%
def scene_of(place, with_points):
    view = views[place]
    given = guiding_points(view.image, view.depth, view.mask, 64) if with_points else None
    with torch.no_grad():
        seen = network.cpu().predict(view.image, given)
    return drawing.Scene(view.image[0], given, seen, "with points" if with_points else "image alone")


ranks = np.argsort(full.per_image["rmse"])
chosen = [int(ranks[round(share * (len(ranks) - 1))]) for share in (0.25, 0.75)]
scenes = [scene_of(place, given) for place in chosen for given in (True, False)]
truths = [views.depth[place] for place in chosen for _ in (True, False)]
limits = (float(torch.cat(truths).quantile(0.01)), float(torch.cat(truths).quantile(0.99)))
lesson.figure(drawing.point_scenes(scenes, truths, limits), "scenes", "Confidence, salient points and depth, with and "
              "without guiding points; the form of Fig. 6. Network: " + origin + ".", sources=results,
              alt="Two rooms, each with and without points: confidence, saliency with dots, three depth maps.")

# %% [markdown]
# Do points change anything? Four ways to use the same trained network:
#
# - *first pass*, *final*: from the image alone, before and after the salient points;
# - *leaning on random points*: the second pass gets as many points at random places instead, with the depth and the
#   trust that the first pass gave to those places;
# - *with true depth*: the first pass gets guiding points.

# %%
WAYS = {"first": "first pass", "last": "final", "leaning": "leaning on random points", "guided": "with true depth"}


def values_of(runs, measure):
    """(seeds, views) of one measure; missing values are NaN."""
    return np.array([run.per_image[measure] for run in runs], float)


def ways_table(runs):
    rows = []
    for way, title in WAYS.items():
        row = {"": title}
        for measure in ("abs_rel", "rmse"):
            row[measure] = f"{np.nanmean(values_of(runs, f'{way}_{measure}')):.3f}"
            change, span = verdicts.paired_interval(*(values_of(runs, f"{w}_{measure}") for w in (way, "first")))
            words = f"{change:+.4f} ({span[0]:+.4f} to {span[1]:+.4f})"
            row[f"change of {measure}"] = "–" if way == "first" else words
        rows.append(row)
    return pd.DataFrame(rows)


# %%
study = lesson.reference("fusanet")
PLACES = {f"{lesson.info.title}, {lesson.scale} scale": [full],
          "NYU, reference study": [run for run in study if run.variant == "full"]}
for number, (title, runs) in enumerate(PLACES.items()):
    if runs:
        lesson.table(ways_table(runs), f"ways_{number}", f"What points change, {title}: RMSE in metres; change "
                     "against the first pass with its 95 % interval.", sources=runs)
    else:
        lesson.say(f"{title}: no runs yet.")

# %%
for title, runs in PLACES.items():
    changes = {measure: verdicts.paired_interval(*(values_of(runs, f"{way}_{measure}") for way in ("last", "leaning")))
               for measure in ("abs_rel", "rmse")} if runs else {}
    if runs:
        lesson.say(f"{title}: salient points minus random points in the second pass: " + "; ".join(
            f"{measure} {change:+.4f} ({low:+.4f} to {high:+.4f})" for measure, (change, (low, high)) in changes.items())
            + f"; {len(runs)} seed{'s' * (len(runs) > 1)}. Below zero, the choice of points helps.")

# %% [markdown]
# ## Is depth better at the salient points?
#
# This is the assumption of Section 1, and the whole idea stands on it. Where the first pass's depth is taken, how
# wrong is it? Compared are the salient points, as many at random, the strongest SIFT keypoints, and the cells with the
# highest confidence.

# %%
KINDS = {"random": "random", "salient": "salient", "sift": "SIFT keypoints", "confident": "most confident"}


def place_panel(runs, measure):
    """place -> mean error there and its interval."""
    panel = {}
    for kind, title in KINDS.items():
        values = values_of(runs, f"{measure}_{kind}")
        panel[title] = verdicts.paired_interval(values, np.zeros_like(values))
    return panel


panels = {f"{short}\n{title.split(',')[0]}": place_panel(runs, measure) for title, runs in PLACES.items() if runs
          for measure, short in (("abs_rel", "AbsRel"), ("rmse", "RMSE (m)"))}
lesson.figure(drawing.place_errors(panels), "places", "The first pass's error at four kinds of places, with 95 % "
              "intervals. The line is the error at random points.", sources=[full, *study],
              alt="Dots with intervals for random, salient, SIFT and most confident places.")

# %%
rows, beliefs = [], []
for title, runs in PLACES.items():
    for measure in ("abs_rel", "rmse") if runs else ():
        change, span = verdicts.paired_interval(*(values_of(runs, f"{measure}_{k}") for k in ("salient", "random")))
        word = verdicts.verdict(span, "smaller") if len(runs) > 1 else "inconclusive"
        rows.append({"data": title, "measure": measure, "salient − random": f"{change:+.4f}",
                     "95 % interval": f"{span[0]:+.4f} to {span[1]:+.4f}", "n": f"{len(runs)} × {len(runs[0].names)}",
                     "verdict": word})
        beliefs.append((title, measure, change, word))
lesson.table(pd.DataFrame(rows), "belief", "Section 1: depth is more accurate at salient points than at random ones. "
             "A single seed is always inconclusive.", sources=[full, *study])

# %% [markdown]
# The two measures need not agree. An error in metres is smaller where things are near, so points that lie on near
# things win in RMSE whatever the network knows about them. AbsRel divides the depth out.
#
# Whatever the table says, nothing in the loss asks for salient points that are *right*. The Saliency-Net is paid for a
# good second pass, and a second pass profits from points that are *telling*: a point at the far end of a room says
# more than one in the middle of a wall that every neighbour agrees with.
#
# And the confidence? It should be low where the error is large. The rank correlation of both, over the pixels of each
# view, says whether it is (−1: always, 0: not at all).

# %%
rows = []
for title, runs in PLACES.items():
    if runs:
        values = values_of(runs, "confidence_error")
        centre, span = verdicts.paired_interval(values, np.zeros_like(values))
        rows.append({"data": title, "mean confidence": np.nanmean(values_of(runs, "confidence")),
                     "rank correlation with |error|": f"{centre:+.3f}", "95 % interval":
                     f"{span[0]:+.3f} to {span[1]:+.3f}", "views where it is negative": f"{np.mean(values < 0):.0%}"})
lesson.table(pd.DataFrame(rows), "calibration", "Confidence of the first pass against its error.",
             sources=[full, *study])

# %% [markdown]
# Remember what the loss pays for: confidence everywhere, except where the error is beyond 2.2 metres. A normalised
# convolution adds a habit of its own. Outside the image nothing is trusted, so that each layer takes some confidence
# from the frame:

# %%
with torch.no_grad():
    sure = torch.cat([network.predict(part).first_confidence for part in views.image[:32].split(16)])[:, 0].mean(0)
edge = max(SIZE[0] // 12, 1)
inner = sure[2 * edge:-2 * edge, 2 * edge:-2 * edge].mean()
frame = torch.cat([sure[:edge].flatten(), sure[-edge:].flatten(), sure[:, :edge].flatten(), sure[:, -edge:].flatten()])
lesson.say(f"Mean confidence is **{inner:.2f}** inside and **{frame.mean():.2f}** within {edge} pixels of the frame.")

# %% [markdown]
# ## Try it: how many points?
#
# Move the number of salient points. Nothing is trained again.

# %%
def draw(points):
    """The room with its N best salient points, and the depth when the second pass leans on them."""
    weight = (found.saliency * found.first.confidence).cpu()
    cells = salient_points(found.saliency.cpu(), first, found.first.confidence.cpu(), points)
    here = cells.scaled(tuple(weight.shape[-2:]), SIZE)
    with torch.no_grad():
        depth = network.predict(room.image, chosen=here).depth[0]
    figure, axes = figures.new_figure(1, 3, height=1.9)
    figures.show_image(axes[0], room.image[0], f"{int(here.valid.sum())} points")
    drawing.scatter_points(axes[0], here)
    rmse = float((depth - room.depth[0])[room.mask[0]].square().mean().sqrt())
    figures.show_depth(axes[1], depth, f"final depth, RMSE {rmse:.3f} m", limits=limits)
    artist = figures.show_depth(axes[2], room.depth[0], "truth", limits=limits)
    figure.colorbar(artist, ax=axes, label="depth (m)", pad=0.01)
    return figure

# %%
explore(draw, {"points": [1, 4, 16, 64, 128]}, [{"points": 4}, {"points": 64}], lesson=lesson, name="try",
        caption="The second pass leans on the best {points} salient points.",
        alt="A room with dots, the final depth, and the true depth.")

# %% [markdown]
# ## Tables 4 to 7
#
# Now the ablations, on NYU, from the reference study. Each table first: the paper's numbers beside ours. Levels cannot
# be compared: ours is a network of half a million weights from random ones, trained for a few epochs on 795 images of
# 96 × 128 pixels; the paper's has 8.1 million and saw 50,000 images for 150 epochs. Compare **differences**, and even
# they may change with size.

# %%
TABLES = {"4": {"w/o Saliency-Net": "without_saliency", "w/ Saliency-Net": "full"},
          "5": {"FuSaNet1": "rgb_only", "FuSaNet2": "guided", "FuSaNet3": "full"},
          "6": {"w/o CP": "without_confidence", "w/ CP": "full"},
          "7": {"L_DC": "dc", "L_DC + L_S": "dc_s", "L_DC + L_H": "dc_h", "L_DC + L_S + L_H": "full"}}
SAME = {"abs_rel": "rel", "rmse": "rmse", "delta1": "delta1"}  # our names and the paper's


def published(number):
    """A table of the paper, one row a training or network."""
    table = papers.load_table("huynh2021", f"table{number}")
    return table.pivot(index="row", columns="column", values="value")



# %%
def beside(number):
    """One of Tables 4 to 7: the paper's numbers and ours."""
    ours = verdicts.summary(study, list(SAME), {v: row for row, v in TABLES[number].items()})
    ours = ours.set_index("") if len(ours) else pd.DataFrame(columns=[*SAME, "seeds"])
    rows = []
    for row in TABLES[number]:
        line, made = {"training": row}, row in ours.index
        for measure, column in SAME.items():
            line[f"{measure}, paper"] = f"{printed[number].loc[row, column]:.3f}"
            line[f"{measure}, ours"] = ours.loc[row, measure] if made else "–"
        rows.append(line | {"seeds": str(ours.loc[row, "seeds"]) if made else "not made yet"})
    return pd.DataFrame(rows)


# %%
printed = {number: published(number) for number in TABLES}
for number in TABLES:
    lesson.table(beside(number), f"table_{number}", f"Table {number}: NYU, paper and reference study (mean ± "
                 "standard deviation over seeds).", sources=[r for r in study if r.variant in TABLES[number].values()])

# %% [markdown]
# Next the differences that the claims are about, paired over seeds and views, with their intervals.

# %%
claims = [claim for claim in papers.load_claims("huynh2021") if claim.notebook == "09" and claim.evidence]
judged = {claim.id: verdicts.judge(claim, study) for claim in claims}


def paper_difference(claim, finding):
    """First minus second in the table that the claim names."""
    number = re.search(r"Table (\d)", claim.place)[1]
    rows = {variant: row for row, variant in TABLES[number].items()}
    column = printed[number][SAME[finding.measure]]
    return column[rows[finding.first]] - column[rows[finding.second]]

# %%
rows = [{"place": claim.place, "measure": f.measure, "compared": f"{TITLES[f.first]} − {TITLES[f.second]}",
         "paper": f"{paper_difference(claim, f):+.3f}", "ours": f"{f.difference:+.4f}", "95 % interval": f.span,
         "n": f.count, "verdict": f.verdict} for claim in claims for f in judged[claim.id]]
if rows:
    lesson.table(pd.DataFrame(rows), "differences", "The claims of Tables 4 to 7, n = seeds × views.", sources=study)
else:
    lesson.say("The reference study holds no pair of variants yet.")

# %% [markdown]
# Table 7 was "obtained from one iteration". How far do two trainings differ that have only another seed? We can say it
# for our networks alone, so we say it in percent.

# %%
spread = {run.variant: [] for run in study}
for run in study:
    spread[run.variant].append(run.metrics["rmse"])
sds = [np.std(values, ddof=1) for values in spread.values() if len(values) > 1]
parts = [100 * np.std(values, ddof=1) / np.mean(values) for values in spread.values() if len(values) > 1]
gap = printed["7"].loc["L_DC", "rmse"] - printed["7"].loc["L_DC + L_S", "rmse"]
lesson.say(f"Between seeds, the RMSE of one variant has a standard deviation of **{np.mean(sds):.3f} m**, or "
           f"{np.mean(parts):.1f} % (mean of {len(sds)} variants). The paper's step from L_DC to L_DC + L_S is {gap:.3f} "
           f"m, or {100 * gap / printed['7'].loc['L_DC', 'rmse']:.1f} %." if sds else
           "No variant has two seeds in the reference study yet.")

# %% [markdown]
# ## What the second pass costs (Table 4, frame rate)
#
# The paper measured 327 and 172 frames per second on a GTX-1080: the Saliency-Net nearly halves the rate. It must,
# because the Fusion-Net runs twice. Here the small networks take turns on this machine.

# %%
def clock():
    if lesson.device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


one = room.image.to(lesson.device)
pair = {name: models.create_model("fusanet", focal=FOCAL, saliency=name == "with").eval().to(lesson.device)
        for name in ("without", "with")}
with torch.no_grad():
    seconds = time_in_turns({name: lambda net=net: net(one) for name, net in pair.items()},
                            rounds=lesson.pick(smoke=3, lab=21), clock=clock)

# %%
def operations(size, **options):
    """Billion operations of a network of the published size for one image; salient points need real numbers."""
    big = models.create_model("fusanet", scale="paper", focal=FOCAL, **options).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        big(torch.rand(1, 3, *size))
    return counter.get_total_flops() / 1e9


LARGE = lesson.pick(smoke=(96, 128), lab=(288, 384))
counted = {name: operations(LARGE, saliency=name == "with") for name in pair}

# %%
ratio, (low, high) = ratio_interval(seconds["with"], seconds["without"])
rates = dict(zip(pair, printed["4"]["fps"][list(TABLES["4"])]))
rows = [{"": f"{name} Saliency-Net", "paper (1/s, GPU)": f"{rates[name]:.0f}",
         f"ours (1/s, {lesson.device.type})": f"{1 / np.median(seconds[name]):.0f}",
         f"GFLOP, paper scale, {LARGE[0]} × {LARGE[1]}": f"{counted[name]:.0f}"} for name in pair]
lesson.table(pd.DataFrame(rows), "frames", "One image at a time: the small networks here, the paper's on a GTX-1080.")
lesson.say(f"Ours take **{ratio:.2f}** times as long with the Saliency-Net (middle half of the rounds {low:.2f} to "
           f"{high:.2f}); the paper's {rates['without'] / rates['with']:.2f} times. More than twice, because without "
           "points the first pass leaves FKAConv out, while the second has it.")

# %% [markdown]
# ## Size against accuracy (Tables 1 and 2)
#
# "3.1-38.4 times smaller" is arithmetic. Each dot is a row of the paper's tables.

# %%
first_tables = {"NYU (Table 1)": published(1), "KITTI (Table 2)": published(2)}
lesson.figure(drawing.size_against_error(first_tables), "sizes", "The published weights and errors. Left and low is "
              "better.", alt="Two scatter plots of relative error over weights, logarithmic; FuSaNet far left.")
nyu = first_tables["NYU (Table 1)"]
times = (nyu["params"] / nyu.loc["FuSaNet", "params"]).drop("FuSaNet").sort_values()
lower = int((nyu["rmse"] < nyu.loc["FuSaNet", "rmse"]).sum())
best = nyu["rel"].idxmin()
lesson.say(f"The others of Table 1 have **{times.iloc[0]:.1f}** ({times.index[0]}) to **{times.iloc[-1]:.1f}** "
           f"({times.index[-1]}) times as many weights; the abstract says 3.1 to 38.4. The best row in REL is {best}; "
           f"in RMSE {lower} rows are better than FuSaNet.")

# %% [markdown]
# And beside the course's other networks? At paper scale only sizes can be compared. At lab scale all have learned NYU
# from random weights, each in its own experiment. They had different schedules and losses, so the columns of errors
# are a view of the landscape, not a race. There is no study on KITTI: the paper's KITTI rows were trained with L_log
# and L_S alone, so they say nothing about the normalised Hessian.

# %%
PEERS = {"fusanet": ("FuSaNet", "fusanet", "full"), "hu_resnet50": ("Hu et al. (ResNet-50)", "two_networks", "cnn"),
         "bts": ("BTS", "dissection", "bts"), "dpt": ("DPT", "gradient_refinement", "dpt"),
         "transdepth": ("TransDepth", "gradient_refinement", "transdepth")}
ROWS = {"fusanet": "FuSaNet", "hu_resnet50": None, "bts": "BTS", "dpt": "DPT", "transdepth": "TransDepth"}

# %%
rows, sources = [], []
for name, (title, experiment, variant) in PEERS.items():
    runs = [run for run in lesson.reference(experiment) if run.variant == variant]
    sources += runs
    row = {"network": title, "paper scale (M)": models.count_parameters(blueprint(name)) / 1e6,
           "Table 1 (M)": f"{nyu.loc[ROWS[name], 'params']:.1f}" if ROWS[name] else "–"}
    small = models.count_parameters(models.create_model(name)) / 1e6
    for measure in ("abs_rel", "rmse"):
        row[measure] = f"{np.mean([run.metrics[measure] for run in runs]):.3f}" if runs else "–"
    epochs = str(runs[0].parameters["train"]["epochs"]) if runs else "–"
    rows.append(row | {"lab scale (M)": small, "epochs": epochs, "seeds": str(len(runs))})
lesson.table(pd.DataFrame(rows), "peers", "FuSaNet beside other networks of the course: weights at both scales, and "
             "errors on NYU in the reference study.", sources=sources)

# %% [markdown]
# ## Somewhere else (Table 3)
#
# The paper trains on NYU and tests on SUN RGB-D without any further training. Table 3 has a riddle of its own: its
# columns iMAE and iRMSE must be swapped (notebook 01). Ours: from NYU to rendered rooms and back, and to the few scenes
# of SUN RGB-D that were at hand.

# %%
MOVES = {"NYU → rooms": "scenes-rooms", "rooms → NYU": "nyu", "NYU → SUN RGB-D": "sunrgbd"}
CROSS = {"abs_rel": "REL", "sq_rel": "sqREL", "si": "SI", "imae": "iMAE", "irmse": "iRMSE"}
MOVERS = {v: e.title for v, e in load_experiment("fusanet_transfer").variants.items()}
third = published(3).rename(columns={"rel": "REL", "sqrel": "sqREL", "si": "SI", "imae": "iRMSE", "irmse": "iMAE"})
lesson.table(third[list(CROSS.values())].reset_index(names="network"), "table_3_paper", "Table 3 of the paper, NYU "
             "→ SUN RGB-D, with its last two column heads swapped.")

# %%
for number, (title, where) in enumerate(MOVES.items()):
    runs = lesson.reference("fusanet_transfer", where)
    if runs:
        rows = verdicts.summary(runs, list(CROSS), MOVERS).rename(columns={"": "network", **CROSS})
        few = " Too few to compare networks." if len(runs[0].names) < 20 else ""
        lesson.table(rows, f"table_3_{number}", f"{title}, {len(runs[0].names)} views.{few}", sources=runs)
    else:
        lesson.say(f"{title}: not in the reference study yet.")

# %% [markdown]
# ## What we had to decide
#
# - **Confidence without points.** The image gives some, see above. Without that, the first pass in use would have
#   none.
# - **The norm.** The paper names none. Batch norm was our first choice and did harm: its running statistics mix images
#   with points and images without. The numbers are in `experiments/fusanet.yaml`; we use group norm.
# - **How blocks are joined.** Encoders from fine to coarse, decoders back, each depth corrects the coarser one.
# - **Salient points.** Greedy selection; their depth enters the second pass without a gradient.
# - **What is supervised.** Both passes, equally. The paper speaks of one output; but the first pass's depth is what
#   salient points are made of.
# - **The share of steps without points.** "Some": we take half. **Sparse loss**: 0 in those steps.
# - **Scales.** Each depth map is compared at its own resolution. Where a map is too small for a term, it is left out.
# - **The camera.** NYU's focal length, also for rendered rooms: the network does not know better from one image.
#
# How many points, and which, matters how much? Here for the network of the pictures, on a few views:

# %%
few = views[:lesson.pick(smoke=2, lab=16)]
with torch.no_grad():
    start = network.predict(few.image)
cells = tuple(start.saliency.shape[-2:])
weight = start.saliency * start.first.confidence


def final_error(points):
    """AbsRel of the second pass that leans on given points, with the trust that the network has in their places."""
    trusted = replace(points, confidence=points.gather(weight)[:, 0])
    with torch.no_grad():
        depth = network.predict(few.image, chosen=trusted.scaled(cells, SIZE)).depth
    return float(((depth - few.depth).abs() / few.depth)[few.mask].mean())


# %%
rows = [{"points": count, "salient": final_error(salient_points(start.saliency, start.first.depth[0],
                                                                start.first.confidence, count)),
         "random": final_error(random_points(start.first.depth[0], None, count, seed=lesson.seed))}
        for count in lesson.pick(smoke=[4], lab=[1, 4, 16, 64, 128])]
before = float(((start.first_depth - few.depth).abs() / few.depth)[few.mask].mean())
lesson.table(pd.DataFrame(rows), "how_many", f"AbsRel of the second pass over the number of points it leans on, "
             f"{len(few)} views; the first pass alone: {before:.3f}. Network: {origin}.")

# %% [markdown]
# ## Verdict

# %%
lines = []
for claim in claims:
    words = ", ".join(f"{f.measure} {f.difference:+.3f} **{f.verdict}**" for f in judged[claim.id])
    lines.append(f"- {claim.place}: {claim.states} *Ours:* {words or 'not tested yet'}.")
lines += [f"- Section 1: depth is more accurate at salient points than elsewhere. *Ours*, {title}, {measure}: "
          f"{change:+.3f} against random points, **{word}**." for title, measure, change, word in beliefs]
lesson.say("On NYU, in the reference study, if nothing else is said:\n\n" + "\n".join(lines))

# %% [markdown]
# Small networks from random weights, on few images, can disagree with a large one and both be right. What does not
# depend on size: the loss pays for confidence wherever the error is below two metres, and nothing in it asks salient
# points to be accurate.
#
# ## Exercises
#
# Fill in the dots and run the cell below it. A check never stops the notebook.
#
# **1. One pixel.** The normalised convolution at the middle of a 3 × 3 patch, and its confidence. Mind the patch in
# which nothing is trusted: value 0, confidence 0.

# %%
def my_normalized_pixel(x, c, weight):
    """Two numbers, from values, confidence and positive weights, (3, 3) each."""
    # <solution>
    around = (weight * c).sum()
    value = (weight * x * c).sum() / around if around > 0 else torch.tensor(0.0)
    return value, around / weight.sum()
    # </solution>


check.normalized_pixel(my_normalized_pixel)

# %% [markdown]
# **2. Into space.** Where are N pixels (row, column) with known depth, in metres? The camera is
# $[[f_x, 0, c_x], [0, f_y, c_y], [0, 0, 1]]$; x to the right, y down, z forward.

# %%
def my_points_in_space(pixels, depth, camera):
    """(N, 3) metres, from (N, 2), (N,) and (3, 3)."""
    # <solution>
    x = (pixels[:, 1] - camera[0, 2]) / camera[0, 0]
    y = (pixels[:, 0] - camera[1, 2]) / camera[1, 1]
    return torch.stack([x, y, torch.ones_like(x)], 1) * depth[:, None]
    # </solution>


check.points_in_space(my_points_in_space)

# %% [markdown]
# **3. What confidence earns.** The map whose mean is $\mathcal{L}_C$: $C - l\,C$ with $l = \ln(|e| + \tfrac12)$; 0
# where depth is not known.

# %%
def my_confidence_map(pred, target, confidence, known):
    """(H, W), from metres, metres, shares and bool, (H, W) each."""
    # <solution>
    error = torch.log((pred - target).abs() + 0.5)
    return torch.where(known, confidence - error * confidence, 0)
    # </solution>


check.confidence_map(my_confidence_map)

# %% [markdown]
# **4. A ratio with one way down.** The gradient of the sparse loss with respect to the prediction, when the
# denominator counts as a constant. Points are N pixels (row, column) among the known ones; without any, the gradient
# is 0.

# %%
def my_sparse_gradient(pred, target, known, points):
    """(H, W), from depths (H, W), known pixels (H, W) bool and points (N, 2)."""
    # <solution>
    pred = pred.clone().requires_grad_()
    if not len(points):
        return torch.zeros_like(pred)
    square = (pred - target).square()
    ratio = square[points[:, 0], points[:, 1]].mean().sqrt() / square[known].mean().sqrt().detach()
    return torch.autograd.grad(ratio, pred)[0]
    # </solution>


check.sparse_gradient(my_sparse_gradient)

# %% [markdown]
# **5. Open question.** Salient points turn out to be what the loss makes them. Write a term that makes them *accurate*
# ones, without ever seeing measured depth in use. What would you have to supervise, and what could the network do to
# please your term without becoming any better?
#
# ## What to read next
#
# - Eldesokey, Felsberg, Khan, 2019 (arXiv 1811.01791): normalised convolutions with confidence.
# - Eldesokey et al., CVPR 2020 (arXiv 2006.03349): where the first confidence comes from.
# - Boulch, Puy, Marlet, ACCV 2020 (arXiv 2004.04462): FKAConv.
# - Huynh et al., 2020 (arXiv 2012.10296): the same group's lightweight fusion of points and images.
# - In this course: notebook 08, the normalised Hessian; notebook 05, which pixels a network needs.
