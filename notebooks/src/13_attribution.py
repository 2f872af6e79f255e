# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 13 · Attribution for dense depth
#
# A network looks at a photograph and says how far everything is. Which pixels made it say so?
#
# Cirillo et al. ([cirillo2025](https://arxiv.org/abs/2509.15980)) ask this of two depth networks, a light one (METER)
# and a deep one (PixelFormer), with three methods: **saliency maps, integrated gradients, attention rollout**. Their
# abstract says that saliency works well for the light network and integrated gradients for the deep one. The full text
# was not at hand when this was written. What it leaves open is decided here, and said.
#
# This notebook builds the three methods and three more. Whether their maps can be *believed* is notebook 14.

# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"

# %%
import pandas as pd
import torch
from torch import nn

from mdelib import attribution_figures, course, models
from mdelib.attribution import (TITLES, attention_rollout, completeness_error, explain, fill_image,
                                integrated_gradients, recorded_attention, saliency, targets)
from mdelib.attribution.rollout import roll_back, stages_of
from mdelib.clicks import click_pixels
from mdelib.exercises import check
from mdelib.fidelity import correlation

lesson = course.start("13", data=data, scale=scale, seed=seed, device=device)

# %% [markdown]
# ## First the question
#
# A classifier has one score for "cat", and an explanation is of that score. A depth map has a number for every pixel.
# "Explain the depth map" is no question yet. So we first choose **one number**, the target:
#
# | target | asks |
# |---|---|
# | `mean_depth()` | what makes the scene deep as a whole? |
# | `pixel(row, column)` | what decided the depth *here*? |
# | `region(mask)` | ... of this object? |
# | `near_far(depth)` | what tells near from far? |
# | `edge(depth, row, column)` | what makes the step here? (+1 on its far side, −1 on its near side) |
# | `error_to(truth)` | what made the answer wrong? |
#
# Click a pixel, and see which pixels its depth reacts to. Without a mouse: arrow keys and Enter.

# %%
nets = {"CNN": models.create_model("hu_resnet50", weights="rooms_cnn").requires_grad_(False),
        "Transformer": models.create_model("segformer", weights="rooms_transformer").requires_grad_(False)}
views = lesson.views("test")
room = views[[lesson.pick(smoke=1, lab=18)]]
depths = {name: net(room.image) for name, net in nets.items()}

# %%
def answer(network, row, column):
    """The reaction of one pixel's depth to every pixel of the image."""
    found = saliency(nets[network], room.image, targets.pixel(row, column))[0]
    says = float(depths[network][0, 0, row, column])
    return found, f"the {network} says {says:.2f} m; it reacts to the bright pixels"


def draw(network, row, column):
    found = {"what it reacts to": answer(network, row, column)[0]}
    return attribution_figures.method_rows([(room.image[0], depths[network][0], found)], places=[(row, column)],
                                           height=2.4)


click_pixels(room.image[0], answer, draw, [
    {"network": "CNN", "row": 36, "column": 20}, {"network": "Transformer", "row": 36, "column": 20},
    {"network": "Transformer", "row": 20, "column": 44}], menus={"network": list(nets)}, lesson=lesson, name="pixel",
    caption="What the depth at the cross (row {row}, column {column}) reacts to, {network}. Bright: much; dark: "
    "little. In the depth map near is bright.",
    alt="A room, its depth with a cross, and a map of bright pixels around and away from the cross.")

# %% [markdown]
# That was **saliency**: the derivative of the target in every pixel. In three lines:
#
# $$a_i = \max_c \left| \frac{\partial s}{\partial x_{ic}} \right|$$

# %%
def my_saliency(network, image, target):
    image = image.clone().requires_grad_()
    slope = torch.autograd.grad(target(network(image)).sum(), image)[0]
    return slope.abs().amax(1)


target = targets.near_far(nets["CNN"](room.image).detach())
same = torch.allclose(my_saliency(nets["CNN"], room.image, target), saliency(nets["CNN"], room.image, target))
lesson.say(f"The library's version goes through captum. Equal: **{same}**.")

# %% [markdown]
# ## Integrated gradients
#
# A derivative says what a *small* change would do. The question is often another one: what did the picture do, compared
# with no picture?
#
# So walk from an empty image $x'$, the **baseline**, straight to the picture $x$, and add up the derivatives on the way
# (Sundararajan et al. 2017):
#
# $$a_i = \sum_c (x_{ic} - x'_{ic}) \int_0^1 \frac{\partial s}{\partial x_{ic}}\big(x' + t\,(x - x')\big)\, dt$$
#
# It adds up: $\sum_i a_i = s(x) - s(x')$. That is a check that few explanations offer.

# %%
def my_integrated_gradients(network, image, target, start, steps):
    total = torch.zeros_like(image)
    for step in range(steps):
        x = torch.lerp(start, image, (step + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(target(network(x)).sum(), x)[0] / steps
    return (total * (image - start)).sum(1)


net, mean = nets["Transformer"], targets.mean_depth()
empty = fill_image(room.image, "mean", model=net)
steps = lesson.pick(smoke=8, lab=64)
ours = my_integrated_gradients(net, room.image, mean, empty, steps)
theirs = integrated_gradients(net, room.image, mean, steps=steps)
lesson.say(f"Ours takes the middle of {steps} pieces, captum Gauss's points. Correlation of the two maps: "
           f"{correlation(ours.flatten(), theirs.flatten()):.3f}. Sums: {float(ours.sum()):+.3f} m and "
           f"{float(theirs.sum()):+.3f} m. They should be {float(mean(net(room.image)) - mean(net(empty))):+.3f} m: "
           "the maps look the same, and neither adds up yet.")

# %% [markdown]
# ### Where on the way does it happen?
#
# The number of steps is the usual knob. Before turning it, look at what is integrated.

# %%
@torch.no_grad()
def on_the_way(network, start, count):
    """The target at `count` places from the baseline to the image."""
    places = torch.linspace(0, 1, count)
    return places, torch.cat([mean(network(torch.lerp(start, room.image, float(place)))) for place in places])


count = lesson.pick(smoke=5, lab=33)
ways = {name: on_the_way(net, fill_image(room.image, name, model=net), count) for name in ("mean", "black", "blur")}
lesson.figure(attribution_figures.along_the_way(ways), "way", "The Transformer's mean depth while the picture fades "
              "in. Where a line is flat, nothing is left to integrate.", alt="Three curves: from the mean colour steep "
              "at the start and then flat, from black up and down, from the blurred picture slowly falling.")

# %%
rows, seen = [], []  # how many points each call differentiates at
hook = net.register_forward_hook(lambda _, given, __: seen.append(len(given[0]) * torch.is_grad_enabled()))
for points, tolerance in ((16, None), (lesson.pick(smoke=16, lab=64), None), (16, 0.01)):
    seen.clear()
    found = integrated_gradients(net, room.image, mean, steps=points, tolerance=tolerance, most_steps=256)
    rows.append({"points": sum(seen), "laid": "where needed" if tolerance else "evenly",
                 "completeness error (%)": 100 * float(completeness_error(net, room.image, found, mean))})
hook.remove()
lesson.table(pd.DataFrame(rows), "completeness", "How far the Transformer's map is from adding up, as a share of the "
             "target's change. *Where needed* stops below 1 %.")

# %%
meter = {r.variant.removeprefix("meter_"): r for r in lesson.reference("attribution_meter")}
if "integrated_gradients" in meter:
    errors = 100 * torch.tensor(meter["integrated_gradients"].per_image["completeness"], dtype=torch.float64)
    lesson.say(f"METER with the authors' weights, on {len(errors)} photographs of NYU: points laid where they are "
               f"needed bring the error to {float(errors.median()):.1f} % (median; at most {float(errors.max()):.1f} "
               f"%). {int((errors <= 1.01).sum())} of them reach 1 %.")

# %% [markdown]
# These networks normalise their features. A faint picture is to them nearly the same as a strong one. So from the mean
# colour most of the answer comes into being at the start of the way, and evenly spread points miss it. The remedy:
# integrate piece by piece, and halve the piece whose own sum is farthest from the change over it.
#
# ## Attention rollout
#
# A Transformer says itself where it looks: attention $A$, averaged over its heads, is a matrix of shares, from every
# token to every token. Rollout (Abnar and Zuidema 2020) multiplies these matrices layer by layer. A layer also gives on
# its own input, past the attention. Rollout supposes that this is half, so each factor is $\hat A = (A + I)/2$. The map
# is
#
# $$r^\top \hat A_L \cdots \hat A_2 \hat A_1 ,$$
#
# with $r$ the tokens one asks about. In PixelFormer's encoder tokens look only inside windows, which move by half a
# window in every second layer. First by the book, with whole matrices.

# %%
windowed = lesson.network("gradient_refinement", "pixelformer").requires_grad_(False)
image = views[[0]].image
with recorded_attention(windowed, image.shape[-2:]) as layers, torch.no_grad():
    windowed(image)
first_stage = stages_of([attention for _, attention in layers])[0]


def whole_matrix(layer):
    """Every window's block at its place in a T x T matrix."""
    matrix = torch.zeros(layer.count, layer.count)
    for block, tokens in zip(layer.weights[0], layer.keys, strict=True):
        real = tokens >= 0
        matrix[tokens[real][:, None], tokens[real]] = block[real][:, real]
    return matrix / matrix.sum(1, keepdim=True)


# %%
start = torch.full((1, first_stage[0].count), 1 / first_stage[0].count)
by_the_book = start
for layer in reversed(first_stage):
    by_the_book = by_the_book @ (whole_matrix(layer) + torch.eye(layer.count)) / 2
exact = torch.allclose(by_the_book, roll_back([first_stage], start), atol=1e-7)
tokens, held = 120 * 160, sum(layer.weights[0].numel() for layer in first_stage) / len(first_stage)
share = held / first_stage[0].count ** 2
lesson.say(f"""The library never builds the matrix. It sends $r$ backwards, $r \\leftarrow (r + A^\\top r)/2$, window
by window. Equal: **{exact}**. Here a layer holds {100 * share:.1f} % of the matrix's entries. For a photograph of
480 × 640 the first stage has {tokens} tokens; its matrix would take {tokens**2 * 4 / 1e9:.1f} GB a layer.""")

# %% [markdown]
# Between stages, four tokens become one. Going backwards, one shares its relevance among its four. So the stages can
# be looked at alone, or chained.

# %%
place = (48, 64) if lesson.scale != "smoke" else (24, 32)
here = targets.pixel(*place)
stages = len(stages_of([attention for _, attention in layers]))
found = {f"stage {stage + 1}": attention_rollout(windowed, image, here, stage=stage)[0] for stage in range(stages)}
found["chained"] = attention_rollout(windowed, image, here)[0]
figure = attribution_figures.method_rows([(image[0], windowed(image)[0], found)], places=[place])
lesson.figure(figure, "stages", "Attention rollout from the pixel at the cross. The first stages' windows are small; "
              "the last one's are the whole picture. Bright: much.",
              alt="A room, its depth, and five maps that grow wider.")

# %% [markdown]
# ## All methods, side by side
#
# Three more methods, one sentence each. **SmoothGrad** is the mean saliency of noisy copies of the image. **Input ×
# gradient** multiplies each derivative by its pixel: one single step of integrated gradients, from black. **Grad-CAM**
# weights the coarsest features of the encoder by their mean derivative, and adds them up.
#
# One row an image and network, one column a method. The question is the same everywhere: what makes the scene deep?
# A CNN has no attention, so that place stays empty. Each map has its own colour limits, because each has its own unit.

# %%
METHODS = ("saliency", "integrated_gradients", "attention_rollout", "smoothgrad", "input_x_gradient", "grad_cam")
OPTIONS = {"smoothgrad": {"samples": lesson.pick(smoke=2, lab=8)}, "grad_cam": {"signed": True},
           "integrated_gradients": {"steps": lesson.pick(smoke=4, lab=32)}}
SHORT = {"integrated_gradients": "integrated\ngradients", "attention_rollout": "attention\nrollout",
         "input_x_gradient": "input ×\ngradient"}
rows, labels = [], []
for name, network in {**nets, "PixelFormer": windowed}.items():
    for number in lesson.pick(smoke=(0,), lab=(5, 18)):
        image = views[[number]].image
        maps = {SHORT.get(method, TITLES[method]):
                explain(network, image, method, mean, **OPTIONS.get(method, {}))[0]
                for method in METHODS if name != "CNN" or method != "attention_rollout"}
        rows.append((image[0], network(image)[0], maps))
        labels.append(name)

# %%
figure = attribution_figures.method_rows(rows, labels=labels, titles=[SHORT.get(m, TITLES[m]) for m in METHODS])
lesson.figure(figure, "methods", "Six methods, three networks, two rooms; target: mean depth. Maps without a sign: "
              "bright is much, dark is little. Maps with one: red makes the scene deeper, blue less deep.",
              alt="Rows of rooms, depth maps and attribution maps of very different kinds.")

# %% [markdown]
# Two things catch the eye. The CNN's gradients have a regular grid, the same in both rooms: it is made by the
# network's strides, not by the room. And the Transformer's rollout is made of blocks, because its first layers attend
# to summaries of blocks, one token for each.
#
# The columns do not look alike, and they need not: a derivative, a contribution and a share of attention are different
# things. But they cannot all be the answer to "which pixels mattered most". Notebook 14 lets them compete.
#
# ## Your own network
#
# Everything here takes any `nn.Module`. One call says what it is: its unit, depth or inverse depth, the statistics of
# its images, the size it works at.

# %%
theirs = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1), nn.Softplus()).eval()
mine = models.wrap(theirs, unit="cm", kind="inverse", normalize=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), size=(48, 64))
found = saliency(mine.eval(), room.image, targets.pixel(10, 10))
print(tuple(found.shape), "for images of", tuple(room.image.shape))

# %% [markdown]
# For a model of Hugging Face, `mdelib.models.huggingface.wrap_huggingface("name")` does the same (after
# `pip install 'mdelib[huggingface]'`). On the command line, `mde explain PHOTO --network NAME` draws all methods for
# one photograph.
#
# ## What we had to decide
#
# - **The target.** Not in what we have of the paper. The mean depth here; the same object can ask anything else.
# - **Colours.** Saliency takes the largest of three derivatives. Mean or norm are as common.
# - **The baseline.** The network's mean colour, which its normalisation turns into 0. Black is as common.
# - **Rollout and the target.** Rollout knows no target. We begin at the tokens under the target's pixels.
# - **The decoder.** PixelFormer's decoder also attends, from its own tokens to the encoder's. It is left out.
#
# How much hangs on the first three?

# %%
def alike(one, other):
    """Rank correlation of two maps' magnitudes, averaged over rooms."""
    pairs = zip(one.abs().flatten(1), other.abs().flatten(1), strict=True)
    return sum(correlation(a, b, ranks=True) for a, b in pairs) / len(one)


few = views[list(range(lesson.pick(smoke=1, lab=4)))].image
steps = OPTIONS["integrated_gradients"]["steps"]
plain = saliency(net, few)
base = integrated_gradients(net, few, steps=steps)
double = integrated_gradients(net, few, steps=2 * steps)

# %%
changes = {"saliency: mean over colours, not max": alike(plain, saliency(net, few, channels="mean")),
           "saliency: near against far, not mean depth":
               alike(plain, saliency(net, few, targets.near_far(net(few).detach()))),
           f"integrated gradients: {2 * steps} points, not {steps}": alike(base, double),
           **{f"integrated gradients: from {name}, not mean": alike(base, integrated_gradients(
               net, few, baseline=name, steps=steps)) for name in ("black", "blur", "noise")}}
changed = pd.DataFrame({"decided otherwise": changes.keys(), "rank correlation": changes.values()})
lesson.table(changed, "decisions", f"How alike the maps stay (Transformer, {len(few)} rooms). 1: nothing changes.")

# %% [markdown]
# ## Verdict
#
# None yet. What can be said without a judge is arithmetic.

# %%
lesson.say(f"""- Saliency is captum's, and equal to three lines of our own. So are integrated gradients, of five lines,
  up to where the points lie.
- Integrated gradients add up with few points only if these are where the target changes.
- Rollout is exact for windows without the matrix: **{exact}**.
- The colour rule hardly matters (rank correlation {changes['saliency: mean over colours, not max']:.2f}); the baseline
  does (black: {changes['integrated gradients: from black, not mean']:.2f}). A paper that does not name its baseline
  has not said what its integrated gradients are.""")

# %% [markdown]
# ## Exercises
#
# **1. A target of your own.** The mean depth of the farthest quarter of the pixels minus that of the nearest quarter.

# %%
def my_near_far(depth):
    """A number in metres, from depth (H, W); the number of pixels is a multiple of 4."""
    # <solution>
    ordered = depth.flatten().sort().values
    quarter = len(ordered) // 4
    return ordered[-quarter:].mean() - ordered[:quarter].mean()
    # </solution>


check.near_far(my_near_far)

# %% [markdown]
# **2. Does it add up?** The completeness error of a map (H, W), from the target at the image and at the baseline: how
# far the map's sum is from the target's change, as a share of that change.

# %%
def my_completeness(attribution, at_image, at_baseline):
    # <solution>
    change = at_image - at_baseline
    return (attribution.sum() - change).abs() / abs(change)
    # </solution>


check.completeness(my_completeness)

# %% [markdown]
# **3. One step of rollout,** backwards, from attention (heads, T, T) and relevance (T,). Average over the heads first.

# %%
def my_rollout_step(attention, relevance):
    # <solution>
    return (relevance + attention.mean(0).T @ relevance) / 2
    # </solution>


check.rollout_step(my_rollout_step)

# %% [markdown]
# **4. Open.** Take the target `error_to(truth)` on the room where the CNN errs most. Do the pixels it points at lie
# where the error is? Should they?
#
# ## What to read next
#
# - Sundararajan, Taly, Yan, ICML 2017 (arXiv 1703.01365): integrated gradients and the axioms behind them.
# - Abnar and Zuidema, ACL 2020 (arXiv 2005.00928): attention rollout, and attention flow.
# - Sturmfels, Lundberg, Lee, *Distill* 2020: what a baseline does to integrated gradients, with pictures.
# - Papa et al. (arXiv 2403.08368) and Agarwal and Arora (arXiv 2210.09071): METER and PixelFormer.
# - In this course: notebook 05 asks the same question by training a mask. Notebook 14 asks who is right.
